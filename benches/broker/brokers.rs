//! The two brokers as processes of their own, each on a free port with a fresh folder.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running broker. Dropping it kills it.
pub struct Process {
    pub name: &'static str,
    pub address: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Process {
    /// The release build of this tree: a gateway with nothing but its broker.
    pub fn fieldway() -> Process {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let config = folder.path().join("gateway.yaml");
        let yaml = format!("gateway: {{ data_dir: data }}\nbroker: {{ listeners: [mqtt://127.0.0.1:{port}] }}\n");
        std::fs::write(&config, yaml).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_fieldway"));
        command.arg("run").arg("--config").arg(config);
        Process::spawn("Fieldway", command, port, folder)
    }

    /// mosquitto from the system, without the limits that would have it drop what it is slow to deliver.
    pub fn mosquitto() -> Process {
        Process::mosquitto_with(|_| "persistence false\n".to_owned())
    }

    /// mosquitto as safe as it can be made: it writes its whole state after every change.
    pub fn saving_mosquitto() -> Process {
        let safe = "persistence true\nautosave_on_changes true\nautosave_interval 1\npersistence_location";
        Process::mosquitto_with(|folder| format!("{safe} {}/\n", folder.display()))
    }

    fn mosquitto_with(more: impl FnOnce(&Path) -> String) -> Process {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let config = folder.path().join("mosquitto.conf");
        let lines = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nlog_type none\nuser root\n\
             max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n{}",
            more(folder.path())
        );
        std::fs::write(&config, lines).expect("written");
        let program = ["/usr/sbin/mosquitto"].into_iter().find(|path| Path::new(path).exists()).unwrap_or("mosquitto");
        let mut command = Command::new(program);
        command.arg("-c").arg(config);
        Process::spawn("mosquitto", command, port, folder)
    }

    fn spawn(name: &'static str, mut command: Command, port: u16, folder: tempfile::TempDir) -> Process {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} can't be started: {error}"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Process { name, address, child, _folder: folder }
    }

    /// The CPU time that it has used so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // Fields 14 and 15, in hundredths of a second; the name in field 2 ends with a bracket.
        let after_name = stat.rsplit(')').next().unwrap_or("");
        let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        Duration::from_millis(10 * ticks.sum::<u64>())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}
