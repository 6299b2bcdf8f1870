//! Passwords of the broker's users: argon2id hashes in PHC form. The only file that names argon2 and blake2.
//!
//! Everything here is slow or secret: checking takes tens of milliseconds and megabytes, so it belongs on a thread that may block.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::phc::{Output, PasswordHash as Phc};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHasher, Version};
use blake2::Blake2bMac512;
use blake2::digest::{KeyInit, Mac};

/// What `fieldway passwd` asks of the machine: 7 MiB five times over, one of the settings that OWASP's password storage cheat sheet calls
/// equal, and the one that suits a small machine.
const MEMORY_KIB: u32 = 7 << 10;
const PASSES: u32 = 5;
/// The most that a hash of another origin may ask for: 128 MiB is twice what common libraries have as their default.
const MOST_MEMORY_KIB: u32 = 128 << 10;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 16;

/// Address space reserved for a check, of which only what it needs is used: glibc keeps smaller pieces after they are freed, up to one for each
/// thread that ever checked a password, and gives this one back (mallopt(3), M_MMAP_THRESHOLD, whose dynamic upper limit is 32 MiB).
const RESERVED: usize = 33 << 20;

/// The hash of a password. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Arc<Phc>);

/// Why a text is no hash that can be used. None of them repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum HashError {
    #[error("this is no password hash")]
    NotPhc,
    #[error("this hash was made by bcrypt, and argon2id is wanted")]
    Bcrypt,
    #[error("this hash is one of mosquitto's (`mosquitto_passwd`), and argon2id is wanted")]
    Mosquitto,
    #[error("this hash was made by argon2i or argon2d, and argon2id is wanted")]
    OtherArgon2,
    #[error("this hash was made by another method than argon2id")]
    OtherMethod,
    #[error("this hash is cut off: it has no salt or no result")]
    CutOff,
    #[error(
        "this hash asks for more memory or time than a gateway should give to one login (at most m=131072, t=16, p=16)"
    )]
    TooCostly,
    #[error("this hash has settings that argon2id does not allow")]
    BadSettings,
}

