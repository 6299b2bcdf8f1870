//! Checks logins off the broker's thread: few at a time, slower for addresses that fail, and at once for passwords that were checked before.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tracing::{debug, error, warn};

use super::access::{Access, Claim, Rights, Verdict};
use super::failures::Failures;
use crate::clock::Clock;
use crate::config::UserConfig;
use crate::model::Monotonic;
use crate::mqtt::Reason;
use crate::password::{PasswordHash, Recollection};
use crate::random;

/// Passwords checked at a time. Each takes a processor and the megabytes that its hash asks for.
const AT_A_TIME: usize = 2;
/// How long somebody who asks from elsewhere may have to wait for others.
const ELSEWHERE_WITHIN: Duration = Duration::from_secs(10);
/// Characters of a user name that the log repeats.
const NAME_IN_LOG: usize = 64;

/// What a client sent to say who it is. Its `Debug` has no password.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Login {
    pub user: Option<String>,
    pub password: Option<Bytes>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where somebody comes from.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub peer: SocketAddr,
    /// Whether the listener's own address is loopback.
    pub on_loopback: bool,
    /// The name in its certificate, where one was asked for.
    pub certificate: Option<Result<String, String>>,
}

/// Why somebody is not let in, as the protocol says it and in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub reason: Reason,
    pub why: &'static str,
}

/// Knows the broker's users for others who ask for a name and a password, with the same patience and the same log lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Doorkeeper(pub(super) Arc<Logins>);

impl Doorkeeper {
    /// Whether this is the password of that user. The answer to a wrong one takes its time.
    pub async fn is_user(&self, peer: SocketAddr, name: String, password: String) -> bool {
        let logins = &self.0;
        let origin = Origin { peer, on_loopback: false, certificate: None };
        let login = Login { user: Some(name), password: Some(password.into()) };
        let by = logins.clock.now() + ELSEWHERE_WITHIN;
        logins.admit(&origin, login, "", by).await.is_ok()
    }
}

/// Checks logins.
pub(super) struct Logins {
    access: Access,
    /// As costly to check as any user's, for names that nobody has.
    decoy: Option<PasswordHash>,
    failures: Mutex<Failures>,
    /// By user, the password that was right last.
    remembered: Mutex<HashMap<String, Recollection>>,
    key: [u8; 32],
    workers: Arc<Semaphore>,
    clock: Clock,
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Logins")
    }
}

impl Logins {
    /// For the users of a configuration.
    pub fn new(users: &[UserConfig], clock: Clock) -> Logins {
        let access = Access::new(users);
        Logins {
            decoy: access.costliest_hash().map(PasswordHash::decoy),
            access,
            failures: Mutex::default(),
            remembered: Mutex::default(),
            key: random::key(),
            workers: Arc::new(Semaphore::new(AT_A_TIME)),
            clock,
        }
    }

    /// The rights of whoever this is. An answer that has to wait for others is given up `by` then.
    pub async fn admit(
        &self,
        origin: &Origin,
        login: Login,
        client_id: &str,
        by: Monotonic,
    ) -> Result<Rights, Refusal> {
        let claim = match (&origin.certificate, &login) {
            // The certificate has said who it is; a login beside it would say less.
            (Some(name), _) => Claim::Certificate(name.clone()),
            (None, Login { user: None, password: None }) => Claim::Nothing,
            (None, Login { user, password }) => Claim::Login { user: user.clone(), has_password: password.is_some() },
        };
        match self.access.judge(&claim, origin.on_loopback) {
            Verdict::Everybody => Ok(Rights::everything()),
            Verdict::User(user) => Ok(Rights::of(&user, client_id)),
            Verdict::Refuse(why) => {
                let tell = self.failures().refuse(origin.peer.ip(), self.clock.now());
                self.tell(origin.peer, &claim_name(&claim), why, tell);
                Err(Refusal { reason: Reason::NOT_AUTHORIZED, why })
            }
            Verdict::Check(user, hash) => {
                self.check(origin.peer, &user.name, Some(hash), login.password.unwrap_or_default(), by).await?;
                Ok(Rights::of(&user, client_id))
            }
            Verdict::CheckInVain => {
                let name = login.user.unwrap_or_default();
                let refused = self.check(origin.peer, &name, None, login.password.unwrap_or_default(), by).await;
                refused.and(Err(WRONG))
            }
        }
    }

