//! Four units on one line, one of them broken in every way: the others stay on time, no wrong value comes through, and
//! the broken one's points say why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fieldway::driver::modbus::frames::{ascii_frame, crc16};
use fieldway::model::{BusState, ByteOrder, Device, Fault, PointType, Protocol, RegisterTable, Sample, Value};
use fieldway::poll::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{PATIENCE, Polled, device, point, rtu, tcp};
use crate::support::wait::wait_for;

const BROKEN: u8 = 3;
const INTERVAL: Duration = Duration::from_millis(250);
const TIMEOUT_MS: u64 = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Silent,
    /// Its answer comes when the next request does, and before that one's.
    Late,
    WrongUnit,
    WrongFunction,
    WrongLength,
    WrongTransaction,
    WrongChecksum,
    HalfFrame,
    Exception(u8),
    /// Until the next request, and longer than any timeout.
    Garbage,
    /// Whole frames that answer nobody's question, without end.
    Strangers,
    CloseInMiddle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Tcp,
    /// Four requests at a time.
    TcpOverlapping,
    Rtu,
    /// RTU frames through a converter on the network.
    RtuOverTcp,
    /// ASCII frames through one.
    Ascii,
}

impl Framing {
    fn request_len(self) -> usize {
        match self {
            Framing::Tcp | Framing::TcpOverlapping => 12,
            Framing::Rtu | Framing::RtuOverTcp => 8,
            Framing::Ascii => 17,
        }
    }

    /// Unit, function, address, quantity.
    fn asked(self, request: &[u8]) -> Vec<u8> {
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
        match self {
            Framing::Tcp | Framing::TcpOverlapping => request[6..].to_vec(),
            Framing::Rtu | Framing::RtuOverTcp => request.to_vec(),
            Framing::Ascii => request[1..13].chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect(),
        }
    }
}

/// What every register of every unit holds: who and where it is.
fn truth(unit: u8, address: u16) -> u16 {
    u16::from(unit) << 12 | address
}

fn units() -> Vec<Arc<Device>> {
    let points = || {
        // Far enough apart for requests of their own, which look alike.
        [0, 1, 500, 501].map(|at| point(RegisterTable::Holding, at, PointType::U16, ByteOrder::Abcd, INTERVAL)).to_vec()
    };
    (1..=4).map(|unit| device(&format!("u{unit}"), unit, points())).collect()
}

/// Serves one connection as all four units.
async fn serve(mut stream: TcpStream, framing: Framing, mode: Mode) -> std::io::Result<()> {
    let mut late: Option<Vec<u8>> = None;
    let mut request = vec![0; framing.request_len()];
    stream.read_exact(&mut request).await?;
    loop {
        if let Some(answer) = late.take() {
            stream.write_all(&answer).await?;
        }
        let asked = framing.asked(&request);
        let (unit, function) = (asked[0], asked[1]);
        let (address, count) = (u16::from_be_bytes([asked[2], asked[3]]), u16::from_be_bytes([asked[4], asked[5]]));
        let mut pdu = vec![function, (count * 2) as u8];
        pdu.extend((address..address + count).flat_map(|at| truth(unit, at).to_be_bytes()));
        let wrap = |unit: u8, pdu: &[u8]| wrap(framing, &request, unit, pdu);
        let good = wrap(unit, &pdu);
        let mut flood: Option<Vec<u8>> = None;
        if unit != BROKEN {
            stream.write_all(&good).await?;
        } else {
            let answer = match mode {
                Mode::Silent => vec![],
                Mode::Late => {
                    late = Some(good);
                    vec![]
                }
                Mode::WrongUnit => wrap(unit + 1, &pdu),
                Mode::WrongFunction => wrap(unit, &[&[4], &pdu[1..]].concat()),
                Mode::WrongLength => wrap(unit, &[&[function, pdu[1] + 2], &pdu[2..], &[0, 0][..]].concat()),
                Mode::WrongTransaction => [&[good[0] ^ 1], &good[1..]].concat(),
                Mode::WrongChecksum if framing == Framing::Ascii => {
                    let mut wrong = good.clone();
                    let digit = wrong.len() - 3;
                    wrong[digit] = if wrong[digit] == b'0' { b'1' } else { b'0' };
                    wrong
                }
                Mode::WrongChecksum => [&good[..good.len() - 1], &[good[good.len() - 1] ^ 1]].concat(),
                Mode::HalfFrame => good[..good.len() / 2].to_vec(),
                Mode::Exception(code) => wrap(unit, &[function | 0x80, code]),
                Mode::Garbage => {
                    flood = Some(vec![0x55; 20]);
                    vec![]
                }
                Mode::Strangers => {
                    flood = Some([&[good[0] ^ 1], &good[1..]].concat());
                    vec![]
                }
                Mode::CloseInMiddle => {
                    stream.write_all(&good[..5]).await?;
                    return Ok(());
                }
            };
            stream.write_all(&answer).await?;
        }
        loop {
            tokio::select! {
                next = stream.read_exact(&mut request) => { next?; break; }
                () = tokio::time::sleep(Duration::from_millis(1)), if flood.is_some() => {
                    stream.write_all(flood.as_deref().unwrap_or_default()).await?;
                }
            }
        }
    }
}

