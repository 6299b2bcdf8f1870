//! `fieldway queue export UPLINK`: what waits, as JSON lines, in the order in which it will go; then what was put aside.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::{ConfigArg, FAILED, block_on};
use crate::config::Config;
use crate::model::{Priority, Properties};
use crate::store::{Aside, Entry, Peek, QueueOnDisk, Row};

/// Prints the messages of an uplink's queue, one JSON object a line: `n`, `epoch`, `priority`, `topic`, `payload` (or `payload_base64`
/// when it is no text), `qos`, `retain`, `ts` of queueing, `properties`, and `set_aside` with the reason where it was put aside.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The uplink
    #[arg(value_name = "UPLINK")]
    uplink: String,
    #[command(flatten)]
    pub config: ConfigArg,
}

/// Prints them. Nothing is changed, and a gateway that runs goes on.
pub fn run(args: &ExportArgs, config: &Config) -> anyhow::Result<ExitCode> {
    block_on(async {
        let data_dir = &config.gateway.data_dir;
        let Some(mut peek) = Peek::open(data_dir).await? else {
            eprintln!("fieldway: there is no queue.db in {}: the gateway never ran with it", data_dir.display());
            return Ok(ExitCode::from(FAILED));
        };
        if peek.is_without_log() {
            eprintln!("warning: the disk can't be written, so what was committed last is left out");
        }
        let queues: Vec<QueueOnDisk> = peek.queues().await?;
        let of_uplink: Vec<_> = queues.iter().filter(|queue| queue.uplink == args.uplink).collect();
        if of_uplink.is_empty() {
            let mut names: Vec<_> = queues.iter().map(|queue| queue.uplink.as_str()).collect();
            names.dedup();
            let there_are = if names.is_empty() { "none".into() } else { names.join(", ") };
            eprintln!("fieldway: no uplink {:?} has a queue; there are: {there_are}", args.uplink);
            return Ok(ExitCode::from(FAILED));
        }
        let mut out = BufWriter::new(io::stdout().lock());
        let printed = print(&mut peek, &of_uplink, &mut out).await;
        peek.close().await;
        match printed.and_then(|()| Ok(out.flush()?)) {
            // `| head` has seen enough.
            Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(error).context("can't export the queue"),
            Ok(()) => Ok(ExitCode::SUCCESS),
        }
    })?
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

async fn print(peek: &mut Peek, queues: &[&QueueOnDisk], out: &mut impl Write) -> anyhow::Result<()> {
    // What is urgent goes first.
    let in_turn = || {
        [Priority::High, Priority::Normal].into_iter().flat_map(|class| queues.iter().filter(move |q| q.class == class))
    };
    for queue in in_turn() {
        let mut after = 0;
        loop {
            let entries = peek.messages(queue, after).await?;
            let Some(last) = entries.last().map(Entry::n) else { break };
            after = last;
            for entry in &entries {
                writeln!(out, "{}", line(queue, entry, None))?;
            }
        }
    }
    for queue in in_turn() {
        let mut after: Option<Aside> = None;
        loop {
            let mut found = peek.aside(queue, after.as_ref()).await?;
            for aside in &found {
                writeln!(out, "{}", line(queue, &aside.entry, Some(&aside.reason)))?;
            }
            match found.pop() {
                Some(last) => after = Some(last),
                None => break,
            }
        }
    }
    Ok(())
}

fn line(queue: &QueueOnDisk, entry: &Entry, set_aside: Option<&str>) -> Value {
    let priority = if queue.class == Priority::High { "high" } else { "normal" };
    let mut line = json!({ "n": entry.n(), "epoch": queue.epoch, "priority": priority });
    match entry {
        Entry::Whole(row) => describe(&mut line, row),
        Entry::Damaged { why, .. } => line["damaged"] = why.as_str().into(),
    }
    if let Some(reason) = set_aside {
        line["set_aside"] = reason.into();
    }
    line
}

fn describe(line: &mut Value, row: &Row) {
    let message = &row.message;
    line["topic"] = message.topic.as_str().into();
    match std::str::from_utf8(&message.payload) {
        Ok(text) => line["payload"] = text.into(),
        Err(_) => line["payload_base64"] = STANDARD.encode(&message.payload).into(),
    }
    line["qos"] = (message.qos as u8).into();
    line["retain"] = message.retain.into();
    line["ts"] = row.queued.map(|at| at.to_string()).into();
    if let Some(properties) = &message.properties {
        line["properties"] = describe_properties(properties);
    }
}

fn describe_properties(properties: &Properties) -> Value {
    let Properties { payload_is_utf8, message_expiry_s, content_type, response_topic, correlation_data, user } =
        properties;
    let mut out = json!({});
    if *payload_is_utf8 {
        out["payload_is_utf8"] = true.into();
    }
    if let Some(seconds) = message_expiry_s {
        out["message_expiry_s"] = (*seconds).into();
    }
    if let Some(content_type) = content_type {
        out["content_type"] = content_type.as_str().into();
    }
    if let Some(topic) = response_topic {
        out["response_topic"] = topic.as_str().into();
    }
    if let Some(data) = correlation_data {
        out["correlation_data_base64"] = STANDARD.encode(data).into();
    }
    if !user.is_empty() {
        out["user"] = json!(user);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, QoS, Timestamp, Topic};

    #[test]
    fn a_message_is_a_line_that_has_all_of_it() {
        let queue = QueueOnDisk::example("cloud", Priority::High, 1, None);
        let topic = Topic::new("a/b").expect("a topic");
        let user = vec![("k".to_owned(), "v".to_owned())];
        let mut message = Message::new(topic, "21.4 °C", QoS::AtLeastOnce, true);
        message.properties = Some(Box::new(Properties { user, ..Properties::default() }));
        let mut row = Row { n: 7, queued: Some(Timestamp(0)), message };
        assert_eq!(
            line(&queue, &Entry::Whole(row.clone()), Some("too large")),
            json!({
                "n": 7, "epoch": 1, "priority": "high", "topic": "a/b", "payload": "21.4 °C", "qos": 1, "retain": true,
                "ts": "1970-01-01T00:00:00.000Z", "properties": {"user": [["k", "v"]]}, "set_aside": "too large",
            })
        );
        row.message.payload = vec![0, 255].into();
        row.queued = None;
        let line = line(&queue, &Entry::Whole(row), None);
        assert_eq!(
            (&line["payload"], &line["payload_base64"], &line["ts"]),
            (&Value::Null, &json!("AP8="), &Value::Null)
        );
    }
}
