//! `fieldway bridge import`: the bridges of a mosquitto.conf(5) as uplinks. What can't be carried over is named, line by line.

mod sections;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use sections::{Bridge, Direction, Topic, read};

/// Prints `uplinks:` with a forward and an accept list for each `connection` of a mosquitto.conf.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// A mosquitto.conf, or the part of one that has its bridges
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Prints the YAML to standard output.
pub fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let text = std::fs::read(&args.file).with_context(|| format!("can't read {}", args.file.display()))?;
    io::stdout().write_all(convert(&String::from_utf8_lossy(&text)).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The YAML for a mosquitto.conf.
pub fn convert(text: &str) -> String {
    let (bridges, mut lost) = read(text);
    let mut out = String::from("# Bridges of a mosquitto.conf, by `fieldway bridge import`.\n");
    if bridges.is_empty() {
        out.push_str("# There is no `connection` in it.\n");
    } else {
        out.push_str("uplinks:\n");
    }
    let mut names: Vec<String> = Vec::new();
    for bridge in &bridges {
        let name = unique(&bridge.name, &names);
        uplink(&name, bridge, &mut out, &mut lost);
        names.push(name);
    }
    lost.sort_by_key(|(line, _)| *line);
    if !lost.is_empty() {
        out.push_str("# Not carried over:\n");
    }
    for (line, why) in lost {
        // Writing to a String does not fail.
        let _ = writeln!(out, "#   line {line}: {why}");
    }
    out
}

/// A name of ours for a connection: mosquitto takes any characters.
fn unique(name: &str, taken: &[String]) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let plain = plain.trim_start_matches(['-', '_']).chars().take(100).collect::<String>();
    let plain = if plain.is_empty() { "bridge".to_owned() } else { plain };
    let mut unique = plain.clone();
    let mut number = 2;
    while taken.contains(&unique) {
        unique = format!("{plain}-{number}");
        number += 1;
    }
    unique
}

type Lost = Vec<(usize, String)>;

fn uplink(name: &str, bridge: &Bridge, out: &mut String, lost: &mut Lost) {
    let mut put = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    put(format!("  {name}:"));
    let has_tls = bridge.ca.is_some() || bridge.certificate.is_some();
    let scheme = if has_tls { "mqtts" } else { "mqtt" };
    let urls: Vec<String> = bridge.addresses.iter().map(|address| url(scheme, address)).collect();
    let written: Vec<String> = urls.iter().map(|url| quoted(url)).collect();
    match written.as_slice() {
        [] => {
            let what = "it has no `address`; write its `url` in place of broker.example.com";
            lost.push((bridge.line, format!("connection {}: {what}", bridge.name)));
            put(format!("    url: {}", quoted("mqtt://broker.example.com")));
        }
        [one] => put(format!("    url: {one}")),
        several => put(format!("    url: [{}]", several.join(", "))),
    }
    if let Some(id) = &bridge.client_id {
        put(format!("    client_id: {}", quoted(id)));
    }
    if let Some(user) = &bridge.username {
        put(format!("    username: {}", quoted(user)));
    }
    if let Some(line) = bridge.password_line {
        put(format!("    password_file: {name}.password"));
        lost.push((
            line,
            format!("the password: write it to the file {name}.password, which only the gateway's user may read"),
        ));
    }
    for (key, path) in [("ca", &bridge.ca), ("certificate", &bridge.certificate), ("private_key", &bridge.private_key)]
    {
        if let Some(path) = path {
            put(format!("    {key}: {}", quoted(path)));
        }
    }
    if let Some(alpn) = &bridge.alpn {
        put(format!("    alpn: {}", quoted(alpn)));
    }
    // mosquitto's bridges speak 3.1.1 unless told otherwise.
    put(format!("    mqtt_version: \"{}\"", if bridge.is_v5 { "5" } else { "3.1.1" }));
    put(format!("    keep_alive: {}s", bridge.keep_alive));
    for (list, direction) in [("forward", Direction::Out), ("accept", Direction::In)] {
        let topics: Vec<&Topic> = bridge
            .topics
            .iter()
            .filter(|topic| topic.direction == direction || topic.direction == Direction::Both)
            .collect();
        if topics.is_empty() {
            continue;
        }
        put(format!("    {list}:"));
        for topic in topics {
            let (from, onto) = match direction {
                Direction::In => (topic.remote(), topic.local()),
                _ => (topic.local(), topic.remote()),
            };
            put(format!("      - topic: {}", quoted(&from)));
            let to = template(&onto);
            if onto != from {
                put(format!("        to: {}", quoted(&to)));
            }
            put(format!("        qos: {}", topic.qos));
            if direction == Direction::Out && bridge.strips_retain {
                put("        retain: never".into());
            }
        }
    }
    if bridge.topics.is_empty() {
        put("    forward: [{ topic: \"nothing/is/forwarded\" }]".into());
        lost.push((
            bridge.line,
            format!("connection {}: it has no `topic`; write what is to be forwarded", bridge.name),
        ));
    }
}

/// `host`, `host:port` or `[v6]:port`, as mosquitto writes them.
fn url(scheme: &str, address: &str) -> String {
    format!("{scheme}://{address}")
}

/// Pattern and prefix as a template: each wildcard by what it matched.
fn template(pattern: &str) -> String {
    let mut plus = 0;
    let levels = pattern.split('/').map(|level| match level {
        "#" => "{rest}".to_owned(),
        "+" => {
            plus += 1;
            format!("{{{plus}}}")
        }
        other => other.to_owned(),
    });
    levels.collect::<Vec<_>>().join("/")
}

/// A text of YAML, in quotes (YAML 1.2.2 §7.3.1).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_become_what_they_matched() {
        for (pattern, expected) in
            [("#", "{rest}"), ("a/+/b/+/#", "a/{1}/b/{2}/{rest}"), ("site/#", "site/{rest}"), ("a", "a")]
        {
            assert_eq!(template(pattern), expected);
        }
    }

    #[test]
    fn names_of_connections_become_names_of_uplinks() {
        assert_eq!(unique("bridge to cloud.example", &[]), "bridge-to-cloud-example");
        assert_eq!(unique("ü", &["bridge".into()]), "bridge-2");
    }
}