fn wrap(framing: Framing, request: &[u8], unit: u8, pdu: &[u8]) -> Vec<u8> {
    match framing {
        Framing::Tcp | Framing::TcpOverlapping => [&request[..4], &[0, pdu.len() as u8 + 1, unit], pdu].concat(),
        Framing::Ascii => ascii_frame(unit, pdu),
        Framing::Rtu | Framing::RtuOverTcp => {
            let content = [&[unit], pdu].concat();
            [&content[..], &crc16(&content).to_le_bytes()].concat()
        }
    }
}

/// A server of the four units on a free port; counts its connections.
async fn listen(framing: Framing, mode: Mode) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            stream.set_nodelay(true).unwrap();
            // An error is the gateway's hanging up.
            tokio::spawn(async move { drop(serve(stream, framing, mode).await) });
        }
    });
    (port, connections)
}

/// A pty at `path` whose other end is a TCP port: a serial line that can be unplugged.
struct Cable {
    socat: Child,
}

impl Cable {
    fn plug_in(path: &Path, port: u16) -> Cable {
        let socat = Command::new("socat")
            .arg(format!("pty,raw,echo=0,link={}", path.display()))
            .arg(format!("tcp:127.0.0.1:{port},nodelay"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("socat: {error}; ./tests/run installs what the tests need"));
        wait_for("the pty", Duration::from_secs(10), || path.exists().then_some(()));
        Cable { socat }
    }

    fn unplug(mut self, path: &Path) {
        self.socat.kill().unwrap();
        self.socat.wait().unwrap();
        let _ = std::fs::remove_file(path);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = self.socat.kill();
        let _ = self.socat.wait();
    }
}

struct Line {
    bus: Polled,
    /// Keep these as long as the line is needed.
    _cable: Option<Cable>,
    _folder: Option<tempfile::TempDir>,
}

async fn line(framing: Framing, mode: Mode) -> Line {
    let (port, _) = listen(framing, mode).await;
    match framing {
        Framing::Tcp => Line { bus: Polled::start(tcp(port), TIMEOUT_MS, units()), _cable: None, _folder: None },
        Framing::TcpOverlapping => {
            let bus = Polled::start_overlapping(tcp(port), TIMEOUT_MS, 4, units());
            Line { bus, _cable: None, _folder: None }
        }
        Framing::RtuOverTcp | Framing::Ascii => {
            let protocol = if framing == Framing::Ascii { Protocol::ModbusAscii } else { Protocol::ModbusRtu };
            let bus = Polled::start((protocol, tcp(port).1), TIMEOUT_MS, units());
            Line { bus, _cable: None, _folder: None }
        }
        Framing::Rtu => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("tty");
            let plugged = path.clone();
            let cable = tokio::task::spawn_blocking(move || Cable::plug_in(&plugged, port)).await.unwrap();
            let bus = Polled::start(rtu(path.to_str().unwrap()), TIMEOUT_MS, units());
            Line { bus, _cable: Some(cable), _folder: Some(folder) }
        }
    }
}

