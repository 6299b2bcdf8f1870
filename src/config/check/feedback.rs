//! Bridge rules against each other: two uplinks to one broker must not send each other's messages round and round.

use crate::config::fields::Fields;
use crate::config::problem::{Problem, Problems};
use crate::config::tree::{Span, Value};
use crate::config::types::{GatewayConfig, UplinkConfig};
use crate::route::{Side, circle};

pub(super) fn check(
    top: &Fields<'_>,
    uplinks: &[UplinkConfig],
    gateway: Option<&GatewayConfig>,
    problems: &mut Problems,
) {
    let Some(gateway) = gateway else { return };
    for up in uplinks {
        for down in uplinks {
            if up.name == down.name || !share_a_server(up, down) {
                continue;
            }
            let side = |uplink| {
                let UplinkConfig { forward, accept, .. }: &UplinkConfig = uplink;
                Side { forward, accept }
            };
            let Some(found) = circle(side(up), side(down), &gateway.id, &gateway.topic_root) else { continue };
            let (Some(accept), Some(forward)) =
                (place(top, &down.name, "accept", found.accept), place(top, &up.name, "forward", found.forward))
            else {
                continue;
            };
            let title = format!(
                "accept rule {} of uplink `{}` feeds uplink `{}`, and is fed by it",
                found.accept + 1,
                down.name,
                up.name
            );
            problems.push(
                Problem::at(&accept, title)
                    .label(format!("brings in what is on {} …", found.topic))
                    .also(&forward, "… which this sends back to the same broker, for ever")
                    .help("take it out with `except`, or give the two different topics"),
            );
        }
    }
}

fn share_a_server(one: &UplinkConfig, other: &UplinkConfig) -> bool {
    one.servers.iter().any(|a| other.servers.iter().any(|b| a.host.eq_ignore_ascii_case(&b.host) && a.port == b.port))
}

/// Where a rule stands.
fn place(top: &Fields<'_>, uplink: &str, list: &str, index: usize) -> Option<Span> {
    let uplinks = top.entry("uplinks")?.value.entries()?;
    let uplink = uplinks.iter().find(|entry| entry.key == uplink)?.value.entries()?;
    let Value::List(items) = &uplink.iter().find(|entry| entry.key == list)?.value.value else { return None };
    let item = items.get(index)?;
    Some(match item.entries().and_then(|entries| entries.first()) {
        Some(first) => first.key_span.clone(),
        None => item.span.clone(),
    })
}
