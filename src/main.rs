//! The `fieldway` command: arguments, logging, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use fieldway::cli::{Cli, FAILED};

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fieldway: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}
