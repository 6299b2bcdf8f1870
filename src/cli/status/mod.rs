//! `fieldway status`: how the running gateway is doing. Asks its control socket; opens nothing else.

mod page;
mod table;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::check::look;
use super::control::{ControlError, ask_at};
use super::{ConfigArg, FAILED, MISUSED};
use crate::config;

pub use page::size;
pub use table::{Cell, PAGE, Paint, Table, Tone, wrap};

/// Shows how the running gateway is doing. Exit 0 when all is well, 1 when something is wrong or no gateway runs.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Print everything to standard output as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the state of the running gateway.
pub fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let data_dir = match data_dir(&args.config.config) {
        Ok(data_dir) => data_dir,
        Err(report) => {
            io::stderr().write_all(report.as_bytes())?;
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let status = match ask_at(&data_dir, "status") {
        Ok(status) => status,
        Err(error) => return without(args, &error),
    };
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{status:#}")?;
    } else {
        for line in page::lines(&status, paint()) {
            writeln!(out, "{line}")?;
        }
    }
    let is_well = status["health"]["status"] == "ok";
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Colours where someone looks, unless they asked for none (no-color.org).
pub fn paint() -> Paint {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Paint(wanted && io::stdout().is_terminal())
}

/// Where the gateway of that configuration has its socket. A gateway keeps running when its file has become wrong, so that is no reason
/// not to ask it.
fn data_dir(file: &Path) -> Result<PathBuf, String> {
    let env = |name: &str| std::env::var(name).ok();
    match config::load(file, &env) {
        Ok(config) => Ok(config.gateway.data_dir),
        Err(report) => match config::data_dir(file, &env) {
            Some(data_dir) => {
                eprintln!(
                    "warning: {} has problems, `fieldway check` shows them; a gateway that runs keeps to what it had read",
                    file.display()
                );
                Ok(data_dir)
            }
            None => Err(report.render(look())),
        },
    }
}

fn without(args: &StatusArgs, error: &ControlError) -> anyhow::Result<ExitCode> {
    if args.json {
        let runs = if matches!(error, ControlError::NotRunning { .. }) { json!(false) } else { Value::Null };
        writeln!(io::stdout(), "{:#}", json!({ "running": runs, "error": error.to_string() }))?;
    } else {
        eprintln!("fieldway: {error}");
    }
    Ok(ExitCode::from(FAILED))
}
