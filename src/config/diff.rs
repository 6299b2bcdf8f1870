//! What differs between two configurations, in the terms of a gateway that runs with the one and is to run with the other. Pure.
//!
//! A bus is one thing with its devices: they take turns on it, so what changes one of them begins the bus anew. An uplink of which only the rules
//! differ keeps its connection. Places in the file count for nothing: a line more above says nothing about what is below.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Config, ListenerConfig, UplinkConfig, UserConfig};
use crate::model::{Device, Name};

/// Everything that differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Keys that can't change while the gateway runs, each with what it was and is to be.
    pub fixed: Vec<Fixed>,
    /// Buses whose tasks have to end and to begin: those that are gone, that are new, or that differ in themselves or in a device.
    pub buses: Changes<Name>,
    /// Devices whose topics begin or end.
    pub devices: Changes<Name>,
    /// Uplinks.
    pub uplinks: Changes<Name>,
    /// Uplinks of which nothing but the rules of `forward:` differs; they are among the changed ones, too.
    pub rules: Vec<Name>,
    /// Listeners by their address; of a changed one the address is the same.
    pub listeners: Changes<SocketAddr>,
    /// Users by their name.
    pub users: Changes<String>,
    /// `server_keep_alive`, `session_expiry` or `limits` of the broker.
    pub broker: bool,
    /// `web.listen`.
    pub web: bool,
}

/// What came, went and differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes<K> {
    /// Not there before.
    pub added: Vec<K>,
    /// Not there any more.
    pub removed: Vec<K>,
    /// Still there, and different.
    pub changed: Vec<K>,
}

/// A key that can't change while the gateway runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// As it is written in the file.
    pub key: &'static str,
    /// What the gateway runs with.
    pub running: String,
    /// What the file says.
    pub wanted: String,
}

impl<K> Default for Changes<K> {
    fn default() -> Changes<K> {
        Changes { added: Vec::new(), removed: Vec::new(), changed: Vec::new() }
    }
}

impl<K: Clone + PartialEq> Changes<K> {
    /// Between two lists of things that have a key each. `same` says whether a thing is still what it was.
    fn between<T>(old: &[T], new: &[T], key: impl Fn(&T) -> K, same: impl Fn(&T, &T) -> bool) -> Changes<K> {
        let mut changes = Changes::default();
        for item in new {
            match old.iter().find(|before| key(before) == key(item)) {
                None => changes.added.push(key(item)),
                Some(before) if !same(before, item) => changes.changed.push(key(item)),
                Some(_) => {}
            }
        }
        let gone = old.iter().filter(|before| !new.iter().any(|item| key(item) == key(before)));
        changes.removed.extend(gone.map(&key));
        changes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// What has to end: what is gone, and what is to begin anew.
    pub fn ending(&self) -> impl Iterator<Item = &K> {
        self.removed.iter().chain(&self.changed)
    }

    /// What has to begin.
    pub fn beginning(&self) -> impl Iterator<Item = &K> {
        self.added.iter().chain(&self.changed)
    }
}

impl Diff {
    /// From what runs to what is wanted. The devices of each are beside it, since a gateway that runs has given its own away.
    pub fn between(old: &Config, old_devices: &[Arc<Device>], new: &Config, new_devices: &[Arc<Device>]) -> Diff {
        let devices = Changes::between(old_devices, new_devices, |d| d.name.clone(), |a, b| a == b);
        let mut buses = Changes::between(&old.buses, &new.buses, |bus| bus.name.clone(), |a, b| a == b);
        for bus in &new.buses {
            let on = |devices: &[Arc<Device>]| -> Vec<Arc<Device>> {
                devices.iter().filter(|device| device.bus == bus.name).cloned().collect()
            };
            if on(old_devices) != on(new_devices) && !buses.beginning().any(|known| *known == bus.name) {
                buses.changed.push(bus.name.clone());
            }
        }
        // Where the file has it is nothing to an uplink.
        let placeless = |config: &Config| -> Vec<UplinkConfig> {
            config.uplinks.iter().map(|uplink| UplinkConfig { place: None, ..uplink.clone() }).collect()
        };
        let (old_uplinks, new_uplinks) = (placeless(old), placeless(new));
        let uplinks = Changes::between(&old_uplinks, &new_uplinks, |uplink| uplink.name.clone(), |a, b| a == b);
        let of = |uplinks: &[UplinkConfig], name: &Name| uplinks.iter().find(|uplink| uplink.name == *name).cloned();
        let only_rules = |name: &&Name| match (of(&old_uplinks, name), of(&new_uplinks, name)) {
            (Some(before), Some(after)) => UplinkConfig { forward: after.forward.clone(), ..before } == after,
            _ => false,
        };
        let rules = uplinks.changed.iter().filter(only_rules).cloned().collect();
        Diff {
            fixed: fixed(old, new),
            buses,
            devices,
            rules,
            uplinks,
            listeners: Changes::between(&old.broker.listeners, &new.broker.listeners, |l| l.address, same_listener),
            users: Changes::between(&old.broker.users, &new.broker.users, |user| user.name.clone(), same_user),
            broker: old.broker.server_keep_alive != new.broker.server_keep_alive
                || old.broker.session_expiry != new.broker.session_expiry
                || old.broker.limits != new.broker.limits,
            web: old.web.as_ref().map(|web| web.listen) != new.web.as_ref().map(|web| web.listen),
        }
    }