    /// Without a hash there is nobody of this name, which the caller of this must not learn from the time that it takes.
    async fn check(
        &self,
        peer: SocketAddr,
        name: &str,
        hash: Option<PasswordHash>,
        password: Bytes,
        by: Monotonic,
    ) -> Result<(), Refusal> {
        let seen = Recollection::of(&self.key, &password);
        if hash.is_some() && self.remembered().get(name) == Some(&seen) {
            return Ok(());
        }
        let lane = self.lane(peer.ip(), by).await?;
        let known = hash.is_some();
        let is_right = match hash.or_else(|| self.decoy.clone()) {
            Some(hash) => self.work(hash, password, by).await?,
            None => false,
        };
        if is_right && known {
            self.remembered().insert(name.into(), seen);
            return Ok(());
        }
        let failed = lane.fail();
        self.tell(peer, name, WRONG.why, failed.tell);
        self.clock.sleep_until(failed.until).await;
        Err(WRONG)
    }

    async fn lane(&self, ip: IpAddr, by: Monotonic) -> Result<Lane<'_>, Refusal> {
        loop {
            let now = self.clock.now();
            let begun = self.failures().begin(ip, now);
            match begun {
                Ok(()) => return Ok(Lane { logins: self, ip, is_open: true }),
                Err(_) if now >= by => return Err(BUSY),
                Err(again) => self.clock.sleep_until(again.min(by)).await,
            }
        }
    }

    async fn work(&self, hash: PasswordHash, password: Bytes, by: Monotonic) -> Result<bool, Refusal> {
        let permit = tokio::select! {
            permit = self.workers.clone().acquire_owned() => permit.map_err(|_| BUSY)?,
            () = self.clock.sleep_until(by) => return Err(BUSY),
        };
        // The permit goes along, so that a client that leaves meanwhile makes no room for another check.
        let checked = tokio::task::spawn_blocking(move || {
            let is_right = hash.matches(&password);
            drop(permit);
            is_right
        });
        checked.await.map_err(|error| {
            error!(%error, "checking a password failed");
            BUSY
        })
    }

    fn tell(&self, peer: SocketAddr, name: &str, why: &str, tell: Option<u32>) {
        let name: String = name.chars().take(NAME_IN_LOG).collect();
        match tell {
            Some(failures) => warn!(%peer, user = ?name, failures, error = why, "a login failed"),
            None => debug!(%peer, user = ?name, error = why, "a login failed"),
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().expect("nothing panics while it is held")
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<String, Recollection>> {
        self.remembered.lock().expect("nothing panics while it is held")
    }
}

const WRONG: Refusal = Refusal { reason: Reason::BAD_USER_NAME_OR_PASSWORD, why: "wrong user name or password" };
const BUSY: Refusal = Refusal { reason: Reason::SERVER_BUSY, why: "too many logins at once" };

fn claim_name(claim: &Claim) -> String {
    match claim {
        Claim::Certificate(Ok(name)) => name.clone(),
        Claim::Certificate(Err(why)) => why.clone(),
        _ => String::new(),
    }
}

/// One of an address's few checks at a time.
struct Lane<'a> {
    logins: &'a Logins,
    ip: IpAddr,
    is_open: bool,
}

impl Lane<'_> {
    /// The login was wrong.
    fn fail(mut self) -> super::failures::Failed {
        self.is_open = false;
        self.logins.failures().fail(self.ip, self.logins.clock.now())
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.logins.failures().end(self.ip);
        }
    }
}
