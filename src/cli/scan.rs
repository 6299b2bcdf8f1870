//! `fieldway scan`: asks every unit id of a bus whether anybody is there, and who. It opens the bus itself.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::check::look;
use super::read::{explain, open};
use super::{ConfigArg, FAILED, MISUSED};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::driver::Failure;
use crate::model::{Bus, Protocol, Transport};

/// Asks every unit id of a bus who is there; changes nothing.
#[derive(Debug, clap::Args)]
pub struct ScanArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The bus, by its name in the configuration
    #[arg(value_name = "BUS")]
    bus: String,
    /// Which unit ids, for example `1-32` or `1,3,100-110`
    #[arg(long, value_name = "IDS", default_value = "1-247", value_parser = units)]
    units: Units,
    /// How long an answer may take, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout: u64,
    /// Print what was found to standard output as JSON
    #[arg(long)]
    json: bool,
}

/// Unit ids in the order in which they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Units(Vec<u8>);

/// A unit that answered.
struct Found {
    unit: u8,
    /// Devices of the configuration that are said to be it.
    devices: Vec<String>,
    /// Object numbers of the device identification, and their texts.
    identity: Vec<(u8, String)>,
}

/// Scans and prints; 0 when anybody answered, 1 when nobody did or the bus can't be opened.
pub fn run(args: &ScanArgs) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config.config, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(report) => {
            io::stderr().write_all(report.render(look()).as_bytes())?;
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let bus = match find(&config, &args.bus) {
        Ok(bus) => Bus { timeout: Duration::from_millis(args.timeout), in_flight: 1, ..bus.clone() },
        Err(error) => {
            writeln!(io::stderr(), "fieldway: {error:#}")?;
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let found = super::block_on(scan(&config, &bus, args))??;
    if args.json {
        let units: serde_json::Value = found.iter().map(found_json).collect();
        writeln!(io::stdout(), "{:#}", json!({ "bus": bus.name.as_str(), "units": units }))?;
    } else {
        let (asked, hint) = (args.units.0.len(), if found.is_empty() { hint(&bus) } else { "" });
        writeln!(io::stdout(), "{} of {asked} unit ids answer{hint}", found.len())?;
    }
    Ok(if found.is_empty() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

async fn scan(config: &Config, bus: &Bus, args: &ScanArgs) -> anyhow::Result<Vec<Found>> {
    let mut driver = open(bus, Clock::start()).await?;
    let shows_progress = io::stderr().is_terminal();
    let mut found = Vec::new();
    for &unit in &args.units.0 {
        if shows_progress {
            write!(io::stderr(), "\r\x1b[Kunit {unit} …")?;
        }
        let identity = match driver.identify(unit).await {
            Ok(identity) => identity,
            Err(Failure::Refused(_)) => Vec::new(),
            Err(Failure::NoAnswer(_)) => continue,
            Err(Failure::LineGone(error)) => return Err(explain(bus, error)),
        };
        let devices = config.devices.iter().filter(|device| device.bus == bus.name && device.unit_id == unit);
        let one = Found { unit, devices: devices.map(|device| device.name.to_string()).collect(), identity };
        if shows_progress {
            write!(io::stderr(), "\r\x1b[K")?;
        }
        if !args.json {
            writeln!(io::stdout(), "{}", found_text(&one))?;
        }
        found.push(one);
    }
    if shows_progress {
        write!(io::stderr(), "\r\x1b[K")?;
    }
    Ok(found)
}

fn find<'c>(config: &'c Config, name: &str) -> anyhow::Result<&'c Bus> {
    let bus = config.buses.iter().find(|bus| bus.name.as_str() == name).with_context(|| {
        let names: Vec<&str> = config.buses.iter().map(|bus| bus.name.as_str()).collect();
        format!("there is no bus `{name}`; there is {}", names.join(", "))
    })?;
    let is_modbus = matches!(bus.protocol, Protocol::ModbusRtu | Protocol::ModbusAscii | Protocol::ModbusTcp);
    anyhow::ensure!(
        is_modbus,
        "only Modbus devices have unit ids to look for, and bus `{name}` is {}",
        bus.protocol.as_str()
    );
    Ok(bus)
}

fn hint(bus: &Bus) -> &'static str {
    match bus.transport {
        Transport::Serial(_) => "; are `baud`, `parity` and `stop_bits` those of the devices, and A and B not swapped?",
        Transport::Tcp { .. } | Transport::Listen { .. } => "; does it need more time? `--timeout 1000`",
    }
}

fn found_text(found: &Found) -> String {
    let whose = if found.devices.is_empty() { String::new() } else { format!(" ({})", found.devices.join(", ")) };
    let texts: Vec<&str> =
        found.identity.iter().map(|(_, text)| text.as_str()).filter(|text| !text.is_empty()).collect();
    let who = if texts.is_empty() { "answers, and does not say what it is".to_owned() } else { texts.join(", ") };
    format!("unit {}{whose}: {who}", found.unit)
}

fn found_json(found: &Found) -> serde_json::Value {
    // §6.21 of the Modbus Application Protocol 1.1b3.
    const NAMES: [&str; 7] =
        ["vendor", "product_code", "revision", "vendor_url", "product_name", "model_name", "application_name"];
    let name = |id: u8| NAMES.get(usize::from(id)).map_or_else(|| format!("object_{id}"), |name| (*name).to_owned());
    let identity: serde_json::Map<_, _> =
        found.identity.iter().map(|(id, text)| (name(*id), text.as_str().into())).collect();
    json!({ "unit_id": found.unit, "devices": found.devices, "identification": identity })
}

/// `1,3,100-110`: ids from 0 to 255, each once.
fn units(text: &str) -> Result<Units, String> {
    let id = |text: &str| text.trim().parse::<u8>().map_err(|_| format!("`{text}` is no unit id from 0 to 255"));
    let mut units = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (id(first)?, id(last)?);
        if first > last {
            return Err(format!("`{part}` ends before it begins"));
        }
        units.extend((first..=last).filter(|unit| !units.contains(unit)).collect::<Vec<_>>());
    }
    Ok(Units(units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_ids_are_ranges_and_single_ones() {
        assert_eq!(units("1,3,100-102, 2-4"), Ok(Units(vec![1, 3, 100, 101, 102, 2, 4])));
        assert_eq!(units("0-255").map(|units| units.0.len()), Ok(256));
        for wrong in ["", "256", "3-1", "a", "1-", "-1"] {
            assert!(units(wrong).is_err(), "{wrong}");
        }
    }
}
