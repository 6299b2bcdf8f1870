//! The command line: one file a subcommand. Exit 0 well, 1 it failed, 2 wrong usage or configuration (`DESIGN.md` §9).

pub mod backup;
pub mod check;
pub mod control;
pub mod demo;
pub mod passwd;
pub mod plan;
pub mod queue;
pub mod read;
pub mod run;
pub mod scan;
pub mod status;
pub mod templates;
pub mod write;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::log::{self, LogFormat};

/// Exit code: it failed.
pub const FAILED: u8 = 1;
/// Exit code: wrong usage or configuration.
pub const MISUSED: u8 = 2;

/// Edge gateway: polls field devices, serves MQTT here, and keeps every message until the cloud has it.
#[derive(Debug, Parser)]
#[command(name = "fieldway", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until it is stopped
    Run(run::RunArgs),
    /// Check a configuration and print everything that is wrong with it
    Check(check::CheckArgs),
    /// Show each request of each bus, and how much of the line's time it takes
    Plan(plan::PlanArgs),
    /// Show what waits for each uplink, or export it
    Queue(queue::QueueArgs),
    /// Read points of one device once, and show them
    Read(read::ReadArgs),
    /// Ask every unit id of a bus who is there
    Scan(scan::ScanArgs),
    /// Show how the running gateway is doing
    Status(status::StatusArgs),
    /// Copy a whole gateway into one file, also while it runs
    Backup(backup::BackupArgs),
    /// Put a backup in place
    Restore(backup::RestoreArgs),
    /// List the devices that there are templates for, or show a template
    Templates(templates::TemplatesArgs),
    /// Set a point of a running gateway and wait for the result
    Write(write::WriteArgs),
    /// Make the hash of a password for a user of the broker
    Passwd(passwd::PasswdArgs),
    /// Show the whole gateway at work on simulated devices; needs no hardware and no root
    Demo(demo::DemoArgs),
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct ConfigArg {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = check::DEFAULT_FILE)]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
struct LogArgs {
    /// How log lines look
    #[arg(long, value_enum, default_value_t, global = true)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]
    #[arg(long, value_name = "LEVEL", env = "FIELDWAY_LOG", global = true)]
    log_level: Option<String>,
}

impl Cli {
    /// Does what the command line asks for.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        // The demo tells in its own words what the gateway would log.
        let usual = if matches!(self.command, Command::Demo(_)) { "error" } else { "info" };
        let _logging = log::start(self.log.log_format, self.log.log_level.as_deref().unwrap_or(usual))?;
        match self.command {
            Command::Run(args) => run::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Plan(args) => plan::run(&args),
            Command::Queue(args) => queue::run(&args),
            Command::Read(args) => read::run(&args),
            Command::Scan(args) => scan::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Backup(args) => backup::run(&args),
            Command::Restore(args) => backup::restore(&args),
            Command::Templates(args) => templates::run(&args),
            Command::Write(args) => write::run(&args),
            Command::Passwd(args) => passwd::run(&args),
            Command::Demo(args) => demo::run(&args),
        }
    }
}

/// Runs `task` on the runtime of every command that does I/O. Two workers: the gateway waits most of the time, and a third would only hold
/// memory.
fn block_on<T>(task: impl Future<Output = T>) -> anyhow::Result<T> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().context("can't start the runtime")?;
    let end = runtime.block_on(task);
    // A call that can't be interrupted must not hold up the end: asking a name server that does not answer takes half a minute.
    runtime.shutdown_background();
    Ok(end)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_call_that_can_not_be_interrupted_does_not_hold_up_the_end() {
        let (release, released) = mpsc::channel::<()>();
        let task = async move {
            let (started, running) = tokio::sync::oneshot::channel();
            tokio::task::spawn_blocking(move || {
                started.send(()).expect("it is waited for");
                let _ = released.recv();
            });
            running.await
        };
        // It would never return, because only this thread ends the call.
        block_on(task).expect("a runtime").expect("the call has begun");
        drop(release);
    }
}
