//! One listener of the broker: its address, and the files that its TLS needs.

use std::path::PathBuf;

use super::{Context, material};
use crate::config::address::{ListenerAddress, ListenerUrl};
use crate::config::fields::{Fields, read_value};
use crate::config::keys;
use crate::config::problem::{Problem, Problems};
use crate::config::tree::{Node, Value};
use crate::config::types::{ListenerConfig, TlsFiles};
use crate::transport::{ServerMaterial, ServerTls};

const EXAMPLE: &str = "mqtt://127.0.0.1:1883";

/// A listener is an address, or a mapping with `url`. Returns the node of its address too.
pub(super) fn check<'a>(
    item: &'a Node,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<(&'a Node, ListenerConfig)> {
    let (node, fields) = match &item.value {
        Value::Map(entries) => {
            let first = entries.first().map_or(&item.span, |entry| &entry.key_span);
            let fields = Fields::open(item, &keys::LISTENER, first, "this listener", problems)?;
            let Some(entry) = fields.entry("url") else {
                fields.missing("url", &format!("for example `url: {EXAMPLE}`"), problems);
                return None;
            };
            (&*entry.value, Some(fields))
        }
        _ => (item, None),
    };
    let address = read_value(node, "a listener", &ListenerUrl, problems);
    let tls = fields.as_ref().map(|fields| files(fields, address.as_ref(), context, problems));
    let address = address?;
    let url = node.scalar()?.text.clone();
    if address.encrypted && fields.is_none() {
        problems.push(
            Problem::at(&node.span, "an encrypted listener needs a certificate")
                .label("there is only an address here")
                .help(format!("write `- {{ url: {url}, certificate: tls/server.pem, private_key: tls/server.key }}`")),
        );
        return None;
    }
    let tls = match (address.encrypted, tls) {
        (true, Some(files)) => Some(files?),
        _ => None,
    };
    let place = Some(context.place(&node.span));
    Some((
        node,
        ListenerConfig { url: url.to_string(), address: address.address, web_socket: address.web_socket, tls, place },
    ))
}

/// The files of a listener, read and held against each other. `None` when one is missing or wrong, and where nothing is encrypted.
fn files(
    fields: &Fields<'_>,
    address: Option<&ListenerAddress>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<TlsFiles> {
    if let Some(ListenerAddress { encrypted: false, web_socket, .. }) = address {
        let scheme = if web_socket.is_some() { "wss" } else { "mqtts" };
        for key in ["certificate", "private_key", "client_ca"] {
            let Some(entry) = fields.entry(key) else { continue };
            problems.push(
                Problem::at(&entry.key_span, format!("`{key}` belongs to an encrypted listener"))
                    .label("this one's address says that it is not encrypted")
                    .help(format!("write `url: {scheme}://…`, or remove `{key}`")),
            );
        }
        return None;
    }
    let mut file = |key: &'static str, needed: bool| -> Option<Option<(PathBuf, Vec<u8>)>> {
        if fields.entry(key).is_none() {
            if needed && address.is_some() {
                let example = if key == "private_key" { "tls/server.key" } else { "tls/server.pem" };
                fields.missing(
                    key,
                    &format!("an encrypted listener needs it; for example `{key}: {example}`"),
                    problems,
                );
            }
            return if needed { None } else { Some(None) };
        }
        material::read(fields, key, context, problems).map(Some)
    };
    let (certificate, private_key, client_ca) =
        (file("certificate", true), file("private_key", true), file("client_ca", false));
    let (certificate, private_key, client_ca) = (certificate??, private_key??, client_ca?);
    let material = ServerMaterial {
        certificate: &certificate.1,
        private_key: &private_key.1,
        client_ca: client_ca.as_ref().map(|(_, bytes)| &**bytes),
    };
    if let Err((part, error)) = ServerTls::new(material) {
        problems.push(material::unusable(fields, part, &error));
        return None;
    }
    Some(TlsFiles {
        certificate: certificate.0,
        private_key: private_key.0,
        client_ca: client_ca.map(|(path, _)| path),
    })
}
