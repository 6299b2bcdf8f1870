//! The web pages through real sockets: answers, limits, and metrics that a strict reader accepts.

mod openmetrics;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldway::config::Place;
use fieldway::model::{
    BrokerStatus, BusState, BusStatus, DeviceStatus, Fault, Name, QueueStatus, Snapshot, Timestamp, UplinkState,
    UplinkStatus,
};
use fieldway::web::{self, Web};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn snapshot() -> Snapshot {
    let device = |device, online| DeviceStatus {
        device: name(device),
        online,
        fault: (online == Some(false)).then_some(Fault::Timeout),
        last_answer: online.map(|_| Timestamp(1_795_187_045_123)),
        requests: 93,
        failures: 2,
        skipped: 1,
    };
    let bus = |bus, devices| BusStatus {
        bus: name(bus),
        state: BusState::Open,
        busy: Duration::from_millis(1500),
        damaged: 0,
        devices,
    };
    Snapshot {
        gateway: name("plant-7"),
        version: "0.1.0",
        taken: Timestamp(1_795_187_045_123),
        clock_synced: true,
        uptime: Duration::from_millis(93_500),
        resident_bytes: Some(12_582_912),
        stuck: Vec::new(),
        buses: vec![
            bus("line1", vec![device("meter_1", Some(true)), device("meter_2", Some(false))]),
            bus("plc", vec![device("boiler", None)]),
        ],
        broker: Some(BrokerStatus { clients: 2, received: 5, ..BrokerStatus::default() }),
        uplinks: vec![UplinkStatus {
            state: UplinkState::Offline("connection refused".into()),
            sent: 90,
            acknowledged: 88,
            connects: 1,
            queue: QueueStatus {
                depth: 312,
                bytes: 62_400,
                oldest: Some(Timestamp(1_795_187_000_000)),
                ..QueueStatus::default()
            },
            ..UplinkStatus::starting(name("cloud"))
        }],
    }
}

struct Pages {
    web: Web,
    now: Arc<Mutex<Snapshot>>,
    cancel: CancellationToken,
}

impl Pages {
    async fn start() -> Pages {
        let (now, cancel) = (Arc::new(Mutex::new(snapshot())), CancellationToken::new());
        let source = now.clone();
        let source = move || source.lock().unwrap().clone();
        let web = web::start(any_port(), place(), source, cancel.clone()).await.unwrap();
        Pages { web, now, cancel }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.web.address()).await.unwrap()
    }

    /// Sends `request` on a connection of its own and reads all that comes back.
    async fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        // A server that has refused already may close before it has read all.
        let _ = stream.write_all(request.as_bytes()).await;
        Answer::read(stream).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    async fn read(mut stream: TcpStream) -> Answer {
        let mut bytes = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer and its end").unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
        Answer { status, head: head.to_lowercase(), body: body.into() }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn place() -> Place {
    Place { file: PathBuf::from("gateway.yaml"), line: 7, column: 11 }
}

#[tokio::test]
async fn health_readiness_and_the_first_page_answer() {
    let pages = Pages::start().await;
    let health = pages.get("/healthz").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &"ok".into()));
    let ready = pages.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"ready".into()));
    assert!(ready.body.contains("uplink cloud is offline: connection refused; 312 messages"), "{}", ready.body);
    let index = pages.get("/").await;
    assert!(
        index.status == 200 && index.body.contains("gateway plant-7") && index.body.contains("/metrics"),
        "{}",
        index.body
    );
}

#[tokio::test]
async fn a_gateway_without_devices_says_what_to_do_next() {
    let pages = Pages::start().await;
    assert!(!pages.get("/").await.body.contains("What to do next"));
    pages.now.lock().unwrap().buses.clear();
    let index = pages.get("/").await.body;
    for word in ["/etc/fieldway/gateway.yaml", "fieldway check", "systemctl reload fieldway", "/metrics"] {
        assert!(index.contains(word), "{word}: {index}");
    }
}

#[tokio::test]
async fn a_part_that_is_stuck_or_starting_is_a_503_that_names_it() {
    let pages = Pages::start().await;
    pages.now.lock().unwrap().stuck.push("bus line1 ended".into());
    pages.now.lock().unwrap().buses[1].state = BusState::Starting;
    let health = pages.get("/healthz").await;
    assert!(health.status == 503 && health.body.contains("bus line1 ended"), "{} {}", health.status, health.body);
    let ready = pages.get("/readyz").await;
    assert!(
        ready.status == 503 && ready.body.contains("bus plc has not been opened yet"),
        "{} {}",
        ready.status,
        ready.body
    );
}

