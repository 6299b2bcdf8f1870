//! The `fieldway` command: arguments, logging, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use fieldway::cli::{Cli, FAILED};
use fieldway::log::{self, Severity};

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // With standard error closed there is nobody to tell.
            let _ = log::tell(Severity::Error, &format!("fieldway: {error:#}\n"));
            ExitCode::from(FAILED)
        }
    }
}
