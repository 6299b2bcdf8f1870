//! What the running gateway answers on `/api/…`, over HTTP and on the control socket: one name, one function.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

use super::intake::Request;
use super::status::StatusBoard;
use crate::broker::HubHandle;
use crate::model::{DevicePoints, Filter, Message, Publisher, QoS, Snapshot, Topic};
use crate::route::{Verdict, health};
use crate::web::{Answerer, Question, Reply};

/// The intake may be waiting for the hub, which may be waiting for a disk.
const POINTS_WITHIN: Duration = Duration::from_secs(1);
/// The longest that a command is waited for, in seconds: less than a connection lasts.
const COMMAND_WITHIN_S: u64 = 110;
/// Points of a device that are named as bad.
const BAD_NAMED: usize = 100;

/// What is needed to answer.
pub struct Control {
    pub board: Arc<StatusBoard>,
    pub intake: mpsc::Sender<Request>,
    pub hub: HubHandle,
    pub root: Topic,
    /// The configuration that is running.
    pub file: PathBuf,
    pub data_dir: PathBuf,
}

impl Control {
    /// For the web pages and the control socket.
    pub fn answerer(self) -> Answerer {
        let control = Arc::new(self);
        Arc::new(move |question| {
            let control = control.clone();
            Box::pin(async move { control.answer(question).await })
        })
    }

    async fn answer(&self, question: Question) -> Reply {
        match (question.is_order, question.path.as_str()) {
            (false, "status") => Reply::good(self.status().await),
            (false, "bridge") => Reply::good(self.bridge()),
            (true, "command") => self.command(&question.body).await,
            (_, path) => Reply::unknown(path),
        }
    }

    /// Sets a point as a message on its `set` topic would, and waits for the result. The body has `device`, `point`, the `payload` of that
    /// message, its `id`, and how many `seconds` to wait; the answer has the payload of the result, as it was published.
    async fn command(&self, body: &[u8]) -> Reply {
        let wanted: Wanted = match serde_json::from_slice(body) {
            Ok(wanted) => wanted,
            Err(error) => return Reply::refused(400, format!("this is no command: {error}")),
        };
        let within = Duration::from_secs(wanted.seconds.min(COMMAND_WITHIN_S));
        match tokio::time::timeout(within, self.carry_out(&wanted)).await {
            Ok(reply) => reply,
            Err(_) => {
                Reply::refused(504, format!("no result within {} s: it may or may not be done", within.as_secs()))
            }
        }
    }

    async fn carry_out(&self, wanted: &Wanted) -> Reply {
        let stem = format!("{}/{}/{}", self.root, wanted.device, wanted.point);
        let (Ok(set), Ok(result)) = (Topic::new(&format!("{stem}/set")), Filter::new(&format!("{stem}/result"))) else {
            return Reply::refused(400, "a device and a point have names without wildcards");
        };
        let stopped = || Reply::refused(503, "the gateway is being stopped: it may or may not be done");
        let Ok(mut results) = self.hub.subscribe_kept(vec![result]).await else { return stopped() };
        let command = Message::new(set, wanted.payload.clone(), QoS::AtLeastOnce, false);
        let by = Publisher::Client { id: "fieldway write".into(), user: None };
        if let Err(error) = self.hub.publish_for(by, command).await {
            return Reply::refused(503, error.to_string());
        }
        while let Some((message, by)) = results.recv().await {
            let payload = String::from_utf8_lossy(&message.payload);
            let is_ours = serde_json::from_str::<Value>(&payload).is_ok_and(|result| result["id"] == wanted.id);
            if is_ours && by == Publisher::Gateway {
                return Reply::good(json!({ "result": payload }));
            }
        }
        stopped()
    }

    /// The health report, and what belongs to this process: files, verdict, rates, points.
    async fn status(&self) -> Value {
        let snapshot = self.board.snapshot();
        let mut status = health(&snapshot);
        status["health"] = Verdict::of(&snapshot).json();
        status["config"] = self.file.display().to_string().into();
        status["pid"] = std::process::id().into();
        status["store"] = store(&self.data_dir);
        self.add_rates(&snapshot, &mut status);
        if let Some(points) = self.points().await {
            for of in points {
                if let Some(device) = status["devices"].get_mut(of.device.as_str()) {
                    device["points"] = of_points(&of);
                }
            }
        }
        status
    }

    /// What each bridge rule has done.
    fn bridge(&self) -> Value {
        let uplinks = self.board.rules().into_iter().map(|rules| (rules.uplink.to_string(), rules.json()));
        json!({ "uplinks": uplinks.collect::<Map<_, _>>() })
    }

    fn add_rates(&self, snapshot: &Snapshot, status: &mut Value) {
        for uplink in &snapshot.uplinks {
            status["uplinks"][uplink.uplink.as_str()]["rate"] = json!(self.board.rate(&uplink.uplink));
        }
    }

    async fn points(&self) -> Option<Vec<DevicePoints>> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.intake.send(Request::Points(answer)).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(POINTS_WITHIN, asked).await.ok()?
    }
}

/// A command as it comes through the control socket.
#[derive(serde::Deserialize)]
struct Wanted {
    device: String,
    point: String,
    payload: String,
    id: String,
    seconds: u64,
}

fn of_points(of: &DevicePoints) -> Value {
    let bad = of.bad.iter().take(BAD_NAMED).map(|(name, fault)| (name.to_string(), fault.as_str().into()));
    json!({ "count": of.count, "good": of.good, "bad": of.bad.len(), "faults": bad.collect::<Map<_, _>>() })
}

fn store(data_dir: &Path) -> Value {
    let length = |name: &str| std::fs::metadata(data_dir.join(name)).map_or(0, |file| file.len());
    json!({
        "path": data_dir.join("queue.db").display().to_string(),
        "bytes": length("queue.db") + length("queue.db-wal"),
    })
}