    /// Whether the two say the same.
    pub fn is_empty(&self) -> bool {
        *self == Diff::default()
    }

    /// What differs, in a line: "buses: line1 changed; uplinks: cloud added, old removed".
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        let mut tell = |what: &str, added: Vec<String>, removed: Vec<String>, changed: Vec<String>| {
            let each = [("added", added), ("removed", removed), ("changed", changed)];
            let each = each.into_iter().filter(|(_, names)| !names.is_empty());
            let told: Vec<String> = each.map(|(how, names)| format!("{} {how}", names.join(" and "))).collect();
            if !told.is_empty() {
                parts.push(format!("{what}: {}", told.join(", ")));
            }
        };
        let words = |names: &[Name]| names.iter().map(Name::to_string).collect::<Vec<_>>();
        for (what, changes) in [("buses", &self.buses), ("devices", &self.devices), ("uplinks", &self.uplinks)] {
            tell(what, words(&changes.added), words(&changes.removed), words(&changes.changed));
        }
        let addresses = |of: &[SocketAddr]| of.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        let listeners = &self.listeners;
        tell("listeners", addresses(&listeners.added), addresses(&listeners.removed), addresses(&listeners.changed));
        tell("users", self.users.added.clone(), self.users.removed.clone(), self.users.changed.clone());
        if self.broker {
            parts.push("the broker's limits".into());
        }
        if self.web {
            parts.push("the web pages' address".into());
        }
        parts.join("; ")
    }
}

fn fixed(old: &Config, new: &Config) -> Vec<Fixed> {
    let of = |config: &Config| {
        let gateway = &config.gateway;
        [gateway.id.to_string(), gateway.topic_root.to_string(), gateway.data_dir.display().to_string()]
    };
    let keys = ["gateway.id", "gateway.topic_root", "gateway.data_dir"];
    let all = keys.into_iter().zip(of(old)).zip(of(new));
    let different = all.filter(|((_, running), wanted)| running != wanted);
    different.map(|((key, running), wanted)| Fixed { key, running, wanted }).collect()
}

fn same_listener(a: &ListenerConfig, b: &ListenerConfig) -> bool {
    let ListenerConfig { url, address, web_socket, tls, place: _ } = a;
    (url, address, web_socket, tls) == (&b.url, &b.address, &b.web_socket, &b.tls)
}

