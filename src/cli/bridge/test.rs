//! `fieldway bridge test`: what each rule would do with a message, and why. Opens nothing and sends nothing.

use std::collections::HashSet;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::mapping::qos;
use crate::cli::check::look;
use crate::cli::{ConfigArg, MISUSED};
use crate::clock::Clock;
use crate::config::{self, Config, UplinkConfig};
use crate::model::{Message, QoS, Stamp, Topic};
use crate::route::{Accepter, GatewayTopics, Surroundings, Take, Tried, try_down, try_up, unzstd};

/// Shows each rule, why it takes the message or not, and the exact message that would leave.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The message's topic: a local one, or, down, one of the cloud
    #[arg(long, allow_hyphen_values = true)]
    topic: String,
    /// Its payload
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    payload: String,
    /// up: from here to the cloud; down: from the cloud to here
    #[arg(long, value_enum, default_value_t = Direction::Up)]
    direction: Direction,
    /// The QoS that it is published with
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// It is published retained
    #[arg(long)]
    retain: bool,
    /// Only this uplink
    #[arg(long)]
    uplink: Option<String>,
    /// Print to standard output as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    Up,
    Down,
}

/// The most that a compressed payload is shown of.
const MAX_SHOWN: usize = 1 << 20;

/// Prints what would happen; 0 also when nothing would.
pub fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config.config, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(report) => {
            io::stderr().write_all(report.render(look()).as_bytes())?;
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let topic = match Topic::new(&args.topic) {
        Ok(topic) => topic,
        Err(error) => {
            eprintln!("fieldway: --topic: {error}");
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let known = |name: &str| config.uplinks.iter().any(|uplink| uplink.name.as_str() == name);
    if let Some(name) = args.uplink.as_deref().filter(|name| !known(name)) {
        let names: Vec<&str> = config.uplinks.iter().map(|uplink| uplink.name.as_str()).collect();
        eprintln!("fieldway: there is no uplink `{name}`; there are: {}", names.join(", "));
        return Ok(ExitCode::from(MISUSED));
    }
    let level = QoS::from_number(args.qos).unwrap_or(QoS::AtLeastOnce);
    let message = Message::new(topic, args.payload.clone(), level, args.retain);
    let at = Clock::start().stamp();
    let wanted = |uplink: &&UplinkConfig| args.uplink.as_deref().is_none_or(|name| name == uplink.name.as_str());
    let mut tried = Vec::new();
    for uplink in config.uplinks.iter().filter(wanted) {
        tried.push((uplink, try_rules(args.direction, &config, uplink, &message, at)?));
    }
    let mut out = io::stdout().lock();
    if args.json {
        let uplinks: Vec<Value> =
            tried.iter().map(|(uplink, tried)| of_uplink(args.direction, uplink, tried)).collect();
        let direction = if args.direction == Direction::Up { "up" } else { "down" };
        writeln!(out, "{:#}", json!({ "topic": args.topic, "direction": direction, "uplinks": uplinks }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if tried.is_empty() {
        writeln!(out, "no uplinks are configured, so nothing leaves")?;
    }
    for (uplink, tried) in &tried {
        print(&mut out, args.direction, uplink, tried)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn try_rules(
    direction: Direction,
    config: &Config,
    uplink: &UplinkConfig,
    message: &Message,
    at: Stamp,
) -> anyhow::Result<Vec<Tried>> {
    let gateway = &config.gateway;
    let root = &gateway.topic_root;
    if direction == Direction::Up {
        let around = Surroundings {
            gateway: gateway.id.clone(),
            root: root.clone(),
            presence: GatewayTopics::new(root)?.state,
            uplink: uplink.name.clone(),
        };
        return Ok(try_up(&uplink.forward, &around, message, at));
    }
    let devices: HashSet<_> = config.devices.iter().map(|device| device.name.clone()).collect();
    let name = uplink.name.clone();
    let accepter = Accepter::new(uplink.accept.clone(), name, gateway.id.clone(), root.clone(), devices);
    Ok(try_down(&accepter, message, root, &gateway.id, at))
}

fn takes(direction: Direction, uplink: &UplinkConfig) -> Vec<&Take> {
    match direction {
        Direction::Up => uplink.forward.iter().map(|rule| &rule.take).collect(),
        Direction::Down => uplink.accept.iter().map(|rule| &rule.take).collect(),
    }
}

fn of_uplink(direction: Direction, uplink: &UplinkConfig, tried: &[Tried]) -> Value {
    let rules = takes(direction, uplink).into_iter().zip(tried).enumerate().map(|(index, (take, tried))| {
        let mut out = json!({ "rule": index + 1, "topic": take.topic.as_str(), "to": take.to.to_string() });
        match &tried.outcome {
            None => (out["matched"], out["reason"]) = (false.into(), "a rule before it took the message".into()),
            Some(Err(why)) => (out["matched"], out["reason"]) = (false.into(), why.as_str().into()),
            Some(Ok(message)) => {
                out["matched"] = true.into();
                out["message"] = of_message(message);
                out["notes"] = tried.notes.clone().into();
            }
        }
        out
    });
    json!({ "uplink": uplink.name.as_str(), "rules": rules.collect::<Vec<_>>() })
}

fn of_message(message: &Message) -> Value {
    let mut out = json!({
        "topic": message.topic.as_str(),
        "qos": qos(message.qos),
        "retain": message.retain,
        "bytes": message.payload.len(),
    });
    match std::str::from_utf8(&message.payload) {
        Ok(text) => out["payload"] = text.into(),
        Err(_) => {
            out["payload_hex"] = hex(&message.payload).into();
            if let Some(text) = unpacked(&message.payload) {
                out["uncompressed"] = text.into();
            }
        }
    }
    out
}

fn print(out: &mut impl Write, direction: Direction, uplink: &UplinkConfig, tried: &[Tried]) -> io::Result<()> {
    let (list, none) = match direction {
        Direction::Up => ("forward", "nothing leaves"),
        Direction::Down => ("accept", "nothing comes in"),
    };
    writeln!(out, "uplink {}, {list}:", uplink.name)?;
    let rules = takes(direction, uplink);
    for (index, (take, tried)) in rules.iter().zip(tried).enumerate() {
        let rule = format!("  rule {}  {} -> {}", index + 1, take.topic, take.to);
        match &tried.outcome {
            None => writeln!(out, "{rule}\n    not asked: a rule before it took the message")?,
            Some(Err(why)) => writeln!(out, "{rule}\n    no: {why}")?,
            Some(Ok(message)) => {
                writeln!(out, "{rule}\n    yes")?;
                let retained = if message.retain { ", retained" } else { "" };
                let (level, bytes) = (qos(message.qos), message.payload.len());
                writeln!(out, "    {}  qos {level}{retained}, {bytes} bytes", message.topic)?;
                writeln!(out, "    {}", shown(message))?;
                tried.notes.iter().try_for_each(|note| writeln!(out, "    ({note})"))?;
            }
        }
    }
    if !tried.iter().any(|tried| matches!(tried.outcome, Some(Ok(_)))) {
        writeln!(out, "  {none}")?;
    }
    Ok(())
}

fn shown(message: &Message) -> String {
    match std::str::from_utf8(&message.payload) {
        Ok(text) => text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"),
        Err(_) => match unpacked(&message.payload) {
            Some(text) => format!("zstd of {}", text.escape_debug().to_string().replace("\\\"", "\"")),
            None => hex(&message.payload),
        },
    }
}

fn unpacked(payload: &[u8]) -> Option<String> {
    String::from_utf8(unzstd(payload, MAX_SHOWN)?).ok()
}

fn hex(payload: &[u8]) -> String {
    payload.iter().map(|byte| format!("{byte:02x}")).collect()
}
