//! Lines that go and come back: ptys and TCP servers, twenty times, under polling.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fieldway::driver::modbus::frames::crc16;
use fieldway::model::{BusState, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::Field;
use crate::support::gateway::GatewayProcess;
use crate::support::wait::{free_port, wait_for};

const TIMES: usize = 20;
/// An interval of 100 ms and the promise of two seconds.
const BACK_WITHIN: Duration = Duration::from_millis(2_000);

/// Answers RTU requests on a port until it is dropped.
struct Units(tokio::task::JoinHandle<()>);

impl Units {
    async fn on(port: u16) -> Units {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        // The last connections of the one before are still in TIME_WAIT.
        socket.set_reuse_address(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        socket.listen(8).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        Units(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut request = [0; 8];
                    while stream.read_exact(&mut request).await.is_ok() {
                        let content = [request[0], 3, 2, 0, 42];
                        let frame = [&content[..], &crc16(&content).to_le_bytes()].concat();
                        let _ = stream.write_all(&frame).await;
                    }
                });
            }
        }))
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A pty at `path` whose other end is a TCP port.
pub(super) struct Cable(Child);

impl Cable {
    pub(super) fn plug_in(path: &Path, port: u16) -> Cable {
        let socat = Command::new("socat")
            .arg(format!("pty,raw,echo=0,link={}", path.display()))
            .arg(format!("tcp:127.0.0.1:{port},nodelay"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("socat: {error}; ./tests/run installs what the tests need"));
        wait_for("the pty", Duration::from_secs(10), || path.exists().then_some(()));
        Cable(socat)
    }

    fn unplug(mut self, path: &Path) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        let _ = fs::remove_file(path);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn line(place: &str) -> String {
    format!(
        "buses: {{ line: {{ {place}, protocol: modbus-rtu, timeout: 100ms, retries: 0 }} }}\n\
         devices: {{ pump: {{ bus: line, unit_id: 7, poll: 100ms, points: {{ flow: {{ holding: 1 }} }} }} }}\n"
    )
}

/// How often the gateway says that so many devices are online, by its metrics.
fn until_online(web: u16, count: usize) {
    wait_for("the devices", Duration::from_secs(10), || {
        let mut stream = TcpStream::connect(("127.0.0.1", web)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let is_online = |line: &&str| {
            let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
            line.starts_with("fieldway_device_online{") && value == Some(1.0)
        };
        (text.lines().filter(is_online).count() == count).then_some(())
    });
}

/// Open descriptors, and resident memory in KiB.
fn holdings(pid: u32) -> (usize, u64) {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (descriptors, resident.trim().trim_end_matches(" kB").parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_lines_come_and_go_holds_no_more_than_before() {
    let folder = tempfile::tempdir().unwrap();
    let tty = folder.path().join("tty");
    let (port, lines, web, broker) = (free_port(), free_port(), free_port(), free_port());
    let _units = Units::on(port).await;
    let yaml = format!(
        "gateway: {{ id: leaks, data_dir: data }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{broker}'] }}\n\
         web: {{ listen: '127.0.0.1:{web}' }}\n\
         buses:\n\
         \x20 line: {{ serial: {}, protocol: modbus-rtu, timeout: 100ms }}\n\
         \x20 net: {{ tcp: '127.0.0.1:{lines}', protocol: modbus-rtu, timeout: 100ms }}\n\
         devices:\n\
         \x20 pump: {{ bus: line, unit_id: 7, poll: 100ms, points: {{ flow: {{ holding: 1 }} }} }}\n\
         \x20 fan: {{ bus: net, unit_id: 7, poll: 100ms, points: {{ speed: {{ holding: 1 }} }} }}\n",
        tty.display()
    );
    let gateway = GatewayProcess::start(folder.path(), &yaml, broker);
    let mut before = (0, 0);
    for n in 0..TIMES {
        let (cable, units) = (Cable::plug_in(&tty, port), Units::on(lines).await);
        tokio::task::block_in_place(|| until_online(web, 2));
        if n == TIMES / 4 {
            before = holdings(gateway.id());
        } else if n + 1 == TIMES {
            let (descriptors, resident) = holdings(gateway.id());
            assert!(descriptors <= before.0 + 2, "{} descriptors have become {descriptors}", before.0);
            assert!(resident <= before.1 + 2048, "{} KiB have become {resident}", before.1);
        }
        cable.unplug(&tty);
        drop(units);
        tokio::task::block_in_place(|| until_online(web, 0));
    }
    gateway.kill();
}

/// Descriptors of this process that are of this kind: other tests have theirs open meanwhile, but none of these.
fn descriptors(of: impl Fn(&Path) -> bool) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    all.filter(|target| of(target)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pty_that_goes_twenty_times_is_polled_again_within_two_seconds_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("tty");
    let port = free_port();
    let _units = Units::on(port).await;
    let mut cable = Cable::plug_in(&path, port);
    let mut field = Field::start(&line(&format!("serial: {}", path.display())));
    field.until("flow=42").await;
    let timers = descriptors(|target| target.to_string_lossy().contains("timerfd"));
    for n in 0..TIMES {
        cable.unplug(&path);
        assert_eq!(field.until_online(false).await, Some(Fault::Disconnected), "time {n}");
        cable = Cable::plug_in(&path, port);
        let plugged = Instant::now();
        field.until_online(true).await;
        assert!(plugged.elapsed() < BACK_WITHIN, "time {n}: {:?}", plugged.elapsed());
        field.until("flow=42").await;
    }
    let terminals =
        descriptors(|target| target.starts_with("/dev/pts/") && target.to_string_lossy().contains("deleted"));
    assert_eq!(terminals, 0, "ptys that are gone are still open");
    let now = descriptors(|target| target.to_string_lossy().contains("timerfd"));
    assert!(now <= timers + 8, "{timers} timers have become {now}");
    field.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_line_that_goes_twenty_times_is_polled_again_within_two_seconds_each_time() {
    let port = free_port();
    let mut units = Units::on(port).await;
    let mut field = Field::start(&line(&format!("tcp: '127.0.0.1:{port}'")));
    field.until("flow=42").await;
    for n in 0..TIMES {
        drop(units);
        assert_eq!(field.until_online(false).await, Some(Fault::Disconnected), "time {n}");
        units = Units::on(port).await;
        let back = Instant::now();
        field.until_online(true).await;
        assert!(back.elapsed() < BACK_WITHIN, "time {n}: {:?}", back.elapsed());
        field.until("flow=42").await;
    }
    field.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_returns_under_another_name_is_found_through_its_link() {
    let folder = tempfile::tempdir().unwrap();
    let (link, one, other) = (folder.path().join("by-id"), folder.path().join("tty0"), folder.path().join("tty1"));
    let port = free_port();
    let _units = Units::on(port).await;
    let cable = Cable::plug_in(&one, port);
    symlink(&one, &link).unwrap();
    let mut field = Field::start(&line(&format!("serial: {}", link.display())));
    field.until("flow=42").await;
    cable.unplug(&one);
    field.until_online(false).await;
    let _cable = Cable::plug_in(&other, port);
    fs::remove_file(&link).unwrap();
    symlink(&other, &link).unwrap();
    field.until("flow=42").await;
    field.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_another_program_holds_is_said_and_used_once_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tty");
    let port = free_port();
    let _units = Units::on(port).await;
    let _cable = Cable::plug_in(&path, port);
    let holder = tokio_serial::new(path.to_str().unwrap(), 9600);
    let holder = tokio_serial::SerialPortBuilderExt::open_native_async(holder).unwrap();
    let mut field = Field::start(&line(&format!("serial: {}", path.display())));
    assert_eq!(field.until_online(false).await, Some(Fault::Disconnected));
    let why = field.status.borrow().state.clone();
    assert!(matches!(&why, BusState::Down(why) if why.contains("another program holds this port")), "{why:?}");
    drop(holder);
    let free = Instant::now();
    field.until("flow=42").await;
    assert!(free.elapsed() < BACK_WITHIN, "{:?}", free.elapsed());
    field.stop().await;
}
