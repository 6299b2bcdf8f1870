//! What is true: the checked configuration that the rest of the gateway is built from.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Bus, Device, Filter, Name, Topic};
pub use crate::model::{Durability, WhenFull};
use crate::password::PasswordHash;
use crate::route::{AcceptRule, ForwardRule};

/// A whole, checked configuration. Names are unique, references exist, numbers are in range.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// `gateway:`
    pub gateway: GatewayConfig,
    /// `broker:`
    pub broker: BrokerConfig,
    /// `web:`; `None` when it is not there.
    pub web: Option<WebConfig>,
    /// `buses:`, in the order of the file.
    pub buses: Vec<Bus>,
    /// `devices:`, in the order of the file.
    pub devices: Vec<Device>,
    /// `uplinks:`, in the order of the file.
    pub uplinks: Vec<UplinkConfig>,
}

/// `gateway:`
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Default: the host name.
    pub id: Name,
    /// Default: `fieldway/<id>`.
    pub topic_root: Topic,
    /// Holds `queue.db`. Relative paths are relative to the file.
    pub data_dir: PathBuf,
}

/// `broker:`
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Where clients connect; at least one, all on loopback while there are no users. Default: `mqtt://127.0.0.1:1883`.
    pub listeners: Vec<ListenerConfig>,
    /// Told to MQTT 5 clients, in whole seconds from 1 to 65,535.
    pub server_keep_alive: Option<Duration>,
    /// For how long the session of a client that is away is kept, and the most that an MQTT 5 client may ask for; default 7 days.
    pub session_expiry: Duration,
    /// Who may do what; without any, everybody everything. Names are unique.
    pub users: Vec<UserConfig>,
    /// `limits:`
    pub limits: LimitsConfig,
}

impl Default for BrokerConfig {
    /// No listener and no user, sessions for a week.
    fn default() -> BrokerConfig {
        BrokerConfig {
            listeners: Vec::new(),
            server_keep_alive: None,
            session_expiry: Duration::from_secs(7 * 86_400),
            users: Vec::new(),
            limits: LimitsConfig::default(),
        }
    }
}

/// One listener of the broker.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// The address as the file has it, for messages.
    pub url: String,
    /// Where to bind.
    pub address: SocketAddr,
    /// The path of a WebSocket listener; `None` for MQTT right on the connection.
    pub web_socket: Option<String>,
    /// `mqtts://` and `wss://`.
    pub tls: Option<TlsFiles>,
    /// Where the file says so; `None` for a default.
    pub place: Option<Place>,
}

impl ListenerConfig {
    /// `mqtt://ADDRESS`, without a place in a file.
    pub fn plain(address: SocketAddr) -> ListenerConfig {
        ListenerConfig { url: format!("mqtt://{address}"), address, web_socket: None, tls: None, place: None }
    }
}

/// The files of a listener with TLS. All PEM; their contents are looked at when the file is checked, and read again when the broker starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub private_key: PathBuf,
    /// The authorities of clients' certificates; with it, clients must show one.
    pub client_ca: Option<PathBuf>,
}

/// The name of the user whose rights clients without a login have, on loopback listeners.
pub const ANONYMOUS: &str = "anonymous";

/// One entry of `broker.users`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserConfig {
    /// What the client calls itself, or the common name of its certificate.
    pub name: String,
    /// Without it, the user comes by certificate alone; [`ANONYMOUS`] has none.
    pub password_hash: Option<PasswordHash>,
    /// What it may subscribe to. In these lists `%u` is the user and `%c` the client id.
    pub may_subscribe: Vec<Filter>,
    /// What it may publish.
    pub may_publish: Vec<Filter>,
    /// What it may neither, whatever the other two say.
    pub deny: Vec<Filter>,
}

