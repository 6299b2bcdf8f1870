//! Cloud brokers of other makers, each in a folder and on ports of its own: NATS, RabbitMQ and Aedes.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::wait::{free_port, wait_for};

/// RabbitMQ takes ten seconds and more to start.
const PATIENCE: Duration = Duration::from_secs(90);

/// Who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    Nats,
    RabbitMq,
    /// Keeps everything in memory.
    Aedes,
}

/// A broker process, with those that it needs. All of them are killed when this is dropped.
pub struct OtherBroker {
    maker: Maker,
    folder: tempfile::TempDir,
    mqtt: u16,
    /// For what is not MQTT.
    ports: [u16; 2],
    running: Vec<Child>,
}

impl OtherBroker {
    /// Starts one and waits until it takes connections.
    pub fn start(maker: Maker) -> OtherBroker {
        let folder = tempfile::tempdir().expect("a folder");
        let mut broker =
            OtherBroker { maker, folder, mqtt: free_port(), ports: [free_port(), free_port()], running: Vec::new() };
        broker.start_again();
        broker
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.mqtt
    }

    /// Starts it again after [`OtherBroker::kill`], on the same port with what it kept.
    pub fn start_again(&mut self) {
        match self.maker {
            Maker::Nats => self.start_nats(),
            Maker::RabbitMq => self.start_rabbit_mq(),
            Maker::Aedes => self.start_aedes(),
        }
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, self.mqtt).into();
        let log = self.folder.path().join("log");
        wait_for(&format!("{:?} to listen; see {}", self.maker, log.display()), PATIENCE, || {
            if let Some(status) = self.running.last_mut().and_then(|child| child.try_wait().expect("it is ours")) {
                panic!("{:?} ended with {status}: {}", self.maker, std::fs::read_to_string(&log).unwrap_or_default());
            }
            TcpStream::connect(address).ok()
        });
    }

    /// `kill -9`, with every process that it started.
    pub fn kill(&mut self) {
        for child in &mut self.running {
            // Its group: RabbitMQ's script starts the machine that runs it, and more.
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
            let _ = child.wait();
        }
        self.running.clear();
    }

    fn start_nats(&mut self) {
        let at = self.folder.path().display();
        let config = format!(
            "server_name: cloud\nlisten: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{at}/js\" }}\nmqtt {{ listen: \"127.0.0.1:{}\" }}\n",
            self.ports[0], self.mqtt
        );
        std::fs::write(self.folder.path().join("nats.conf"), config).expect("written");
        let program = found(&["/usr/sbin/nats-server", "/usr/bin/nats-server"], "nats-server");
        let mut command = Command::new(program);
        command.arg("-c").arg(self.folder.path().join("nats.conf"));
        self.spawn("nats-server", command);
    }

    fn start_rabbit_mq(&mut self) {
        let [epmd_port, node_port] = self.ports;
        // The port mapper of Erlang, which would stay behind as a daemon if the node had to start it.
        let mut epmd = Command::new("epmd");
        epmd.args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"]);
        self.spawn("epmd, of Erlang,", epmd);
        wait_for("epmd to listen", PATIENCE, || TcpStream::connect((Ipv4Addr::LOCALHOST, epmd_port)).ok());

        let at = |name: &str| self.folder.path().join(name);
        std::fs::write(at("plugins"), "[rabbitmq_mqtt].\n").expect("written");
        let config = format!("listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{}\n", self.mqtt);
        std::fs::write(at("rabbit.conf"), config).expect("written");
        let mut command = Command::new(rabbit_script());
        command
            .env("HOME", self.folder.path())
            .env("RABBITMQ_NODENAME", format!("fieldway{}@localhost", self.mqtt))
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("logs"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbit"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", at("none"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", at("generated"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_DIST_PORT", node_port.to_string())
            .env("ERL_EPMD_PORT", epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        self.spawn("rabbitmq-server", command);
    }

    fn start_aedes(&mut self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let packages = std::env::var_os("FIELDWAY_TEST_NODE_MODULES")
            .map_or_else(|| root.join("target/test-node/node_modules"), Into::into);
        assert!(
            packages.join("aedes").is_dir(),
            "there is no aedes in {}; ./tests/run installs it",
            packages.display()
        );
        let mut command = Command::new("node");
        command.arg(root.join("tests/peers/aedes_broker.cjs")).arg(self.mqtt.to_string()).env("NODE_PATH", packages);
        self.spawn("node", command);
    }

    fn spawn(&mut self, what: &str, mut command: Command) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).expect("a log");
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a log")).stderr(log).process_group(0);
        let child = command.spawn();
        self.running.push(child.unwrap_or_else(|error| panic!("{what} is needed ({error}); ./tests/run installs it")));
    }
}

impl Drop for OtherBroker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian keeps servers where an ordinary user's PATH does not look.
fn found(places: &[&str], name: &str) -> PathBuf {
    places.iter().map(PathBuf::from).find(|path| path.exists()).unwrap_or_else(|| name.into())
}

/// RabbitMQ's own script: Debian's in `/usr/sbin` would become the user `rabbitmq`, who can't write here.
fn rabbit_script() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/rabbitmq/lib").into_iter().flatten().filter_map(Result::ok);
    let script = versions.map(|version| version.path().join("sbin/rabbitmq-server")).find(|script| script.exists());
    script.unwrap_or_else(|| "rabbitmq-server".into())
}
