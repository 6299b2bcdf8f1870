//! Buses of every kind from their configuration to their readings, against devices that the tests play.

mod contract;
mod corpus;
mod frames;
mod lines;
mod transports;
mod vanishing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldway::clock::Clock;
use fieldway::config::{self, Config, Outside};
use fieldway::model::{BusState, BusStatus, Device, Fault, Pulse, Round, Sample, Stamp};
use fieldway::poll::{self, Event, Mailbox, PollError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// What `buses:` and `devices:` say, checked.
fn parsed(yaml: &str) -> Config {
    let text = format!("gateway: {{ id: test }}\n{yaml}");
    config::parse(text.as_bytes(), Path::new("gateway.yaml"), &Outside::nothing())
        .unwrap_or_else(|report| panic!("{report}"))
}

/// The one bus of a configuration, polled by its task.
struct Field {
    events: mpsc::Receiver<Event>,
    status: watch::Receiver<BusStatus>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), PollError>>,
}

impl Field {
    fn start(yaml: &str) -> Field {
        let config = parsed(yaml);
        let bus = config.buses[0].clone();
        let devices = config.devices.into_iter().map(Arc::new).collect();
        let (to_events, events) = mpsc::channel(256);
        let unknown = BusStatus {
            bus: bus.name.clone(),
            state: BusState::Starting,
            busy: Duration::ZERO,
            damaged: 0,
            devices: vec![],
        };
        let (to_status, status) = watch::channel(unknown);
        let cancel = CancellationToken::new();
        let ((_, orders), (reports, _)) = (mpsc::channel(1), mpsc::channel(1));
        let mailbox = Mailbox { orders, reports };
        let task = tokio::spawn(poll::run(
            bus,
            devices,
            Clock::start(),
            to_events,
            mailbox,
            to_status,
            Pulse::default(),
            cancel.clone(),
        ));
        Field { events, status, cancel, task }
    }

    async fn next(&mut self) -> Event {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("an event within half a minute").expect("the task runs")
    }

    async fn round(&mut self) -> Round {
        loop {
            if let Event::Round(round) = self.next().await {
                return round;
            }
        }
    }

    /// The next `count` readings, as `point=value` or `point=!fault`.
    async fn readings(&mut self, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        while found.len() < count {
            let round = self.round().await;
            found.extend(shown(&round));
        }
        found
    }

    /// Waits until a reading is this one; everything that came before it is returned.
    async fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let round = self.round().await;
            let shown = shown(&round);
            if shown.iter().any(|reading| reading == wanted) {
                return before;
            }
            before.extend(shown);
        }
    }

    /// Waits until the device is reported so.
    async fn until_online(&mut self, wanted: bool) -> Option<Fault> {
        loop {
            if let Event::Availability { online, fault, .. } = self.next().await
                && online == wanted
            {
                return fault;
            }
        }
    }

    async fn stop(self) {
        self.cancel.cancel();
        assert_eq!(self.task.await.unwrap(), Ok(()));
    }
}

fn shown(round: &Round) -> Vec<String> {
    round
        .readings
        .iter()
        .map(|reading| format!("{}={}", name(&round.device, reading.point), show(&reading.sample)))
        .collect()
}

fn name(device: &Device, point: usize) -> &str {
    device.points[point].name.as_str()
}

fn show(sample: &Sample) -> String {
    match sample {
        Sample::Good(value) => value.to_string(),
        Sample::Bad(fault) => format!("!{fault}"),
    }
}

/// The stamps of a round's readings.
fn stamps(round: &Round) -> Vec<Stamp> {
    round.readings.iter().map(|reading| reading.stamp).collect()
}

/// A device on a free port of loopback, one connection after the other, played by hand.
struct Bench {
    listener: TcpListener,
    port: u16,
}

impl Bench {
    async fn new() -> Bench {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Bench { listener, port }
    }

    async fn connection(&self) -> TcpStream {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("a connection within half a minute").unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

/// Reads until `end` has come; what was read.
async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    while !heard.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        heard.push(byte[0]);
    }
    heard
}

async fn say(stream: &mut TcpStream, text: impl AsRef<[u8]>) {
    stream.write_all(text.as_ref()).await.unwrap();
}