impl PasswordHash {
    /// Reads `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
    pub fn parse(text: &str) -> Result<PasswordHash, HashError> {
        let begins = |with: &[&str]| with.iter().any(|begin| text.starts_with(begin));
        if begins(&["$2a$", "$2b$", "$2y$"]) {
            return Err(HashError::Bcrypt);
        }
        if begins(&["$6$", "$7$"]) {
            return Err(HashError::Mosquitto);
        }
        if begins(&["$argon2i$", "$argon2d$"]) {
            return Err(HashError::OtherArgon2);
        }
        let hash = Phc::new(text).map_err(|_| HashError::NotPhc)?;
        if hash.algorithm != ARGON2ID_IDENT {
            return Err(HashError::OtherMethod);
        }
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err(HashError::CutOff);
        }
        let params = Params::try_from(&hash).map_err(|_| HashError::BadSettings)?;
        if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > MOST_PASSES || params.p_cost() > MOST_LANES {
            return Err(HashError::TooCostly);
        }
        Ok(PasswordHash(Arc::new(hash)))
    }

    /// Hashes a password. `salt` must be drawn anew for each.
    pub fn of(password: &[u8], salt: [u8; 16]) -> PasswordHash {
        let params = Params::new(MEMORY_KIB, PASSES, 1, None).expect("these settings are within argon2's limits");
        let hash = Argon2::from(params).hash_password_with_salt(password, &salt);
        PasswordHash(Arc::new(
            hash.expect("a salt of 16 bytes and a password below 4 GiB are taken, and 7 MiB are there"),
        ))
    }

    /// A hash that costs as much to check as `self` and that no password has.
    pub fn decoy(&self) -> PasswordHash {
        let mut decoy = (*self.0).clone();
        if let Some(hash) = &self.0.hash {
            let flipped: Vec<u8> = hash.as_bytes().iter().map(|byte| !byte).collect();
            decoy.hash = Output::new(&flipped).ok();
        }
        PasswordHash(Arc::new(decoy))
    }

    /// Whether this is the hash of `password`. Takes tens of milliseconds and megabytes.
    pub fn matches(&self, password: &[u8]) -> bool {
        self.computed(password).is_some_and(|computed| self.0.hash.as_ref() == Some(&computed))
    }

    fn computed(&self, password: &[u8]) -> Option<Output> {
        let (salt, expected) = (self.0.salt.as_ref()?, self.0.hash.as_ref()?);
        let version = self.0.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
        let params = Params::try_from(&*self.0).ok()?;
        let blocks = params.block_count();
        let mut memory = Vec::with_capacity(blocks.max(RESERVED / size_of::<Block>()));
        memory.resize(blocks, Block::default());
        let mut out = [0; Output::MAX_LENGTH];
        let out = out.get_mut(..expected.len())?;
        let argon2 = Argon2::new(Algorithm::Argon2id, version, params);
        argon2.hash_password_into_with_memory(password, salt.as_ref(), out, &mut memory).ok()?;
        // Comparing two of these takes the same time wherever they differ.
        Output::new(out).ok()
    }

    /// What checking it costs, to compare one with another.
    pub fn cost(&self) -> u64 {
        Params::try_from(&*self.0).map_or(0, |params| u64::from(params.m_cost()) * u64::from(params.t_cost()))
    }

    /// The text for the configuration.
    pub fn to_phc(&self) -> String {
        self.0.to_string()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A fast keyed digest by which a password that was checked once is known again. Worth nothing without the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Recollection([u8; 64]);

impl Recollection {
    /// The digest of `password` under `key`, which is drawn at each start and stays in memory.
    pub fn of(key: &[u8; 32], password: &[u8]) -> Recollection {
        let mut mac = Blake2bMac512::new_from_slice(key).expect("a key of 32 bytes is within BLAKE2b's limits");
        mac.update(password);
        Recollection(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_and_nothing_else() {
        let hash = PasswordHash::parse(&PasswordHash::of(b"correct horse", [7; 16]).to_phc()).unwrap();
        assert!(hash.matches(b"correct horse") && !hash.matches(b"correct horsf") && !hash.matches(b""));
        assert!(!hash.decoy().matches(b"correct horse") && hash.decoy().cost() == hash.cost());
        assert!(!format!("{hash:?}").contains("argon2id"));
    }

    #[test]
    fn hashes_of_other_libraries_are_taken() {
        // From the reference implementation's own tests (phc-winner-argon2, src/test.c).
        let text = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc";
        assert!(PasswordHash::parse(text).unwrap().matches(b"password"));
    }

    #[test]
    fn what_is_no_argon2id_hash_is_told_apart_and_not_repeated() {
        for (text, expected) in [
            ("hunter2", HashError::NotPhc),
            ("", HashError::NotPhc),
            ("$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234", HashError::Bcrypt),
            ("$7$101$c2FsdA==$aGFzaA==", HashError::Mosquitto),
            (
                "$argon2i$v=19$m=4096,t=3,p=1$c29tZXNhbHQ$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A",
                HashError::OtherArgon2,
            ),
            (
                "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
                HashError::OtherMethod,
            ),
            ("$argon2id$v=19$m=7168,t=5,p=1$c29tZXNhbHQ", HashError::CutOff),
            (
                "$argon2id$v=19$m=4194304,t=3,p=1$c29tZXNhbHQ$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A",
                HashError::TooCostly,
            ),
            (
                "$argon2id$v=19$m=1,t=3,p=1$c29tZXNhbHQ$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A",
                HashError::BadSettings,
            ),
        ] {
            assert_eq!(PasswordHash::parse(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn a_recollection_depends_on_password_and_key() {
        let one = Recollection::of(&[1; 32], b"secret");
        assert!(one == Recollection::of(&[1; 32], b"secret"));
        assert!(one != Recollection::of(&[2; 32], b"secret") && one != Recollection::of(&[1; 32], b"Secret"));
    }
}