/// Watches until the broken unit has said why and every neighbour had ten rounds.
async fn the_neighbours_go_on(framing: Framing, mode: Mode, expected: Fault) {
    let context = format!("{framing:?} {mode:?}");
    let mut line = line(framing, mode).await;
    let mut rounds: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    let mut faults = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while faults.is_empty() || (1..=4).any(|n| n != BROKEN && rounds.get(&format!("u{n}")).map_or(0, Vec::len) < 10) {
        assert!(Instant::now() < deadline, "{context}: {faults:?} {rounds:?}");
        let Event::Round(round) = line.bus.next().await else { continue };
        for reading in &round.readings {
            match &reading.sample {
                Sample::Good(value) => {
                    let right =
                        truth(round.device.unit_id, round.device.points[reading.point].register().unwrap().address);
                    assert_eq!(*value, Value::Integer(i128::from(right)), "{context}: a wrong value");
                    // A late answer may be taken when it answers the repeated request too: it is right.
                    assert!(round.device.unit_id != BROKEN || mode == Mode::Late, "{context}");
                }
                Sample::Bad(fault) => {
                    assert_eq!(round.device.unit_id, BROKEN, "{context}: {fault} is blamed on a neighbour");
                    faults.push(*fault);
                }
            }
        }
        rounds.entry(round.device.name.to_string()).or_default().push(Instant::now());
        if mode == Mode::Late && rounds.values().all(|of_one| of_one.len() >= 10) {
            break;
        }
    }
    assert!(faults.iter().all(|fault| *fault == expected), "{context}: {faults:?}");
    for (name, moments) in rounds.iter().filter(|(name, _)| name.as_str() != "u3") {
        let mut gaps: Vec<Duration> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        assert!(gaps[gaps.len() / 2] < INTERVAL * 3 / 2, "{context}: {name} is read every {gaps:?}");
    }
    line.bus.stop().await;
}

const EXCEPTIONS: [Fault; 11] = [
    Fault::IllegalFunction,
    Fault::IllegalAddress,
    Fault::IllegalValue,
    Fault::DeviceFailure,
    Fault::Busy,
    Fault::Busy,
    Fault::DeviceFailure,
    Fault::DeviceFailure,
    Fault::DeviceFailure,
    Fault::GatewayPath,
    Fault::GatewayTarget,
];

async fn all_at_once(framing: Framing, cases: Vec<(Mode, Fault)>) {
    let watched = cases.into_iter().map(|(mode, fault)| tokio::spawn(the_neighbours_go_on(framing, mode, fault)));
    for watched in watched.collect::<Vec<_>>() {
        watched.await.unwrap();
    }
}

