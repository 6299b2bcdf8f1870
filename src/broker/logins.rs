//! Checks logins off the broker's thread: few at a time, slower for addresses that fail, and at once for passwords that were checked before.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
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

/// Somebody who is let in.
#[derive(Debug)]
pub(super) struct Admitted {
    pub rights: Rights,
    /// Cancelled when that does not hold any more.
    pub revoked: CancellationToken,
}

/// The users, and what their clients watch.
#[derive(Debug, Default)]
struct Members {
    users: Vec<UserConfig>,
    access: Access,
    /// By user, cancelled when the user is changed or gone.
    revoked: HashMap<String, CancellationToken>,
    /// The same for those who are let in because there are no users.
    nobody: CancellationToken,
    /// As costly to check as any user's, for names that nobody has.
    decoy: Option<PasswordHash>,
}

impl Members {
    /// Users that are what they were keep their clients.
    fn new(users: &[UserConfig], before: &Members) -> Members {
        let revoked = |user: &UserConfig| {
            let same = before.users.contains(user);
            same.then(|| before.revoked.get(&user.name).cloned()).flatten().unwrap_or_default()
        };
        let access = Access::new(users);
        Members {
            users: users.to_vec(),
            decoy: access.costliest_hash().map(PasswordHash::decoy),
            access,
            revoked: users.iter().map(|user| (user.name.clone(), revoked(user))).collect(),
            nobody: if users.is_empty() { before.nobody.clone() } else { CancellationToken::new() },
        }
    }

    fn watch(&self, user: &str) -> CancellationToken {
        self.revoked.get(user).cloned().unwrap_or_default()
    }
}

/// Checks logins.
pub(super) struct Logins {
    members: RwLock<Arc<Members>>,
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
        Logins {
            members: RwLock::new(Arc::new(Members::new(users, &Members::default()))),
            failures: Mutex::default(),
            remembered: Mutex::default(),
            key: random::key(),
            workers: Arc::new(Semaphore::new(AT_A_TIME)),
            clock,
        }
    }

    /// From now on these are the users. Clients of those that are not what they were are sent away: they come back as who they are now.
    pub fn replace(&self, users: &[UserConfig]) {
        let before = {
            let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
            let new = Arc::new(Members::new(users, &members));
            std::mem::replace(&mut *members, new)
        };
        let gone = before.users.iter().filter(|user| !users.contains(user));
        gone.for_each(|user| before.watch(&user.name).cancel());
        if !users.is_empty() {
            before.nobody.cancel();
        }
        // After that: whoever is still being checked is not remembered any more.
        self.remembered().retain(|name, _| users.iter().any(|user| user.name == *name && before.users.contains(user)));
    }

    fn members(&self) -> Arc<Members> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The rights of whoever this is. An answer that has to wait for others is given up `by` then.
    pub async fn admit(
        &self,
        origin: &Origin,
        login: Login,
        client_id: &str,
        by: Monotonic,
    ) -> Result<Admitted, Refusal> {
        let members = self.members();
        let claim = match (&origin.certificate, &login) {
            // The certificate has said who it is; a login beside it would say less.
            (Some(name), _) => Claim::Certificate(name.clone()),
            (None, Login { user: None, password: None }) => Claim::Nothing,
            (None, Login { user, password }) => Claim::Login { user: user.clone(), has_password: password.is_some() },
        };
        match members.access.judge(&claim, origin.on_loopback) {
            Verdict::Everybody => Ok(Admitted { rights: Rights::everything(), revoked: members.nobody.clone() }),
            Verdict::User(user) => {
                Ok(Admitted { rights: Rights::of(&user, client_id), revoked: members.watch(&user.name) })
            }
            Verdict::Refuse(why) => {
                let tell = self.failures().refuse(origin.peer.ip(), self.clock.now());
                self.tell(origin.peer, &claim_name(&claim), why, tell);
                Err(Refusal { reason: Reason::NOT_AUTHORIZED, why })
            }
            Verdict::Check(user, hash) => {
                let revoked = members.watch(&user.name);
                let hash = Some((hash, &revoked));
                self.check(origin.peer, &user.name, hash, &members, login.password.unwrap_or_default(), by).await?;
                Ok(Admitted { rights: Rights::of(&user, client_id), revoked })
            }
            Verdict::CheckInVain => {
                let name = login.user.unwrap_or_default();
                let password = login.password.unwrap_or_default();
                let refused = self.check(origin.peer, &name, None, &members, password, by).await;
                refused.and(Err(WRONG))
            }
        }
    }

    /// Without a hash there is nobody of this name, which the caller of this must not learn from the time that it takes.
    async fn check(
        &self,
        peer: SocketAddr,
        name: &str,
        hash: Option<(PasswordHash, &CancellationToken)>,
        members: &Members,
        password: Bytes,
        by: Monotonic,
    ) -> Result<(), Refusal> {
        let seen = Recollection::of(&self.key, &password);
        if hash.is_some() && self.remembered().get(name) == Some(&seen) {
            return Ok(());
        }
        let lane = self.lane(peer.ip(), by).await?;
        let (hash, user) = hash.unzip();
        let is_right = match hash.or_else(|| members.decoy.clone()) {
            Some(hash) => self.work(hash, password, by).await?,
            None => false,
        };
        if is_right && let Some(revoked) = user {
            let mut remembered = self.remembered();
            // A password that was changed meanwhile must not be remembered as the right one.
            if !revoked.is_cancelled() {
                remembered.insert(name.into(), seen);
            }
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
