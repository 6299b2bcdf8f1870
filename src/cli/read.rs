//! `fieldway read`: points of one device, read once and shown. It opens the bus itself.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::check::look;
use super::{ConfigArg, FAILED, MISUSED};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::driver::{self, Driver, LineError};
use crate::model::{Bus, Device, Fault, Reading, Sample};
use crate::poll::once;
use crate::route;

/// Reads points of one device once, and shows them.
#[derive(Debug, clap::Args)]
pub struct ReadArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The device, by its name in the configuration
    #[arg(value_name = "DEVICE")]
    device: String,
    /// Its points; all of them if none is named
    #[arg(value_name = "POINT")]
    points: Vec<String>,
    /// Print the readings to standard output as JSON, as they would be published
    #[arg(long)]
    json: bool,
}

/// Reads and prints; 0 when every point has a value, 1 when one has none or the bus can't be opened.
pub fn run(args: &ReadArgs) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config.config, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(report) => {
            io::stderr().write_all(report.render(look()).as_bytes())?;
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let (device, bus, points) = match find(&config, args) {
        Ok(found) => found,
        Err(error) => {
            writeln!(io::stderr(), "fieldway: {error:#}")?;
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let readings = super::block_on(read(bus, device, &points))??;
    let text = if args.json { json(device, &readings) } else { table(device, &readings) };
    io::stdout().write_all(text.as_bytes())?;
    let is_whole = readings.iter().all(|reading| !matches!(reading.sample, Sample::Bad(_)));
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Opens a bus that nobody else may use meanwhile.
pub async fn open(bus: &Bus, clock: Clock) -> anyhow::Result<Box<dyn Driver>> {
    let mut driver = driver::for_bus(bus, clock)?;
    driver.open().await.map_err(|error| explain(bus, error))?;
    Ok(driver)
}

/// What a line error means on the command line, where the gateway itself may be what is in the way.
pub fn explain(bus: &Bus, error: LineError) -> anyhow::Error {
    let is_held = matches!(error, LineError::PortBusy(_));
    let error = anyhow::Error::new(error).context(format!("bus `{}` can't be used", bus.name));
    if !is_held {
        return error;
    }
    error.context(
        "only one program may use a serial line. If the gateway is running, stop it first (`systemctl stop fieldway`), \
         or look at what it reads: `mosquitto_sub -t '#'`",
    )
}

fn find<'c>(config: &'c Config, args: &ReadArgs) -> anyhow::Result<(&'c Device, &'c Bus, Vec<usize>)> {
    let device = config.devices.iter().find(|device| device.name.as_str() == args.device).with_context(|| {
        let names: Vec<&str> = config.devices.iter().map(|device| device.name.as_str()).collect();
        format!("there is no device `{}`; there is {}", args.device, names.join(", "))
    })?;
    let bus = config.buses.iter().find(|bus| bus.name == device.bus).context("the configuration names its bus")?;
    let mut points = Vec::new();
    for name in &args.points {
        match device.points.iter().position(|point| point.name.as_str() == name) {
            Some(index) if !points.contains(&index) => points.push(index),
            Some(_) => {}
            None => bail!("device `{}` has no point `{name}`", device.name),
        }
    }
    if args.points.is_empty() {
        points = (0..device.points.len()).collect();
    }
    Ok((device, bus, points))
}

async fn read(bus: &Bus, device: &Device, points: &[usize]) -> anyhow::Result<Vec<Reading>> {
    let clock = Clock::start();
    let mut driver = open(bus, clock).await?;
    once::read(driver.as_mut(), device, points, bus.retries, clock).await.map_err(|error| explain(bus, error))
}

fn table(device: &Device, readings: &[Reading]) -> String {
    let width = readings.iter().map(|reading| device.points[reading.point].name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for reading in readings {
        let point = &device.points[reading.point];
        let shown = match &reading.sample {
            Sample::Good(value) => match &point.unit {
                Some(unit) => format!("{value} {unit}"),
                None => value.to_string(),
            },
            Sample::Bad(Fault::NotInEnum(raw)) => format!("bad: {raw} is not_in_enum"),
            Sample::Bad(fault) => format!("bad: {fault}"),
        };
        writeln!(text, "{:width$}  {shown}", point.name.as_str()).expect("writing to a String can't fail");
    }
    text
}

fn json(device: &Device, readings: &[Reading]) -> String {
    let points = readings.iter().map(|reading| {
        let point = &device.points[reading.point];
        format!(
            "    \"{}\": {}",
            point.name,
            route::point_payload(reading.stamp, &reading.sample, point.unit.as_deref())
        )
    });
    let points: Vec<String> = points.collect();
    format!("{{\n  \"device\": \"{}\",\n  \"points\": {{\n{}\n  }}\n}}\n", device.name, points.join(",\n"))
}