/// `limits:` of the broker; `None` is the broker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Clients connected at once.
    pub connections: Option<usize>,
    /// Bytes of a packet.
    pub packet_size: Option<usize>,
    /// QoS 1 and 2 messages in flight to a client, 1 to 4,000.
    pub in_flight: Option<u16>,
    /// Those in flight from a client, 1 to 65,535.
    pub receive_maximum: Option<u16>,
    /// Messages in memory for one client, and their bytes.
    pub queue_messages: Option<usize>,
    /// See `queue_messages`.
    pub queue_size: Option<usize>,
    /// Bytes of the messages in memory for all clients together.
    pub queues_size: Option<usize>,
    /// How long a client with a full queue may take nothing.
    pub stalled_after: Option<Duration>,
    /// Sessions kept.
    pub sessions: Option<usize>,
    /// Messages on disk for one session, and their bytes.
    pub session_messages: Option<usize>,
    /// See `session_messages`.
    pub session_size: Option<usize>,
    /// Subscriptions of one client.
    pub subscriptions: Option<usize>,
    /// Levels of a topic or filter.
    pub topic_levels: Option<usize>,
    /// Retained messages, and their bytes.
    pub retained_messages: Option<usize>,
    /// See `retained_messages`.
    pub retained_size: Option<usize>,
    /// Connections from one address other than loopback.
    pub connections_per_address: Option<usize>,
    /// From the connection to a whole CONNECT, TLS and WebSocket handshakes included.
    pub connect_timeout: Option<Duration>,
}

/// `web:`
#[derive(Debug, Clone)]
pub struct WebConfig {
    /// Where to bind. Beyond loopback, users of the broker log in.
    pub listen: SocketAddr,
    /// Where the file says so.
    pub place: Place,
}

/// A place in a configuration file, for errors that only show at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named on the command line.
    pub file: PathBuf,
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One entry of `uplinks:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkConfig {
    /// The key.
    pub name: Name,
    /// `url:`, at least one and each once; all of them encrypted, or none.
    pub servers: Vec<ServerConfig>,
    /// What encrypted connections trust and show.
    pub tls: UplinkTls,
    /// Default: the gateway's id.
    pub client_id: String,
    /// Sent in CONNECT.
    pub username: Option<String>,
    /// From `password_file:` or `${NAME}`.
    pub password: Option<Secret>,
    /// `password_file:`, which may hold another one by the next connection.
    pub password_file: Option<PathBuf>,
    /// `mqtt_version:`, default 5.
    pub version: MqttVersion,
    /// `keep_alive:`, default 60 s, in whole seconds from 1 to 65,535.
    pub keep_alive: Duration,
    /// Most messages in flight, 1 to 10,000; default 100.
    pub window: u16,
    /// `rate_limit:`; `None` without.
    pub rate_limit: Option<Rate>,
    /// `queue:`
    pub queue: QueueConfig,
    /// `forward:`, in the order of the file; the first that matches wins.
    pub forward: Vec<ForwardRule>,
    /// `accept:`, likewise.
    pub accept: Vec<AcceptRule>,
    /// Where the file has it.
    pub place: Option<Place>,
}

/// One address of `url:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Host name or address; IPv6 without brackets.
    pub host: String,
    /// Default: 1883 for mqtt, 8883 for mqtts, 80 for ws, 443 for wss.
    pub port: u16,
    /// `mqtts` or `wss`.
    pub encrypted: bool,
    /// The path and query of `ws` and `wss`, beginning with `/`.
    pub web_socket: Option<String>,
}

impl ServerConfig {
    /// A server without encryption and WebSocket.
    pub fn plain(host: impl Into<String>, port: u16) -> ServerConfig {
        ServerConfig { host: host.into(), port, encrypted: false, web_socket: None }
    }

    /// `host:port`, as HTTP and people write it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for ServerConfig {
    /// Without the path, whose query may hold what is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (&self.web_socket, self.encrypted) {
            (None, false) => "mqtt",
            (None, true) => "mqtts",
            (Some(_), false) => "ws",
            (Some(_), true) => "wss",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// What the encrypted connections of an uplink trust and show. The files can be read and are what they should be when the configuration is
/// read, and are read again for each connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UplinkTls {
    /// `ca:`; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// `certificate:` and `private_key:`.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `alpn:`
    pub alpn: Option<String>,
    /// `server_name:`; `None`: the host of the address.
    pub server_name: Option<String>,
}

/// So many messages in so long a time, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// 1 to 1,000,000.
    pub messages: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
}

/// MQTT protocol level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum MqttVersion {
    V311,
    V5,
}

/// `queue:` of an uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// Bytes that its messages may take; default 2 GiB.
    pub max_size: u64,
    /// Older messages are dropped; default 30 days.
    pub max_age: Duration,
    /// What goes when it is full.
    pub when_full: WhenFull,
    /// What a commit survives.
    pub durability: Durability,
    /// The longest that a message waits for its commit; default 250 ms.
    pub commit_every: Duration,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text, for the packet that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
