//! `fieldway plan`: each request of each bus, and whether the line has time for it. Opens nothing.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::check::look;
use super::{ConfigArg, FAILED, MISUSED};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::driver;
use crate::model::{Bus, Device, Transport};
use crate::poll::load::{self, BusLoad, Missed, RequestLoad};

/// Shows what will be asked on each bus, how often, and how much of the line's time that takes.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Print the plan to standard output as JSON
    #[arg(long)]
    json: bool,
}

/// So many points of a request are named; JSON has them all.
const NAMED_POINTS: usize = 6;

/// Prints the plan; 0 when each interval can be met, 1 when one on a serial line can't.
pub fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config.config, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(report) => {
            io::stderr().write_all(report.render(look()).as_bytes())?;
            return Ok(ExitCode::from(MISUSED));
        }
    };
    // Some drivers keep a timer, and that belongs to a runtime.
    let plans = super::block_on(async { plan(&config) })??;
    if args.json {
        let buses: Value = plans.iter().map(|(bus, load)| bus_json(bus, load)).collect();
        writeln!(io::stdout(), "{:#}", json!({ "buses": buses }))?;
    } else {
        let texts: Vec<String> = plans.iter().map(|(bus, load)| bus_text(bus, load)).collect();
        write!(io::stdout(), "{}", texts.join("\n"))?;
    }
    let fails = plans.iter().any(|(bus, load)| is_timed(bus) && !load.missed.is_empty());
    Ok(if fails { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn plan(config: &Config) -> anyhow::Result<Vec<(&Bus, BusLoad)>> {
    let clock = Clock::start();
    let devices: Vec<Arc<Device>> = config.devices.iter().cloned().map(Arc::new).collect();
    let plan = |bus| {
        let driver = driver::for_bus(bus, clock).with_context(|| format!("bus {}", bus.name))?;
        let own: Vec<_> = devices.iter().filter(|device| device.bus == bus.name).cloned().collect();
        Ok((bus, load::load(bus, driver.as_ref(), &own)))
    };
    config.buses.iter().map(plan).collect()
}

/// Whether the time on the line is known. What a network and the device behind it take is only guessed.
fn is_timed(bus: &Bus) -> bool {
    matches!(bus.transport, Transport::Serial(_))
}

fn bus_text(bus: &Bus, load: &BusLoad) -> String {
    let mut lines = vec![format!("{}: {}: {}", bus.name, line_text(bus), share_text(bus, load.share))];
    for same_device in load.requests.chunk_by(|one, next| Arc::ptr_eq(&one.device, &next.device)) {
        let device = &same_device[0].device;
        let unit = if bus.protocol.is_modbus() { format!(", unit {}", device.unit_id) } else { String::new() };
        lines.push(format!("  {}{unit}", device.name));
        for group in same_device.chunk_by(|one, next| one.interval == next.interval) {
            let takes: Duration = group.iter().map(|one| one.takes).sum();
            let (plural, time) = (if group.len() == 1 { "" } else { "s" }, millis(takes));
            lines.push(format!("    every {}: {} request{plural}, {time} ms", seconds(group[0].interval), group.len()));
            lines.extend(group.iter().map(|one| format!("      {}", request_text(one))));
        }
    }
    lines.extend(load.missed.iter().map(|missed| format!("  {}: {}", verdict(bus), missed_text(bus, missed))));
    lines.join("\n") + "\n"
}

fn verdict(bus: &Bus) -> &'static str {
    if is_timed(bus) { "can't be met" } else { "can't be met if the devices take 5 ms to answer" }
}

fn line_text(bus: &Bus) -> String {
    let at = match &bus.transport {
        Transport::Serial(line) => {
            let parity = line.parity.as_str().to_ascii_uppercase();
            let settings = format!("{}{}{}", line.data_bits.count(), &parity[..1], line.stop_bits.count());
            format!("{} at {} baud {settings}", line.path, line.baud)
        }
        Transport::Tcp { host, port } => format!("{host}:{port}"),
        Transport::Listen { address, .. } => format!("whoever dials in at {address}"),
    };
    let beside = if bus.in_flight > 1 { format!(", {} requests at a time", bus.in_flight) } else { String::new() };
    format!("{} on {at}{beside}", bus.protocol.as_str())
}

fn share_text(bus: &Bus, share: f64) -> String {
    let percent = format!("{:.1} % of its time", share * 100.0);
    if is_timed(bus) { percent } else { format!("{percent} if the devices take 5 ms to answer") }
}

fn request_text(one: &RequestLoad) -> String {
    let names: Vec<&str> = one.request.points.iter().map(|&point| one.device.points[point].name.as_str()).collect();
    let more = match names.len().saturating_sub(NAMED_POINTS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}, {} ms: {}{more}", one.what, millis(one.takes), names[..names.len().min(NAMED_POINTS)].join(", "),)
}

fn missed_text(bus: &Bus, missed: &Missed) -> String {
    match missed {
        Missed::Overloaded { share } => format!(
            "the devices of this bus want {:.0} % of its time; intervals {share:.1} times as long would do, or fewer registers{}",
            share * 100.0,
            faster(bus),
        ),
        Missed::TooMuch { device, interval, takes } => format!(
            "one poll of `{}` every {} takes {} ms; poll it less often, or fewer registers of it{}",
            device.name,
            seconds(*interval),
            millis(*takes),
            faster(bus),
        ),
        Missed::Blocked { device, interval, by, takes } => format!(
            "`{}` every {} has to wait for a request of `{}` that takes {} ms; a smaller `max_registers` for `{}` parts that{}",
            device.name,
            seconds(*interval),
            by.name,
            millis(*takes),
            by.name,
            faster(bus),
        ),
    }
}

fn faster(bus: &Bus) -> String {
    match &bus.transport {
        Transport::Serial(line) => format!(", or more than {} baud", line.baud),
        Transport::Tcp { .. } if bus.in_flight == 1 => ", or `in_flight` above 1 if the device overlaps".into(),
        _ => String::new(),
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

/// As it is written in YAML.
fn seconds(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let whole = units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{millis}ms"), |(unit, name)| format!("{}{name}", millis / unit))
}

fn bus_json(bus: &Bus, load: &BusLoad) -> Value {
    let requests: Value = load.requests.iter().map(|one| request_json(bus, one)).collect();
    let missed: Value = load.missed.iter().map(|missed| missed_json(bus, missed)).collect();
    json!({
        "bus": bus.name.as_str(),
        "protocol": bus.protocol.as_str(),
        "baud": if let Transport::Serial(line) = &bus.transport { Some(line.baud) } else { None },
        "in_flight": bus.in_flight,
        "load_percent": (load.share * 1000.0).round() / 10.0,
        "times_are_known": is_timed(bus),
        "requests": requests,
        "missed": missed,
    })
}

fn request_json(bus: &Bus, one: &RequestLoad) -> Value {
    // Lines and frames have no registers.
    let of_modbus = |value: Value| if bus.protocol.is_modbus() { value } else { Value::Null };
    let points: Vec<&str> = one.request.points.iter().map(|&point| one.device.points[point].name.as_str()).collect();
    json!({
        "device": one.device.name.as_str(),
        "unit_id": of_modbus(one.device.unit_id.into()),
        "request": one.what,
        "interval_ms": one.interval.as_millis() as u64,
        "table": of_modbus(one.request.table.as_str().into()),
        "address": of_modbus(one.request.address.into()),
        "count": of_modbus(one.request.count.into()),
        "time_ms": (one.takes.as_secs_f64() * 10_000.0).round() / 10.0,
        "points": points,
    })
}

fn missed_json(bus: &Bus, missed: &Missed) -> Value {
    let (device, interval) = match missed {
        Missed::Overloaded { .. } => (None, None),
        Missed::TooMuch { device, interval, .. } | Missed::Blocked { device, interval, .. } => {
            (Some(device.name.as_str()), Some(interval.as_millis() as u64))
        }
    };
    json!({ "device": device, "interval_ms": interval, "message": missed_text(bus, missed) })
}
