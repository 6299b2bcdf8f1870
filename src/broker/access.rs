//! Who may come in and what each may do, as pure rules: users, their patterns, and what a pattern means for one client.
//!
//! Without users everybody may do everything. With users a right is what `may_subscribe` and `may_publish` name less what `deny` names, and
//! what nobody named is refused. A name that came from outside never widens a pattern.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{ANONYMOUS, UserConfig};
use crate::model::{Filter, Publisher};
use crate::password::PasswordHash;

/// Between the user and what the client calls itself; no user's name has a control character.
const OWNER_END: char = '\u{1F}';

/// All users.
#[derive(Debug, Default)]
pub(super) struct Access {
    users: HashMap<String, Arc<UserConfig>>,
}

/// How somebody says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// By the certificate of its connection; an error is one without a usable name.
    Certificate(Result<String, String>),
    /// By user name and password; one of the two may be missing.
    Login { user: Option<String>, has_password: bool },
    /// Not at all.
    Nothing,
}

/// What is to be done with a claim.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// Whoever it is.
    Everybody,
    /// It is this user.
    User(Arc<UserConfig>),
    /// It is this user if the password is right.
    Check(Arc<UserConfig>, PasswordHash),
    /// Nobody has this name or no password is enough for it; it must not show in the time that the answer takes.
    CheckInVain,
    /// It is somebody who has no business here, and why.
    Refuse(&'static str),
}

impl Access {
    /// The users of the configuration.
    pub fn new(users: &[UserConfig]) -> Access {
        Access { users: users.iter().map(|user| (user.name.clone(), Arc::new(user.clone()))).collect() }
    }

    /// The hash that costs most to check.
    pub fn costliest_hash(&self) -> Option<&PasswordHash> {
        self.users.values().filter_map(|user| user.password_hash.as_ref()).max_by_key(|hash| hash.cost())
    }

    /// Judges a claim that was made on a listener of loopback or of another address.
    pub fn judge(&self, claim: &Claim, on_loopback: bool) -> Verdict {
        if self.users.is_empty() {
            return Verdict::Everybody;
        }
        match claim {
            Claim::Certificate(Err(_)) => Verdict::Refuse("its certificate does not say who it is"),
            Claim::Certificate(Ok(name)) => match self.users.get(name) {
                Some(user) if name != ANONYMOUS => Verdict::User(user.clone()),
                _ => Verdict::Refuse("its certificate names nobody in `broker.users`"),
            },
            Claim::Login { user: Some(name), has_password: true } => match self.users.get(name) {
                Some(user) => match &user.password_hash {
                    Some(hash) => Verdict::Check(user.clone(), hash.clone()),
                    None => Verdict::CheckInVain,
                },
                None => Verdict::CheckInVain,
            },
            Claim::Login { .. } => Verdict::CheckInVain,
            Claim::Nothing if !on_loopback => Verdict::Refuse("it did not log in"),
            Claim::Nothing => match self.users.get(ANONYMOUS) {
                Some(user) => Verdict::User(user.clone()),
                None => Verdict::Refuse("it did not log in, and there is no user `anonymous`"),
            },
        }
    }
}

/// A publisher as people know it, of one whose client is named as the hub knows it ([`Rights::owned`]).
pub(super) fn named(publisher: &Publisher) -> Publisher {
    match publisher {
        Publisher::Client { id, .. } => match id.split_once(OWNER_END) {
            Some((user, id)) => Publisher::Client { id: id.into(), user: (!user.is_empty()).then(|| Arc::from(user)) },
            None => publisher.clone(),
        },
        _ => publisher.clone(),
    }
}

/// What one client may do.
#[derive(Debug, Clone)]
pub(super) struct Rights(Option<Arc<Lists>>);

#[derive(Debug, Default)]
struct Lists {
    user: String,
    subscribe: Vec<Filter>,
    publish: Vec<Filter>,
    deny: Vec<Filter>,
}

impl Rights {
    /// Everything.
    pub fn everything() -> Rights {
        Rights(None)
    }

    /// Nothing.
    pub fn nothing() -> Rights {
        Rights(Some(Arc::default()))
    }

