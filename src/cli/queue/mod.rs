//! `fieldway queue`: what waits for the clouds. Asks the gateway that runs; without one, looks into its file.

mod export;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::check::look;
use super::control::{ControlError, ask};
use super::status::{Cell, Table, Tone, paint, size, wrap};
use super::{ConfigArg, FAILED, MISUSED, block_on};
use crate::config::{self, Config};
use crate::model::Priority;
use crate::store::{Peek, QueueOnDisk, StoreError};

/// Shows what waits for each uplink, how old it is, and how fast it goes. Exit 0 when all queues are well.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct QueueArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Print everything to standard output as JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the messages of an uplink's queue as JSON lines, those that were put aside too; nothing is taken out
    Export(export::ExportArgs),
}

/// Prints the queues, or what is in one.
pub fn run(args: &QueueArgs) -> anyhow::Result<ExitCode> {
    let file = match &args.what {
        Some(What::Export(export)) => &export.config.config,
        None => &args.config.config,
    };
    let config = match config::load(file, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(report) => {
            io::stderr().write_all(report.render(look()).as_bytes())?;
            return Ok(ExitCode::from(MISUSED));
        }
    };
    match &args.what {
        Some(What::Export(export)) => export::run(export, &config),
        None => show(args, &config),
    }
}

