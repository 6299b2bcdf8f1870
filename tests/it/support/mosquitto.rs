//! A real mosquitto as the cloud, in a folder and on a port of its own, and mosquitto_sub as an independent pair of eyes.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::wait::{free_port, wait_for};

/// Everything that is waited for comes within this or never.
const PATIENCE: Duration = Duration::from_secs(60);

const MISSING: &str =
    "mosquitto, mosquitto_sub and mosquitto_pub are needed; ./tests/run says how to install what the tests need";

/// A broker process. It is killed when this is dropped.
pub struct Mosquitto {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// A broker that anyone may use and that keeps its sessions and messages, if not at `kill -9` then at [`Mosquitto::stop`].
    pub fn start() -> Mosquitto {
        Mosquitto::with("allow_anonymous true\npersistence true\n", free_port())
    }

    /// The same, forgetting everything when it ends.
    pub fn forgetful() -> Mosquitto {
        Mosquitto::with("allow_anonymous true\npersistence false\n", free_port())
    }

    /// A broker on `port` with these lines in its configuration. `{folder}` in them is the broker's own.
    pub fn with(lines: &str, port: u16) -> Mosquitto {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().display().to_string();
        let lines = lines.replace("{folder}", &at);
        let in_flight = if lines.contains("max_inflight_messages") { "" } else { "max_inflight_messages 1000\n" };
        // `user root` counts only when root runs the tests: mosquitto would become another user, who may not write here.
        let config = format!(
            "listener {port} 127.0.0.1\n{lines}user root\npersistence_location {at}/\nautosave_interval 1\n\
             max_queued_messages 0\n{in_flight}set_tcp_nodelay true\nlog_dest file {at}/log\nlog_type all\n"
        );
        std::fs::write(folder.path().join("mosquitto.conf"), config).expect("written");
        let mut broker = Mosquitto { folder, port, child: None };
        broker.start_again();
        broker
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The port of [`Mosquitto::address`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its own folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it again after [`Mosquitto::stop`] or [`Mosquitto::kill`], on the same port with what it kept.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let program =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].map(PathBuf::from).into_iter().find(|p| p.exists());
        let child = Command::new(program.unwrap_or_else(|| "mosquitto".into()))
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect(MISSING));
        let address = self.address();
        wait_for("mosquitto to listen", PATIENCE, || TcpStream::connect(address).ok());
    }

    /// Ends it in order: it writes what it keeps.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let kill = Command::new("kill").arg(child.id().to_string()).status();
        assert!(kill.expect("kill runs").success());
        child.wait().expect("it ends");
    }

    /// Waits until it has read every byte that was sent to it.
    pub fn has_read_all(&self) {
        wait_for("mosquitto to read what was sent to it", PATIENCE, || (unread_at(self.port) == 0).then_some(()));
    }

    /// Publishes `payload` at QoS 0 through a client of its own.
    pub fn publish(&self, topic: &str, payload: &str) {
        let port = self.port.to_string();
        let status = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port, "-t", topic, "-m", payload])
            .status()
            .expect(MISSING);
        assert!(status.success(), "mosquitto_pub ended with {status}");
    }

    /// Has it write all that it keeps, and waits until it has.
    pub fn save(&self) {
        let file = self.folder.path().join("mosquitto.db");
        let written = || std::fs::metadata(&file).ok()?.modified().ok();
        let before = written();
        let child = self.child.as_ref().expect("it runs");
        let signal = Command::new("kill").args(["-USR1", &child.id().to_string()]).status();
        assert!(signal.expect("kill runs").success());
        wait_for("mosquitto to save", PATIENCE, || (written() != before).then_some(()));
    }

    /// Forgets all that it kept. It must not be running.
    pub fn forget(&self) {
        assert!(self.child.is_none(), "it would write it again");
        let _ = std::fs::remove_file(self.folder.path().join("mosquitto.db"));
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        child.kill().expect("it was running");
        child.wait().expect("it ends");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Bytes on their way to a server's `port` on this machine, in the buffers of either end, and connections that it has not accepted. From Linux's
/// table of sockets (Documentation/networking/proc_net_tcp.rst): local and remote address, state, bytes to send and bytes to read.
fn unread_at(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let port = format!(":{port:04X}");
    let unread = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (to_send, to_read) = fields[4].split_once(':').expect("two counts");
        let count = |text| u64::from_str_radix(text, 16).expect("a count");
        let its = if fields[1].ends_with(&port) { count(to_read) } else { 0 };
        its + if fields[2].ends_with(&port) { count(to_send) } else { 0 }
    };
    table.lines().skip(1).map(unread).sum()
}

/// A mosquitto_sub with a persistent session, and all that it received.
pub struct Watcher {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Watcher {
    /// Subscribes to `filter` at QoS 1, and returns when the subscription is there.
    pub fn start(broker: &Mosquitto, client_id: &str, filter: &str) -> Watcher {
        let port = broker.port.to_string();
        let mut child = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port, "-i", client_id, "-c", "-q", "1", "-V", "mqttv5", "-F", "%t %p"])
            .args(["-x", "3600", "-t", filter])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect(MISSING);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let sink = lines.clone();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                sink.lock().expect("nobody panics with it").push(line);
            }
        });
        let watcher = Watcher { child, lines };
        let log = broker.folder().join("log");
        let subscribed = format!("{client_id} 1 {filter}");
        let log = || std::fs::read_to_string(&log).ok();
        wait_for("the watcher to be subscribed", PATIENCE, || log()?.contains(&subscribed).then_some(()));
        watcher
    }

    /// What came so far: topic, a blank, payload.
    pub fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().expect("nobody panics with it")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
