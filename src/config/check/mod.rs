//! The whole file against its keys: one module a noun, and between them what one noun says about another.

mod broker;
mod bus;
mod bytes;
mod cells;
mod codes;
mod device;
mod factor;
mod feedback;
mod format;
mod gateway;
mod listener;
mod material;
mod names;
mod point;
mod publish;
mod register;
mod rules;
mod server;
mod shaping;
mod telegram;
mod transport;
mod uplink;
mod users;
mod write;

use std::path::{Path, PathBuf};

use super::Outside;
use super::fields::Fields;
use super::files::Files;
use super::keys;
use super::problem::{Problem, Problems};
use super::tree::{Node, Span};
use super::types::{Config, Place};

/// What a check may look at besides the tree.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) files: &'a Files,
    pub(super) outside: &'a Outside<'a>,
}

impl Context<'_> {
    /// A path that is written at `at`, made to start at the folder of the file it is written in.
    pub(super) fn relative(&self, at: &Span, path: &str) -> PathBuf {
        self.files.path(at.start).parent().unwrap_or(Path::new("")).join(path)
    }

    fn place(&self, span: &Span) -> Place {
        self.files.place(span.start)
    }
}

/// The configuration, when nothing that it needs is missing. It counts only if there are no problems.
pub(super) fn config(root: &Node, context: &Context<'_>, problems: &mut Problems) -> Option<Config> {
    if root.is_nothing() {
        problems.push(
            Problem::of_file("the configuration is empty")
                .help("`fieldway demo` needs none; a first one has `buses:` and `devices:`"),
        );
        return None;
    }
    let start = root.span.start..root.span.start;
    let top = Fields::open(root, &keys::TOP, &start, "the configuration", problems)?;
    let gateway = gateway::check(&top, context, problems);
    let broker = broker::check(&top, context, problems);
    let web = broker::check_web(&top, &broker, context, problems);
    let buses = bus::check(&top, problems);
    let devices = device::check(&top, &buses, problems);
    let uplinks = uplink::check(&top, gateway.as_ref(), context, problems);
    feedback::check(&top, &uplinks, gateway.as_ref(), problems);
    Some(Config {
        file: context.files.first().into(),
        gateway: gateway?,
        broker,
        web,
        buses: buses.into_iter().filter_map(|known| known.bus).collect(),
        devices,
        uplinks,
    })
}

/// What `gateway.data_dir` says; `None` when something in `gateway` is not as it should be.
pub(super) fn data_dir(root: &Node, context: &Context<'_>, problems: &mut Problems) -> Option<PathBuf> {
    let start = root.span.start..root.span.start;
    let top = Fields::open(root, &keys::TOP, &start, "the configuration", problems)?;
    Some(gateway::check(&top, context, problems)?.data_dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Shape;
    use crate::config::parse;

    /// A configuration with `{}` inside a mapping of this shape.
    fn frame(shape: &Shape) -> Option<&'static str> {
        Some(match shape.what {
            "the top level" => "{}",
            "`gateway`" => "gateway: {{}}",
            "`broker`" => "broker: {{}}",
            "a listener" => "broker: { listeners: [{{}}] }",
            "a user of the broker" => "broker: { users: [{{}}] }",
            "`limits` of the broker" => "broker: { limits: {{}} }",
            "`web`" => "web: {{}}",
            "a bus" => "buses: { b: {{}} }",
            "a device" => "devices: { d: {{}} }",
            "a point" => "devices: { d: { points: { p: {{}} } } }",
            "`frame` of a bus" => "buses: { b: { protocol: frames, frame: {{}} } }",
            "`length` of a frame" => "buses: { b: { protocol: frames, frame: { length: {{}} } } }",
            "`checksum` of a frame" => "buses: { b: { protocol: frames, frame: { checksum: {{}} } } }",
            "`nmea` of a point" => "devices: { d: { points: { p: { nmea: {{}} } } } }",
            "`write` of a point" => "devices: { d: { points: { p: { holding: 1, write: {{}} } } } }",
            "`scale_from` of a point" => "devices: { d: { points: { p: { holding: 1, scale_from: {{}} } } } }",
            "an uplink" => "uplinks: { u: {{}} }",
            "`queue` of an uplink" => "uplinks: { u: { queue: {{}} } }",
            "a forward rule" => "uplinks: { u: { forward: [{{}}] } }",
            "`batch` of a forward rule" => "uplinks: { u: { forward: [{ topic: a, batch: {{}} }] } }",
            "`aggregate` of a forward rule" => "uplinks: { u: { forward: [{ topic: a, aggregate: {{}} }] } }",
            "an accept rule" => "uplinks: { u: { accept: [{{}}] } }",
            _ => return None,
        })
    }

    /// The keys that the feature of a key needs beside it to be read.
    fn beside(shape: &Shape, key: &str) -> &'static str {
        match key {
            "baud" | "data_bits" | "parity" | "stop_bits" | "rs485" => "serial: /dev/ttyUSB0, ",
            "certificate" | "private_key" | "client_ca" | "ca" | "alpn" | "server_name" => {
                "url: mqtts://127.0.0.1:8883, "
            }
            "from" if shape.what == "a bus" => "listen: '0.0.0.0:4001', ",
            "frame" => "protocol: frames, ",
            "add" | "byte_order" if shape.what == "`length` of a frame" => "at: 1, ",
            "decimal" | "max_age" | "latest_every" if shape.what == "a point" => "match: x, ",
            "to" => "topic: a, ",
            "enum" | "bits" | "invalid" => "holding: 1, ",
            _ => "",
        }
    }

    #[test]
    fn no_key_is_taken_and_then_ignored() {
        let mut tried = 0;
        for shape in keys::ALL {
            let Some(frame) = frame(shape) else { continue };
            for key in shape.keys {
                let beside = beside(shape, key.name);
                // No value is a list in a list, so a key that is read has a problem there, and a later one at its name.
                let text = match shape.depth {
                    0 => format!("{}: [[]]", key.name),
                    _ => frame.replace("{}", &format!("{beside}{}: [[]]", key.name)),
                };
                let report = parse(text.as_bytes(), Path::new("gateway.yaml"), &Outside::nothing()).expect_err("wrong");
                let (at, value) = (text.find(&format!("{}: [[]]", key.name)), text.find("[[]]"));
                let told = report.problems().iter().filter_map(|problem| problem.at.as_ref()).any(|span| {
                    let place = if key.instead.is_some() { at } else { value };
                    place.is_some_and(|place| (place..place + 4).contains(&span.start))
                });
                assert!(told, "`{}` of {} is not read: {text}\n{report}", key.name, shape.what);
                tried += 1;
            }
        }
        assert!(tried > 80, "only {tried} keys were tried");
    }
}