    /// Those of `user` for a client with this identifier.
    pub fn of(user: &UserConfig, client_id: &str) -> Rights {
        let allowed = |patterns: &[Filter]| patterns.iter().filter_map(|p| fill(p, &user.name, client_id)).collect();
        let deny = |pattern| fill(pattern, &user.name, client_id).unwrap_or_else(|| widest(pattern));
        Rights(Some(Arc::new(Lists {
            user: user.name.clone(),
            subscribe: allowed(&user.may_subscribe),
            publish: allowed(&user.may_publish),
            deny: user.deny.iter().map(deny).collect(),
        })))
    }

    /// The identifier under which the hub knows this client. Two users who call themselves alike are two clients: nobody takes over, or
    /// empties, the session of another user. Those who did not log in keep the identifier that they came with.
    pub fn owned(&self, client_id: &Arc<str>) -> Arc<str> {
        match &self.0 {
            Some(lists) if lists.user != ANONYMOUS || client_id.contains(OWNER_END) => {
                format!("{}{OWNER_END}{client_id}", lists.user).into()
            }
            // Where nobody has a name, nobody can be taken for one who has.
            None if client_id.contains(OWNER_END) => format!("{OWNER_END}{client_id}").into(),
            _ => client_id.clone(),
        }
    }

    /// Whether it may publish to `topic`.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.0.as_ref().is_none_or(|lists| some(&lists.publish, topic) && !some(&lists.deny, topic))
    }

    /// Whether it may be given a message on `topic`, whatever it subscribed to.
    pub fn may_read(&self, topic: &str) -> bool {
        self.0.as_ref().is_none_or(|lists| some(&lists.subscribe, topic) && !some(&lists.deny, topic))
    }

    /// Whether it may subscribe to `filter`: all of it is allowed, and not all of it is denied. What is denied of it is not delivered; a
    /// shared subscription must be free of that, or the message would be lost to its whole group.
    pub fn may_subscribe(&self, filter: &str) -> bool {
        let Some(lists) = &self.0 else { return true };
        let (filter, is_shared) = match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
            Some((_, filter)) => (filter, true),
            None => (filter, false),
        };
        let denied = |deny: &Filter| if is_shared { overlap(deny, filter) } else { covers(deny, filter) };
        lists.subscribe.iter().any(|allowed| covers(allowed, filter)) && !lists.deny.iter().any(denied)
    }
}

fn some(filters: &[Filter], topic: &str) -> bool {
    filters.iter().any(|filter| filter.matches(topic))
}

/// A pattern with the names put in; `None` when a name could mean something to a filter, or makes it too long.
fn fill(pattern: &Filter, user: &str, client_id: &str) -> Option<Filter> {
    if !pattern.contains('%') {
        return Some(pattern.clone());
    }
    let mut text = String::with_capacity(pattern.len() + user.len() + client_id.len());
    // In one pass: a name that contains `%c` is not looked at again.
    let mut rest = pattern.as_str();
    while let Some(at) = rest.find('%') {
        let name = match rest.as_bytes().get(at + 1) {
            Some(b'u') => user,
            Some(b'c') => client_id,
            _ => {
                text.push_str(&rest[..=at]);
                rest = &rest[at + 1..];
                continue;
            }
        };
        text.push_str(&rest[..at]);
        if name.is_empty() || name.contains(['+', '#', '/']) || (text.is_empty() && name.starts_with('$')) {
            return None;
        }
        text.push_str(name);
        rest = &rest[at + 2..];
    }
    text.push_str(rest);
    Filter::new(&text).ok()
}

/// The pattern with `+` for each level that a name stands in: what is denied to anyone by it.
fn widest(pattern: &Filter) -> Filter {
    let level = |level| if str::contains(level, "%u") || level.contains("%c") { "+" } else { level };
    let text: Vec<&str> = pattern.split('/').map(level).collect();
    Filter::new(&text.join("/")).unwrap_or_else(|_| pattern.clone())
}

