//! `fieldway bridge inspect`: the rules as a table, with what the running gateway has counted.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::mapping::{of_accept, of_forward};
use crate::cli::check::look;
use crate::cli::control::{ControlError, ask};
use crate::cli::{ConfigArg, MISUSED};
use crate::config::{self, Config, UplinkConfig};

/// Shows the rules of each uplink, both directions, with the counts of the running gateway.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Print to standard output as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the table; without counts when no gateway runs.
pub fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config.config, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(report) => {
            io::stderr().write_all(report.render(look()).as_bytes())?;
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let counts = match ask(&config, "bridge") {
        Ok(counts) => Some(counts),
        Err(error) => {
            if !matches!(error, ControlError::NotRunning { .. }) {
                eprintln!("fieldway: {error}");
            }
            None
        }
    };
    let table = table(&config, counts.as_ref());
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{table:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&mut out, &table)?;
    Ok(ExitCode::SUCCESS)
}

/// `{"running":…,"uplinks":[{"uplink":…,"forward":[{"rule":1,"topic":…,"to":…,"counts":{…}}],"accept":[…]}]}`
fn table(config: &Config, counts: Option<&Value>) -> Value {
    let of = |uplink: &UplinkConfig| {
        let counts_of = |list: &str, index: usize, topic: &str| {
            let counted = &counts?["uplinks"][uplink.name.as_str()][list][index];
            // The file may have changed since the gateway read it.
            (counted["topic"] == topic).then(|| counted["counts"].clone())
        };
        let row = |list: &str, index: usize, topic: &str, to: String, does: String| json!({ "rule": index + 1, "topic": topic, "to": to, "does": does, "counts": counts_of(list, index, topic) });
        let forward =
            uplink.forward.iter().enumerate().map(|(index, rule)| {
                row("forward", index, &rule.take.topic, rule.take.to.to_string(), of_forward(rule))
            });
        let accept = uplink
            .accept
            .iter()
            .enumerate()
            .map(|(index, rule)| row("accept", index, &rule.take.topic, rule.take.to.to_string(), of_accept(rule)));
        json!({
            "uplink": uplink.name.as_str(),
            "forward": forward.collect::<Vec<_>>(),
            "accept": accept.collect::<Vec<_>>(),
        })
    };
    json!({ "running": counts.is_some(), "uplinks": config.uplinks.iter().map(of).collect::<Vec<_>>() })
}

fn print(out: &mut impl Write, table: &Value) -> io::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let uplinks = table["uplinks"].as_array().map(Vec::as_slice).unwrap_or_default();
    if uplinks.is_empty() {
        writeln!(out, "no uplinks are configured")?;
    }
    for uplink in uplinks {
        writeln!(out, "uplink {}", text(&uplink["uplink"]))?;
        for (list, arrow) in [("forward", "up  "), ("accept", "down")] {
            for rule in uplink[list].as_array().into_iter().flatten() {
                writeln!(out, "  {arrow} {}  {} -> {}", rule["rule"], text(&rule["topic"]), text(&rule["to"]))?;
                writeln!(out, "          {}", text(&rule["does"]))?;
                let counts = &rule["counts"];
                if counts.is_object() {
                    writeln!(
                        out,
                        "          taken {}, left {}, when false {}, when unclear {}, not shaped {}",
                        counts["taken"], counts["left"], counts["unmatched"], counts["unclear"], counts["unshaped"]
                    )?;
                    if let Some(why) = counts["last_reason"].as_str() {
                        writeln!(out, "          last: {}", why.replace(char::is_control, " "))?;
                    }
                }
            }
        }
    }
    if table["running"] == false {
        writeln!(out, "no gateway runs with this configuration, so there are no counts")?;
    }
    Ok(())
}
