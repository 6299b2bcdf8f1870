//! `fieldway run`: the gateway until SIGTERM or SIGINT, then an orderly stop within 5 s.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::clock::Clock;
use crate::config;
use crate::gateway::Gateway;
use crate::process;

use super::check::look;
use super::{ConfigArg, FAILED, MISUSED};

/// The longest that a stop may take before what is left is abandoned (`DESIGN.md` §9).
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Runs the gateway; returns when it has been stopped.
pub fn run(args: &ConfigArg) -> anyhow::Result<ExitCode> {
    process::return_memory();
    let config = match config::load(&args.config, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(report) => {
            eprint!("{}", report.render(look()));
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
    let code = loop {
        tokio::select! {
            _ = terminate.recv() => break ExitCode::SUCCESS,
            _ = interrupt.recv() => break ExitCode::SUCCESS,
            _ = hangup.recv() => {
                info!("SIGHUP: reading the certificates again; a changed configuration takes a restart in this version");
                gateway.reload_certificates().await;
            }
            failure = gateway.failed() => {
                error!(error = %failure, "a part of the gateway stopped by itself; stopping the rest");
                break ExitCode::from(FAILED);
            }
        }
    };
    info!("stopping");
    if tokio::time::timeout(STOP_WITHIN, gateway.stop()).await.is_err() {
        error!(
            "the stop took longer than 5 s; what was not finished is abandoned, and the queue keeps what it had committed"
        );
        return Ok(ExitCode::from(FAILED));
    }
    info!("stopped");
    Ok(code)
}
