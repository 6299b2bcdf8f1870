//! Streams under MQTT other than plain TCP: TLS and WebSocket. The only folder that names rustls, tungstenite and x509-parser.
//!
//! It is given bytes of certificate files and connected streams, and gives back streams of MQTT bytes. It opens no file and no socket,
//! knows no user and no packet, and waits for nobody longer than its caller does.

mod certificate;
mod material;
mod tls;
mod websocket;
mod whole;

pub use certificate::{Doubt, NoName};
pub use material::{MaterialError, Part, ServerMaterial};
pub use tls::{Accepted, HandshakeError, ServerTls};
pub use websocket::{UpgradeError, WebSocket, accept as accept_websocket};
pub use whole::Whole;
