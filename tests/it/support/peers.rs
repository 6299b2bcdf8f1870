//! Independent programs that the gateway talks to: mosquitto's clients, and the Python scripts of `tests/peers`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The longest that a test waits for a peer's next line.
const LINE_WITHIN: Duration = Duration::from_secs(120);

/// A running program that prints lines. Dropping it kills it.
pub struct Peer {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Peer {
    /// Starts `tests/peers/<script>` with the interpreter that `tests/run` prepared.
    pub fn start(script: &str, args: &[String]) -> Peer {
        let python = std::env::var("FIELDWAY_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
        Peer::spawn(&python, Command::new(&python).arg(path).args(args))
    }

    /// The same with `docs/examples/<script>`.
    pub fn example(script: &str, args: &[String]) -> Peer {
        let python = std::env::var("FIELDWAY_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(script);
        Peer::spawn(&python, Command::new(&python).arg(path).args(args))
    }

    /// The same with Node.js; its packages are where `tests/run` installs them, or in `FIELDWAY_TEST_NODE_MODULES`.
    pub fn node(script: &str, args: &[String]) -> Peer {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let packages = std::env::var_os("FIELDWAY_TEST_NODE_MODULES")
            .map_or_else(|| root.join("target/test-node/node_modules"), Into::into);
        assert!(packages.is_dir(), "there is no {}; ./tests/run installs it", packages.display());
        let command = &mut Command::new("node");
        Peer::spawn("node", command.arg(root.join("tests/peers").join(script)).args(args).env("NODE_PATH", packages))
    }

    /// Starts `mosquitto_sub` on `port`, printing `topic payload` a line.
    pub fn mosquitto_sub(port: u16, args: &[&str]) -> Peer {
        let command = &mut Command::new("mosquitto_sub");
        Peer::spawn("mosquitto_sub", command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-v"]).args(args))
    }

    fn spawn(name: &str, command: &mut Command) -> Peer {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; ./tests/run installs what the tests need"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = mpsc::channel();
        // Ends with the peer, or with the test that no longer listens.
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Peer { child, lines }
    }

    /// The next line that it prints; fails the test when it ends instead, or is silent for two minutes.
    pub fn line(&mut self) -> String {
        self.lines.recv_timeout(LINE_WITHIN).unwrap_or_else(|why| {
            let status = self.child.try_wait();
            panic!("no line from the peer ({why}, {status:?}); ./tests/run installs what it needs")
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