fn show(args: &QueueArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let queues = match ask(config, "status") {
        Ok(status) => of_gateway(&status),
        // Whoever may not ask, or gets no answer, may still be let to look.
        Err(ControlError::NotRunning { .. } | ControlError::Denied { .. } | ControlError::Silent { .. }) => {
            match block_on(of_file(config))? {
                Ok(queues) => queues,
                Err(error) => {
                    eprintln!("fieldway: {error}");
                    return Ok(ExitCode::from(FAILED));
                }
            }
        }
        Err(error) => {
            eprintln!("fieldway: {error}");
            return Ok(ExitCode::from(FAILED));
        }
    };
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{queues:#}")?;
    } else {
        for line in page(&queues) {
            writeln!(out, "{line}")?;
        }
    }
    let is_failing =
        queues["queues"].as_object().is_some_and(|all| all.values().any(|queue| queue["error"].is_string()));
    Ok(if is_failing { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// What a running gateway says: each queue's numbers, with its uplink's state and rate.
fn of_gateway(status: &Value) -> Value {
    let mut queues = status["queues"].clone();
    if let Some(all) = queues.as_object_mut() {
        for (name, queue) in all {
            let uplink = &status["uplinks"][name.as_str()];
            for key in ["state", "reason", "rate"] {
                if !uplink[key].is_null() {
                    queue[key] = uplink[key].clone();
                }
            }
            queue["configured"] = true.into();
        }
    }
    json!({ "running": true, "ts": status["ts"], "queues": queues })
}

/// What the file says when no gateway does.
async fn of_file(config: &Config) -> Result<Value, StoreError> {
    let data_dir = &config.gateway.data_dir;
    let Some(mut peek) = Peek::open(data_dir).await? else {
        return Ok(json!({ "running": false, "file": Value::Null, "queues": {} }));
    };
    let found = peek.queues().await;
    let (without_log, found) = (peek.is_without_log(), found);
    peek.close().await;
    let mut queues: Map<String, Value> = Map::new();
    for queue in found? {
        let before = queues.remove(&queue.uplink);
        let sum = add(before, &queue, config.uplinks.iter().any(|uplink| uplink.name.as_str() == queue.uplink));
        queues.insert(queue.uplink, sum);
    }
    let file = data_dir.join("queue.db").display().to_string();
    Ok(json!({ "running": false, "file": file, "without_log": without_log, "queues": queues }))
}

/// An uplink's two queues are told as one.
fn add(before: Option<Value>, queue: &QueueOnDisk, configured: bool) -> Value {
    let number = |key: &str| before.as_ref().and_then(|before| before[key].as_u64()).unwrap_or(0);
    let oldest = queue.oldest.map(|at| at.to_string());
    let earlier = before.as_ref().and_then(|before| before["oldest"].as_str()).map(str::to_owned);
    // Of RFC 3339 texts in UTC with milliseconds, the earlier is the smaller.
    let oldest = oldest.into_iter().chain(earlier).min();
    let high = if queue.class == Priority::High { queue.depth } else { 0 };
    json!({
        "depth": number("depth") + queue.depth, "high": number("high") + high,
        "bytes": number("bytes") + queue.bytes, "oldest": oldest,
        "dropped": number("dropped") + queue.dropped, "set_aside": number("set_aside") + queue.set_aside,
        "configured": configured,
    })
}

/// The lines for a terminal.
fn page(all: &Value) -> Vec<String> {
    let paint = paint();
    let mut lines = Vec::new();
    let is_running = all["running"] == true;
    let empty = Map::new();
    let queues = all["queues"].as_object().unwrap_or(&empty);
    if queues.is_empty() {
        return vec!["no queues: there is no uplink, or the gateway never ran".into()];
    }
    let mut table = Table::new(&["uplink", "state", "waiting", "urgent", "size", "rate", "dropped", "aside", "oldest"]);
    for (name, queue) in queues {
        let count = |key: &str, tone| {
            let number = queue[key].as_u64().unwrap_or(0);
            Cell::number(if number == 0 { Tone::Plain } else { tone }, number.to_string())
        };
        let (state, tone) = state(queue, is_running);
        table.row(vec![
            Cell::text(Tone::Plain, name.as_str()),
            Cell::text(tone, state),
            count("depth", Tone::Plain),
            count("high", Tone::Plain),
            Cell::number(Tone::Plain, size(queue["bytes"].as_u64().unwrap_or(0))),
            Cell::number(Tone::Plain, queue["rate"].as_f64().map_or_else(|| "-".into(), |rate| format!("{rate:.1}/s"))),
            count("dropped", Tone::Odd),
            count("set_aside", Tone::Odd),
            Cell::text(Tone::Plain, queue["oldest"].as_str().unwrap_or("-")),
        ]);
    }
    lines.extend(table.lines(paint));
    for (name, queue) in queues {
        for key in ["error", "reason"] {
            if let Some(why) = queue[key].as_str() {
                lines.extend(wrap(&format!("{name}: "), why));
            }
        }
        if queue["configured"] == false {
            let why = "is not in the configuration: its messages are deleted when the gateway starts with it";
            lines.extend(wrap(&format!("{name}: "), why));
        }
    }
    if !is_running {
        let file = all["file"].as_str().unwrap_or_default();
        lines.extend(wrap("", &format!("no gateway answers: these are the numbers in {file}")));
    }
    if all["without_log"] == true {
        let why = "the disk can't be written, so what was committed last is left out: it is in the log beside the file";
        lines.extend(wrap("", why));
    }
    lines
}

fn state(queue: &Value, is_running: bool) -> (String, Tone) {
    if queue["error"].is_string() {
        return ("failing".into(), Tone::Bad);
    }
    match queue["state"].as_str() {
        Some("online") => ("online".into(), Tone::Good),
        Some(other) => (other.into(), Tone::Odd),
        None if queue["configured"] == false => ("removed".into(), Tone::Odd),
        None if is_running => ("-".into(), Tone::Plain),
        None => ("stopped".into(), Tone::Plain),
    }
}

/// Messages that wait for uplinks which the configuration does not have: the uplink and how many. Nothing when the file can't be read.
pub(super) fn orphans(data_dir: &Path, config: &Config) -> Vec<(String, u64)> {
    let looked = block_on(async {
        let mut peek = Peek::open(data_dir).await.ok().flatten()?;
        let queues = peek.queues().await.ok();
        peek.close().await;
        queues
    });
    let mut orphans: Vec<(String, u64)> = Vec::new();
    for queue in looked.ok().flatten().unwrap_or_default() {
        let is_known = config.uplinks.iter().any(|uplink| uplink.name.as_str() == queue.uplink);
        match orphans.iter_mut().find(|(uplink, _)| *uplink == queue.uplink) {
            _ if is_known || queue.depth == 0 => {}
            Some((_, messages)) => *messages += queue.depth,
            None => orphans.push((queue.uplink, queue.depth)),
        }
    }
    orphans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn the_numbers_of_a_running_gateway_come_with_state_and_rate() {
        let status = json!({
            "ts": "2026-11-20T15:04:05.123Z",
            "uplinks": {"cloud": {"state": "offline", "reason": "nothing listens", "rate": 12.34, "sent": 7}},
            "queues": {"cloud": {"depth": 312, "high": 2, "bytes": 62_400, "oldest": null, "dropped": 1, "set_aside": 0}},
        });
        let queues = of_gateway(&status);
        assert_eq!(queues["queues"]["cloud"]["state"], "offline");
        let page = page(&queues).join("\n");
        for part in ["cloud", "offline", "312", "12.3/s", "nothing listens"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    }

    #[test]
    fn an_uplinks_two_queues_are_one_to_whoever_looks() {
        let at = |ms| Some(Timestamp(ms));
        let queue = |class, depth, oldest| QueueOnDisk::example("cloud", class, depth, oldest);
        let sum = add(None, &queue(Priority::Normal, 5, at(2_000)), true);
        let sum = add(Some(sum), &queue(Priority::High, 3, at(1_000)), true);
        assert_eq!((sum["depth"].as_u64(), sum["high"].as_u64()), (Some(8), Some(3)));
        assert_eq!(sum["oldest"], "1970-01-01T00:00:01.000Z");
    }
}
