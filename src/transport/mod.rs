//! Streams under MQTT other than plain TCP: TLS and WebSocket. The only folder that names rustls, tungstenite and x509-parser.
//!
//! It is given bytes of certificate files and connected streams, and gives back streams of MQTT bytes. It opens no file and no socket,
//! knows no user and no packet, and waits for nobody longer than its caller does.

mod certificate;
mod material;
mod tls;
mod tls_client;
mod tls_problem;
mod websocket;
mod websocket_client;
mod whole;

pub use certificate::{Doubt, NoName};
pub use material::{ClientMaterial, MaterialError, Part, ServerMaterial};
pub use tls::{Accepted, HandshakeError, ServerTls};
pub use tls_client::{ClientTls, is_server_name};
pub use tls_problem::TlsProblem;
pub use websocket::{UpgradeError, WebSocket, accept as accept_websocket};
pub use websocket_client::{NoUpgrade, connect as connect_websocket};
pub use whole::Whole;