fn common() -> Vec<(Mode, Fault)> {
    let mut cases = vec![
        (Mode::Silent, Fault::Timeout),
        (Mode::Late, Fault::Timeout),
        (Mode::WrongUnit, Fault::Framing),
        (Mode::WrongFunction, Fault::Framing),
        (Mode::WrongLength, Fault::Framing),
        (Mode::HalfFrame, Fault::Framing),
        (Mode::Garbage, Fault::Framing),
    ];
    cases.extend(EXCEPTIONS.into_iter().zip(1..).map(|(fault, code)| (Mode::Exception(code), fault)));
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_unit_behind_a_tcp_gateway_harms_nobody_else() {
    all_at_once(Framing::Tcp, common_over_tcp()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_unit_harms_nobody_else_with_several_requests_at_a_time() {
    all_at_once(Framing::TcpOverlapping, common_over_tcp()).await;
}

fn common_over_tcp() -> Vec<(Mode, Fault)> {
    let mut cases = common();
    cases.push((Mode::WrongTransaction, Fault::Framing));
    cases.push((Mode::Strangers, Fault::Framing));
    cases.push((Mode::CloseInMiddle, Fault::Disconnected));
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_unit_on_a_serial_line_harms_nobody_else() {
    let mut cases = common();
    cases.push((Mode::WrongChecksum, Fault::Crc));
    all_at_once(Framing::Rtu, cases).await;
}

/// Exceptions are the same in every frame.
fn common_but_most_exceptions() -> Vec<(Mode, Fault)> {
    let is_another = |mode: Mode| matches!(mode, Mode::Exception(code) if code != 2 && code != 11);
    let mut cases: Vec<_> = common().into_iter().filter(|(mode, _)| !is_another(*mode)).collect();
    cases.push((Mode::WrongChecksum, Fault::Crc));
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_unit_behind_a_converter_harms_nobody_else() {
    all_at_once(Framing::RtuOverTcp, common_but_most_exceptions()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_unit_on_an_ascii_line_harms_nobody_else() {
    all_at_once(Framing::Ascii, common_but_most_exceptions()).await;
}

/// Waits until every unit was reported so.
async fn until_all_are(bus: &mut Polled, wanted: bool) -> Vec<Option<Fault>> {
    let mut state: BTreeMap<u8, Option<Fault>> = BTreeMap::new();
    while state.len() < 4 {
        if let Event::Availability { device, online, fault, .. } = bus.next().await
            && online == wanted
        {
            state.insert(device.unit_id, fault);
        }
    }
    state.into_values().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serial_port_that_is_unplugged_is_waited_for_and_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("tty");
    let (port, _) = listen(Framing::Rtu, Mode::Exception(2)).await;
    let mut bus = Polled::start(rtu(path.to_str().unwrap()), TIMEOUT_MS, units());
    // Not there at the start, either.
    assert_eq!(until_all_are(&mut bus, false).await, [Some(Fault::Disconnected); 4]);
    let why = bus.status.borrow().state.clone();
    assert!(matches!(&why, BusState::Down(why) if why.contains("no such serial port")), "{why:?}");
    for _ in 0..3 {
        let cable = Cable::plug_in(&path, port);
        let plugged = Instant::now();
        until_all_are(&mut bus, true).await;
        assert!(plugged.elapsed() < Duration::from_secs(4), "{:?}", plugged.elapsed());
        cable.unplug(&path);
        assert_eq!(until_all_are(&mut bus, false).await, [Some(Fault::Disconnected); 4]);
    }
    bus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_late_is_used_once_it_is_there() {
    let port = crate::support::wait::free_port();
    let mut bus = Polled::start(tcp(port), TIMEOUT_MS, units());
    assert_eq!(until_all_are(&mut bus, false).await, [Some(Fault::Disconnected); 4]);
    let why = bus.status.borrow().state.clone();
    assert!(matches!(&why, BusState::Down(why) if why.contains("connection refused")), "{why:?}");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { drop(serve(stream, Framing::Tcp, Mode::Exception(2)).await) });
        }
    });
    until_all_are(&mut bus, true).await;
    bus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_device_closed_while_it_was_idle_is_made_anew_without_a_fault() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        // Answers one request a connection, then hangs up, as some devices do after a while.
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 12];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(&wrap(Framing::Tcp, &request, request[6], &[3, 2, 0, 7])).await.unwrap();
        }
    });
    let points = vec![point(RegisterTable::Holding, 0, PointType::U16, ByteOrder::Abcd, Duration::from_millis(50))];
    let mut bus = Polled::start(tcp(port), 1000, vec![device("plc", 1, points)]);
    let mut good = 0;
    while good < 10 {
        match bus.next().await {
            Event::Round(round) => {
                assert_eq!(round.readings[0].sample, Sample::Good(Value::Integer(7)));
                good += 1;
            }
            Event::Availability { online, fault, .. } => assert!(online, "{fault:?}"),
        }
    }
    assert_eq!(bus.status.borrow().devices[0].failures, 0);
    bus.stop().await;
}