/// Whether every topic that `filter` matches is matched by `wide`.
fn covers(wide: &str, filter: &str) -> bool {
    if filter.starts_with('$') && wide.starts_with(['+', '#']) {
        return false;
    }
    // `+/#` is `#`: a topic has at least one level.
    if filter == "#" {
        return matches!(wide, "#" | "+/#");
    }
    let (mut wide, mut levels) = (wide.split('/'), filter.split('/'));
    loop {
        match (wide.next(), levels.next()) {
            (Some("#"), _) => return true,
            (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// Whether there is a topic that both filters match.
fn overlap(one: &str, other: &str) -> bool {
    let hidden = |a: &str, b: &str| a.starts_with('$') && b.starts_with(['+', '#']);
    if hidden(one, other) || hidden(other, one) {
        return false;
    }
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|text| Filter::new(text).unwrap()).collect()
    }

    fn user(subscribe: &[&str], publish: &[&str], deny: &[&str]) -> UserConfig {
        UserConfig {
            name: "hmi".into(),
            password_hash: None,
            may_subscribe: filters(subscribe),
            may_publish: filters(publish),
            deny: filters(deny),
        }
    }

    #[test]
    fn a_publisher_is_told_with_its_user_and_nobody_can_pretend_to_have_one() {
        let told = |rights: &Rights, id: &str| {
            let by = Publisher::Client { id: rights.owned(&Arc::from(id)), user: None };
            named(&by).to_string()
        };
        let known = Rights::of(&user(&[], &[], &[]), "c");
        assert_eq!(told(&known, "panel-3"), "client panel-3 (user hmi)");
        assert_eq!(told(&known, "admin\u{1F}x"), "client admin\u{1F}x (user hmi)");
        assert_eq!(told(&Rights::everything(), "panel-3"), "client panel-3");
        assert_eq!(told(&Rights::everything(), "admin\u{1F}x"), "client admin\u{1F}x");
    }

    #[test]
    fn what_nobody_named_is_refused_and_deny_comes_first() {
        let rights = Rights::of(&user(&["plant/#"], &["plant/+/set"], &["plant/boiler/set"]), "c");
        assert!(rights.may_publish("plant/pump/set") && !rights.may_publish("plant/boiler/set"));
        assert!(!rights.may_publish("plant/pump") && !rights.may_publish("other"));
        assert!(rights.may_read("plant") && rights.may_read("plant/a/b"));
        assert!(!rights.may_read("plant/boiler/set") && !rights.may_read("other"));
        assert!(!Rights::of(&user(&[], &[], &[]), "c").may_read("a"));
        assert!(Rights::everything().may_publish("$SYS/x") && Rights::everything().may_subscribe("#"));
    }

    #[test]
    fn a_filter_is_allowed_when_all_of_it_is_and_not_all_of_it_is_denied() {
        let rights = Rights::of(&user(&["plant/#", "$SYS/broker/+"], &[], &["plant/secret/#"]), "c");
        for good in
            ["plant/#", "plant", "plant/+", "plant/+/x/#", "$SYS/broker/uptime", "$share/g/plant/a", "plant/+/#"]
        {
            assert!(rights.may_subscribe(good), "{good}");
        }
        for bad in [
            "#",
            "+/#",
            "+",
            "plant/secret",
            "plant/secret/#",
            "plant/secret/+/x",
            "$SYS/#",
            "$share/g/#",
            "$share/g/plant/#",
        ] {
            assert!(!rights.may_subscribe(bad), "{bad}");
        }
        let all = Rights::of(&user(&["#"], &["#"], &[]), "c");
        assert!(all.may_subscribe("#") && all.may_subscribe("+/#") && !all.may_subscribe("$SYS/#"));
        assert!(!all.may_read("$SYS/broker/uptime") && !all.may_publish("$SYS/x"));
    }

    #[test]
    fn names_stand_for_themselves() {
        let rights = Rights::of(&user(&["c/%c/#"], &["u/%u/%c", "100%/x", "u/dev-%u"], &[]), "press-1");
        assert!(rights.may_publish("u/hmi/press-1") && rights.may_publish("100%/x") && rights.may_publish("u/dev-hmi"));
        assert!(!rights.may_publish("u/hmi/press-2") && !rights.may_publish("u/%u/%c"));
        assert!(rights.may_subscribe("c/press-1/#") && !rights.may_subscribe("c/#"));
    }

    #[test]
    fn a_client_identifier_never_widens_a_pattern() {
        let given = user(&["c/%c/#"], &["c/%c", "%c/x", "%c%u"], &["deny/%c/x"]);
        for odd in ["+", "#", "a/b", "../x", "+/+", "$SYS", "x+", "", "a/#"] {
            let rights = Rights::of(&given, odd);
            for topic in ["c/anything", "c/a/b", "c/+", "$SYS/x", "a/x", "c", "hmi"] {
                assert!(!rights.may_publish(topic) || odd == "$SYS" && topic == "c/$SYS", "{odd} may publish {topic}");
            }
            assert!(
                !rights.may_subscribe("c/#") && !rights.may_subscribe("c/+/#") && !rights.may_subscribe("c/b"),
                "{odd}"
            );
            if odd.contains(['+', '#', '/']) {
                assert!(some(&rights.0.as_ref().unwrap().deny, "deny/whoever/x"), "{odd} escapes a denial");
            }
        }
        // A name that looks like the other placeholder is a name.
        let rights = Rights::of(&UserConfig { name: "%c".into(), ..user(&[], &["u/%u"], &[]) }, "admin");
        assert!(rights.may_publish("u/%c") && !rights.may_publish("u/admin"));
    }

    #[test]
    fn only_those_who_are_listed_come_in() {
        let anonymous = UserConfig { name: ANONYMOUS.into(), ..user(&["#"], &[], &[]) };
        let access = Access::new(&[user(&[], &[], &[]), anonymous.clone()]);
        let login = |user: Option<&str>, has_password| Claim::Login { user: user.map(Into::into), has_password };
        let certificate = |name: &str| Claim::Certificate(Ok(name.into()));
        assert!(matches!(access.judge(&Claim::Nothing, true), Verdict::User(user) if user.name == ANONYMOUS));
        assert!(matches!(access.judge(&Claim::Nothing, false), Verdict::Refuse(_)));
        assert!(matches!(access.judge(&certificate("hmi"), false), Verdict::User(user) if user.name == "hmi"));
        for stranger in [certificate("anonymous"), certificate("x"), Claim::Certificate(Err("none".into()))] {
            assert!(matches!(access.judge(&stranger, true), Verdict::Refuse(_)), "{stranger:?}");
        }
        for wrong in
            [login(Some("hmi"), true), login(Some("anonymous"), true), login(Some("hmi"), false), login(None, true)]
        {
            assert!(matches!(access.judge(&wrong, true), Verdict::CheckInVain), "{wrong:?}");
        }
        assert!(matches!(Access::new(&[]).judge(&login(Some("x"), true), false), Verdict::Everybody));
        assert!(matches!(Access::new(&[user(&[], &[], &[])]).judge(&Claim::Nothing, true), Verdict::Refuse(_)));
    }

    const FILTER: &str = "([$ab]|[ab+])(/[ab+]?){0,3}(/#)?";

    proptest! {
        /// A filter is covered when no topic that it matches escapes; topics are tried, so only one direction is certain.
        #[test]
        fn what_covers_a_filter_matches_all_that_it_matches(
            wide in FILTER, filter in FILTER, topics in prop::collection::vec("[$ab](/[ab]?){0,4}", 40),
        ) {
            let (wide, filter) = (Filter::new(&wide).unwrap(), Filter::new(&filter).unwrap());
            for topic in &topics {
                if filter.matches(topic) && !wide.matches(topic) {
                    prop_assert!(!covers(&wide, &filter), "{topic}");
                }
                if filter.matches(topic) && wide.matches(topic) {
                    prop_assert!(overlap(&wide, &filter), "{topic}");
                }
            }
            prop_assert!(covers(&filter, &filter) && overlap(&filter, &filter));
            prop_assert!(!covers(&wide, &filter) || overlap(&wide, &filter));
        }
    }
}