fn same_user(a: &UserConfig, b: &UserConfig) -> bool {
    a == b
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Outside, parse};

    fn config(text: &str) -> (Config, Vec<Arc<Device>>) {
        let mut config = parse(text.as_bytes(), Path::new("gateway.yaml"), &Outside::nothing())
            .unwrap_or_else(|report| panic!("{}", report.render(crate::config::Look::Plain)));
        let devices = std::mem::take(&mut config.devices).into_iter().map(Arc::new).collect();
        (config, devices)
    }

    fn between(old: &str, new: &str) -> Diff {
        let ((old, old_devices), (new, new_devices)) = (config(old), config(new));
        Diff::between(&old, &old_devices, &new, &new_devices)
    }

    const BASE: &str = "gateway: { id: p }\n\
        broker: { listeners: ['mqtt://127.0.0.1:1883', 'mqtt://127.0.0.1:1884'] }\n\
        web: { listen: '127.0.0.1:8080' }\n\
        buses:\n  b: { tcp: plc, protocol: modbus-tcp }\n  c: { tcp: plc2, protocol: modbus-tcp }\n\
        devices:\n  d: { bus: b, points: { p: { holding: 1 } } }\n  e: { bus: c, points: { p: { holding: 1 } } }\n\
        uplinks:\n  u: { url: 'mqtt://a', forward: [{ topic: 'x/#' }] }\n  v: { url: 'mqtt://b', forward: [{ topic: 'x/#' }] }\n";

    #[test]
    fn the_same_text_somewhere_else_in_the_file_is_no_change() {
        assert!(between(BASE, BASE).is_empty());
        let moved = format!("# a comment\n\n{}", BASE.replace("uplinks:\n", "uplinks:\n\n"));
        let diff = between(BASE, &moved);
        assert!(diff.is_empty(), "{diff:?}");
        assert_eq!(diff.summary(), "");
    }

    #[test]
    fn a_change_of_a_device_begins_its_bus_anew_and_no_other() {
        let diff = between(
            BASE,
            &BASE.replace(
                "d: { bus: b, points: { p: { holding: 1 } } }",
                "d: { bus: b, points: { p: { holding: 2 } } }",
            ),
        );
        assert_eq!(diff.summary(), "buses: b changed; devices: d changed");
        let diff = between(BASE, &BASE.replace("  e: { bus: c,", "  e: { bus: b,"));
        assert_eq!(diff.summary(), "buses: b and c changed; devices: e changed");
    }

    #[test]
    fn what_comes_and_goes_is_named_and_rules_alone_are_told_apart() {
        let changed = BASE
            .replace("tcp: plc2", "tcp: plc3")
            .replace("  u: { url: 'mqtt://a'", "  w: { url: 'mqtt://a'")
            .replace(
                "v: { url: 'mqtt://b', forward: [{ topic: 'x/#' }] }",
                "v: { url: 'mqtt://b', forward: [{ topic: 'y/#' }] }",
            )
            .replace(":1884", ":1885")
            .replace(":8080", ":8081");
        let diff = between(BASE, &changed);
        assert_eq!(
            diff.summary(),
            "buses: c changed; uplinks: w added, u removed, v changed; listeners: 127.0.0.1:1885 added, 127.0.0.1:1884 removed; \
             the web pages' address"
        );
        assert_eq!(diff.rules.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["v"]);
        assert_eq!(between(BASE, &BASE.replace("'mqtt://b'", "'mqtt://c'")).rules, []);
    }

    #[test]
    fn what_can_not_change_while_the_gateway_runs_is_named_with_both_values() {
        let diff = between(BASE, &BASE.replace("id: p", "id: q, data_dir: /tmp"));
        let fixed: Vec<String> = diff.fixed.iter().map(|f| format!("{} {} {}", f.key, f.running, f.wanted)).collect();
        assert_eq!(
            fixed,
            ["gateway.id p q", "gateway.topic_root fieldway/p fieldway/q", "gateway.data_dir /var/lib/fieldway /tmp"]
        );
    }
}
