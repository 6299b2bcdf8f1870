//! `fieldway bridge`: what the forward and accept rules do, would do, and did; and mosquitto's bridges as rules.

pub mod import;
mod inspect;
mod mapping;
mod test;

use std::process::ExitCode;

/// What to do with bridge rules.
#[derive(Debug, clap::Args)]
pub struct BridgeArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what each rule would do with a message; sends nothing
    Test(test::TestArgs),
    /// Show the rules, with the counts of the running gateway
    Inspect(inspect::InspectArgs),
    /// Print the bridges of a mosquitto.conf as uplinks
    Import(import::ImportArgs),
}

/// Runs the subcommand.
pub fn run(args: &BridgeArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Test(args) => test::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Import(args) => import::run(args),
    }
}