#[tokio::test]
async fn head_is_answered_without_a_body_and_other_methods_and_paths_with_a_hint() {
    let pages = Pages::start().await;
    let head = pages.ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", head.head);
    let post = pages.ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    assert!(post.status == 405 && post.body.contains("use GET or HEAD"), "{}", post.body);
    assert!(post.head.contains("allow: get,head"), "{}", post.head);
    let unknown = pages.get("/metricz?a=b").await;
    assert!(
        unknown.status == 404 && unknown.body.contains("nothing at /metricz.") && unknown.body.contains("/metrics")
    );
    assert!(unknown.head.contains("text/plain") && unknown.head.contains("nosniff"), "{}", unknown.head);
}

#[tokio::test]
async fn metrics_are_what_a_strict_reader_accepts_and_what_the_documentation_lists() {
    let pages = Pages::start().await;
    pages.now.lock().unwrap().uplinks[0].queue.oldest = Some(Timestamp(1_795_187_000_000));
    let answer = pages.get("/metrics").await;
    let samples = openmetrics::parse(&answer.body).unwrap_or_else(|error| panic!("{error}\n{}", answer.body));
    let value = |series: &str| {
        let found = samples.iter().find(|sample| sample.series == series);
        found.unwrap_or_else(|| panic!("no {series} in\n{}", answer.body)).value
    };
    assert_eq!(value("fieldway_device_online{bus=line1,device=meter_1}"), 1.0);
    assert_eq!(value("fieldway_device_online{bus=line1,device=meter_2}"), 0.0);
    assert_eq!(value("fieldway_bus_busy_seconds_total{bus=plc}"), 1.5);
    assert_eq!(value("fieldway_queue_messages{uplink=cloud}"), 312.0);
    assert_eq!(value("fieldway_queue_oldest_message_timestamp_seconds{uplink=cloud}"), 1_795_187_000.0);
    assert_eq!(value("fieldway_uptime_seconds"), 93.5);
    assert!(!answer.body.contains("device=\"boiler\"} 0\n"), "a device that was never polled is neither on nor off");

    let mut written: Vec<String> = samples.iter().map(|sample| sample.name.clone()).collect();
    let mut documented: Vec<String> = include_str!("../../docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `fieldway_")?.split('`').next())
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .map(|name| format!("fieldway_{name}"))
        .collect();
    for list in [&mut written, &mut documented] {
        list.sort();
        list.dedup();
    }
    assert_eq!(written, documented);
}

#[tokio::test]
async fn an_oversized_or_malformed_request_is_refused() {
    let pages = Pages::start().await;
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(40_000));
    let refused = pages.ask(&long).await.status;
    assert!(refused == 431 || refused == 400, "{refused}");
    assert_eq!(pages.ask("\x16\x03\x01\x02\x00 is TLS\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn clients_that_say_nothing_delay_nobody_however_many_they_are() {
    let pages = Pages::start().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = pages.connect().await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").await.unwrap();
        silent.push(stream);
    }
    assert_eq!(pages.get("/healthz").await.status, 200);
    // The oldest had to go for it.
    let mut byte = [0];
    let end = timeout(PATIENCE, silent[0].read(&mut byte)).await.expect("the oldest is closed");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_stop_finishes_in_time_with_clients_still_there_and_frees_the_port() {
    let pages = Pages::start().await;
    let address = pages.web.address();
    let _silent = pages.connect().await;
    let mut idle = pages.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    idle.readable().await.unwrap();
    pages.cancel.cancel();
    timeout(PATIENCE, pages.web.stopped()).await.expect("stopped");
    TcpListener::bind(address).await.expect("the port is free again");
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_the_place_the_address_and_what_to_try() {
    let taken = TcpListener::bind(any_port()).await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = web::start(address, place(), snapshot, CancellationToken::new()).await.unwrap_err().to_string();
    for part in ["gateway.yaml:7:11", "web.listen", &address.to_string(), "ss -ltnp", "choose another port"] {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[tokio::test]
async fn beyond_this_machine_the_pages_are_for_those_who_log_in() {
    let guard: web::Guard =
        Arc::new(|_, name, password| Box::pin(async move { (name.as_str(), password.as_str()) == ("hmi", "se:cret") }));
    let cancel = CancellationToken::new();
    let web =
        web::start_guarded(any_port(), place(), web::Pages::of(snapshot), Some(guard), cancel.clone()).await.unwrap();
    let ask = async |login: &str| {
        let mut stream = TcpStream::connect(web.address()).await.unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{login}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    // hmi:se:cret and hmi:wrong
    assert!(ask("Authorization: Basic aG1pOnNlOmNyZXQ=\r\n").await.starts_with("HTTP/1.1 200"));
    for login in [
        "",
        "Authorization: Basic aG1pOndyb25n\r\n",
        "Authorization: Basic !!!\r\n",
        "Authorization: Bearer aG1pOnNlOmNyZXQ=\r\n",
        "Authorization: Basic\r\n",
    ] {
        let answer = ask(login).await;
        assert!(
            answer.starts_with("HTTP/1.1 401") && answer.to_lowercase().contains("www-authenticate: basic"),
            "{answer}"
        );
        assert!(!answer.contains("fieldway_"), "{answer}");
    }
    cancel.cancel();
}
