//! What will trouble an uplink soon though it is not wrong: certificates that are out of their time, and keys that anybody can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::config::{Place, UplinkConfig};
use crate::model::Timestamp;
use crate::transport::{ClientMaterial, ClientTls, Doubt, Part};

/// A warning each, with the place of its uplink. Files that can't be read are left to whoever needs them.
pub fn certificate_warnings(uplinks: &[UplinkConfig], now: Timestamp) -> Vec<(Option<Place>, String)> {
    let of = |uplink: &UplinkConfig| {
        let place = uplink.place.clone();
        warnings(uplink, now).into_iter().map(move |warning| (place.clone(), warning)).collect::<Vec<_>>()
    };
    uplinks.iter().flat_map(of).collect()
}

fn warnings(uplink: &UplinkConfig, now: Timestamp) -> Vec<String> {
    let ca = uplink.tls.ca.as_ref().and_then(|path| fs::read(path).ok());
    let identity = uplink.tls.identity.as_ref();
    let pair = identity.and_then(|(certificate, key)| Some((fs::read(certificate).ok()?, fs::read(key).ok()?)));
    let material = ClientMaterial {
        ca: ca.as_deref(),
        identity: pair.as_ref().map(|(certificate, key)| (&**certificate, &**key)),
    };
    let told = ClientTls::doubts(material, now).into_iter().filter_map(|(part, doubt)| {
        let path = if part == Part::Ca { uplink.tls.ca.as_ref()? } else { &identity?.0 };
        let whose =
            if part == Part::Ca { "certificates that it signed are refused" } else { "the cloud will refuse it" };
        let why = match doubt {
            Doubt::Expired(end) => format!("it expired on {end}; {whose}, so renew it"),
            early @ Doubt::NotYetValid(_) => early.to_string(),
        };
        Some(format!("{} {} of uplink {}: {why}", part.key(), path.display(), uplink.name))
    });
    let open = identity.filter(|(_, key)| fs::metadata(key).is_ok_and(|key| key.permissions().mode() & 0o004 != 0));
    let open = open.map(|(_, key)| {
        format!(
            "private_key {} of uplink {}: every user of this machine can read it; `chmod o-r` it",
            key.display(),
            uplink.name
        )
    });
    told.chain(open).collect()
}
