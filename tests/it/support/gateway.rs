//! The real binary as a process of its own, with its configuration and data in one folder.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::wait::wait_for;

/// The binary under test.
pub const FIELDWAY: &str = env!("CARGO_BIN_EXE_fieldway");

/// A running `fieldway run`. Dropping it kills it.
pub struct GatewayProcess {
    child: Child,
    log: PathBuf,
}

impl GatewayProcess {
    /// Writes `yaml` to `folder/gateway.yaml`, starts the gateway on it and waits until `port` takes connections.
    pub fn start(folder: &Path, yaml: &str, port: u16) -> GatewayProcess {
        let mut gateway = GatewayProcess::start_unready(folder, yaml);
        wait_for("the gateway's listener", Duration::from_secs(20), || {
            if let Some(status) = gateway.child.try_wait().unwrap() {
                panic!("the gateway ended with {status}:\n{}", gateway.log());
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        gateway
    }

    /// The same without waiting.
    pub fn start_unready(folder: &Path, yaml: &str) -> GatewayProcess {
        let config = folder.join("gateway.yaml");
        fs::write(&config, yaml).unwrap();
        let log = folder.join("gateway.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(FIELDWAY)
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        GatewayProcess { child, log }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit status, and what it logged since the folder was made. Fails when it takes more than 6 s.
    pub fn stop(self) -> (ExitStatus, String) {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for its end; the exit status, and what it logged since the folder was made.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let status = wait_for("the gateway's end", Duration::from_secs(6), || self.child.try_wait().unwrap());
        (status, self.log())
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success(), "kill -{name}");
    }

    /// Everything that was logged since the folder was made.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
