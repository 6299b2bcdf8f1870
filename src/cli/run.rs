//! `fieldway run`: the gateway until SIGTERM or SIGINT, then an orderly stop within 5 s.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::clock::Clock;
use crate::config::{self, Look};
use crate::gateway::{Gateway, notify};
use crate::log::{self, Severity};
use crate::process;

use super::check::look;
use super::{ConfigArg, FAILED, MISUSED};

/// The longest that a stop may take before what is left is abandoned (`DESIGN.md` §9).
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Runs the gateway.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// `fieldway check` has just shown what is wrong with the configuration: don't show it again. For service files
    #[arg(long)]
    checked: bool,
}

/// Runs the gateway; returns when it has been stopped.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    process::return_memory();
    let file = &args.config.config;
    let config = match config::load(file, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(report) => {
            let text = match args.checked {
                true => {
                    format!("fieldway: {file} is wrong; `fieldway check` said how just before\n", file = file.display())
                }
                false => report.render(look()),
            };
            log::tell(Severity::Error, &text)?;
            return Ok(ExitCode::from(MISUSED));
        }
    };
    super::block_on(until_stopped(config))?
}

async fn until_stopped(config: config::Config) -> anyhow::Result<ExitCode> {
    // Installed before anything is opened, so that a stop during the start is a stop too.
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("can't listen for SIGHUP")?;

    let mut gateway = Gateway::start(config, Clock::start()).await?;
    notify::ready(&gateway.snapshot());
    let code = loop {
        tokio::select! {
            _ = terminate.recv() => break ExitCode::SUCCESS,
            _ = interrupt.recv() => break ExitCode::SUCCESS,
            _ = hangup.recv() => {
                notify::reloading();
                reload(&mut gateway).await;
                notify::ready(&gateway.snapshot());
            }
            failure = gateway.failed() => {
                error!(error = %failure, "a part of the gateway stopped by itself; stopping the rest");
                break ExitCode::from(FAILED);
            }
        }
    };
    info!("stopping");
    notify::stopping();
    if tokio::time::timeout(STOP_WITHIN, gateway.stop()).await.is_err() {
        error!(
            "the stop took longer than 5 s; what was not finished is abandoned, and the queue keeps what it had committed"
        );
        return Ok(ExitCode::from(FAILED));
    }
    info!("stopped");
    Ok(code)
}

/// Reads the configuration again and takes up what differs. One that can't be used is told in the log, and the gateway goes on with what it has.
async fn reload(gateway: &mut Gateway) {
    let file = gateway.config().file.clone();
    let env = |name: &str| std::env::var(name).ok();
    let loaded = tokio::task::spawn_blocking(move || config::load(&file, &env)).await;
    let config = match loaded {
        Ok(Ok(config)) => config,
        Ok(Err(report)) => {
            error!(problems = report.count(), "the configuration was read again and is wrong: nothing was changed");
            // Standard error is where the log goes, too; without it nobody reads.
            let _ = log::tell(Severity::Error, &report.render(Look::Plain));
            return;
        }
        Err(panic) => return error!(error = %panic, "reading the configuration failed: nothing was changed"),
    };
    match gateway.reload(config).await {
        Ok(changes) if changes.is_empty() => {
            info!("the configuration was read again and says the same; certificates were read again");
        }
        Ok(changes) => info!(%changes, "the configuration was read again and is in use"),
        Err(error) => error!(error = format!("{error:#}"), "the configuration was read again and can't be used"),
    }
}
