//! `fieldway write`: sets one point of a running gateway, and tells what came of it.
//!
//! It sends the same command that any other client would, over the gateway's control socket, or over its broker as a user, so the same limits
//! hold and the same log line is written. It never opens the bus itself: a port that the gateway polls must not have a second master.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::BytesMut;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::check::{DEFAULT_FILE, look};
use super::control::{self, ControlError};
use super::{FAILED, MISUSED};
use crate::config::{self, Config};
use crate::model::{Filter, Message, QoS, Topic};
use crate::mqtt::{Codec, Connect, Packet, Publish, Reason, Subscribe, SubscribeOptions, Version};
use crate::random;

/// The largest packet that is taken.
const MAX_PACKET: usize = 1 << 20;

/// Sets a point of a running gateway and waits for the result. Exit 0 when it is done, 1 when it is not.
#[derive(Debug, clap::Args)]
pub struct WriteArgs {
    /// The device, as the configuration calls it
    pub device: String,
    /// The point
    pub point: String,
    /// What it is to become: a JSON value such as 45, true or '{"heat":true}'; a bare word is a text
    #[arg(allow_hyphen_values = true)]
    pub value: String,
    /// The configuration of the running gateway
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub config: PathBuf,
    /// Log in to the broker as this user
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub username: Option<String>,
    /// The file that holds the user's password
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
    /// How long to wait for the result, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub timeout: u64,
    /// Print the result to standard output as JSON
    #[arg(long)]
    pub json: bool,
}

/// Sends the command and prints its result.
pub fn run(args: &WriteArgs) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(report) => {
            eprint!("{}", report.render(look()));
            return Ok(ExitCode::from(MISUSED));
        }
    };
    if let Err(complaint) = find(&config, args) {
        eprintln!("fieldway: {complaint}");
        return Ok(ExitCode::from(MISUSED));
    }
    let payload = match through_socket(&config, args)? {
        Some(payload) => payload,
        None => super::block_on(command(&config, args))??,
    };
    let result: Answer<'_> = serde_json::from_str(&payload).context("the gateway's result makes no sense")?;
    let text = if args.json { payload.clone() } else { sentence(args, &result) };
    writeln!(io::stdout(), "{text}")?;
    Ok(if result.status == "done" { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// A result, with its value as it was written: every digit of it.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    status: String,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    error: Option<String>,
}

/// That the point is there and may be written; the gateway checks the rest.
fn find(config: &Config, args: &WriteArgs) -> Result<(), String> {
    let names = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let Some(device) = config.devices.iter().find(|device| device.name.as_str() == args.device) else {
        let all = config.devices.iter().map(|device| device.name.as_str()).collect();
        return Err(format!("there is no device `{}`; there are {}", args.device, names(all)));
    };
    let writable = device.points.iter().filter(|point| point.write.is_some());
    let writable = names(writable.map(|point| point.name.as_str()).collect());
    match device.points.iter().find(|point| point.name.as_str() == args.point) {
        Some(point) if point.write.is_some() => Ok(()),
        Some(_) => {
            Err(format!("`{}` is read only; `write: true` makes it writable. Writable are {writable}", args.point))
        }
        None => Err(format!("`{}` has no point `{}`; writable are {writable}", args.device, args.point)),
    }
}

fn sentence(args: &WriteArgs, result: &Answer<'_>) -> String {
    let mut text = format!("{} {}: {}", args.device, args.point, result.status);
    if let Some(error) = &result.error {
        text += &format!(": {error}");
    } else if let Some(value) = result.value {
        text += &format!(", and reads {value}");
    }
    text
}

/// The payload of the result; `None` when the socket is not for whoever runs this, and the broker may be.
fn through_socket(config: &Config, args: &WriteArgs) -> anyhow::Result<Option<String>> {
    if args.username.is_some() {
        return Ok(None);
    }
    let id = format!("write-{:032x}", random::unique());
    let body = json!({
        "device": args.device, "point": args.point, "payload": payload(&args.value, &id), "id": id, "seconds": args.timeout,
    });
    // The gateway waits for the result; this for the gateway.
    match control::order(config, "command", &body, Duration::from_secs(args.timeout.saturating_add(5))) {
        Ok(answer) => {
            answer["result"].as_str().map(str::to_owned).context("the gateway's answer makes no sense").map(Some)
        }
        Err(ControlError::NotRunning { .. } | ControlError::Denied { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The command as a message has it.
fn payload(value: &str, id: &str) -> String {
    let value = match serde_json::from_str::<&RawValue>(value) {
        Ok(json) => json.get().to_owned(),
        Err(_) => Value::from(value).to_string(),
    };
    format!("{{\"value\":{value},\"id\":\"{id}\"}}")
}

async fn command(config: &Config, args: &WriteArgs) -> anyhow::Result<String> {
    let waited = tokio::time::timeout(Duration::from_secs(args.timeout), send(config, args)).await;
    waited.unwrap_or_else(|_| bail!("no result within {} s: it may or may not be done", args.timeout))
}

/// The payload of the result.
async fn send(config: &Config, args: &WriteArgs) -> anyhow::Result<String> {
    let stem = format!("{}/{}/{}", config.gateway.topic_root, args.device, args.point);
    let id = format!("write-{:032x}", random::unique());
    let quoted = format!("\"{id}\"");
    let mut client = Client::connect(broker(config)?, args, &id).await?;
    client.subscribe(&format!("{stem}/result")).await?;
    let payload = payload(&args.value, &id);
    let command = Message::new(Topic::new(&format!("{stem}/set"))?, payload, QoS::AtLeastOnce, false);
    client.send(&Packet::Publish(Publish::new(&command, 2))).await?;
    loop {
        match client.receive().await? {
            Packet::PubAck(ack) if ack.reason.is_failure() => {
                bail!("the broker does not take the command ({}); may this user publish on {stem}/set?", ack.reason)
            }
            Packet::PubAck(ack) if ack.reason == Reason::NO_MATCHING_SUBSCRIBERS => {
                bail!("the broker took the command and nobody obeys it; is it the broker of this gateway?")
            }
            Packet::Publish(publish) => {
                let payload = String::from_utf8_lossy(&publish.payload).into_owned();
                let is_ours = serde_json::from_str::<Answer<'_>>(&payload)
                    .is_ok_and(|result| result.id.is_some_and(|of| of.get() == quoted));
                if is_ours {
                    return Ok(payload);
                }
            }
            Packet::Disconnect(_) => bail!("the gateway has ended the connection: it may or may not be done"),
            _ => {}
        }
    }
}

/// The broker's first listener that is reached without TLS and WebSocket.
fn broker(config: &Config) -> anyhow::Result<SocketAddr> {
    let plain = config.broker.listeners.iter().find(|listener| listener.url.starts_with("mqtt://"));
    let mut address = plain.context("the broker has no `mqtt://` listener, which this command needs")?.address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

struct Client {
    stream: TcpStream,
    codec: Codec,
    inbox: BytesMut,
}

impl Client {
    async fn connect(broker: SocketAddr, args: &WriteArgs, id: &str) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(broker).await.with_context(|| {
            format!("can't reach the gateway's broker on {broker}; does the gateway run? Only a running one writes")
        })?;
        let codec = Codec::client(Version::V5, MAX_PACKET);
        let mut client = Client { stream, codec, inbox: BytesMut::new() };
        let mut connect = Connect::new(Version::V5, format!("fieldway-{id}"));
        connect.username = args.username.clone();
        if let Some(file) = &args.password_file {
            let password = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
            connect.password = Some(password.trim_end_matches(['\r', '\n']).to_owned().into());
        }
        client.send(&Packet::Connect(Box::new(connect))).await?;
        match client.receive().await? {
            Packet::ConnAck(ack) if !ack.reason.is_failure() => Ok(client),
            Packet::ConnAck(ack) => Err(anyhow!(
                "the broker on {broker} does not let this command in ({}); are --username and --password-file right?",
                ack.reason
            )),
            other => Err(anyhow!("the broker on {broker} answers with {other:?}")),
        }
    }

    async fn subscribe(&mut self, topic: &str) -> anyhow::Result<()> {
        let filters = vec![(Filter::new(topic)?, SubscribeOptions::new(QoS::AtMostOnce))];
        let subscribe = Subscribe { packet_id: 1, subscription_id: None, filters, user: Vec::new() };
        self.send(&Packet::Subscribe(subscribe)).await?;
        match self.receive().await? {
            Packet::SubAck(ack) if ack.reasons.iter().all(|reason| !reason.is_failure()) => Ok(()),
            _ => bail!("the broker refuses the subscription to {topic}; may this user subscribe to it?"),
        }
    }

    async fn send(&mut self, packet: &Packet) -> anyhow::Result<()> {
        let mut wire = BytesMut::new();
        self.codec.encode(packet, &mut wire)?;
        self.stream.write_all(&wire).await.context("the connection to the broker broke")
    }

    async fn receive(&mut self) -> anyhow::Result<Packet> {
        loop {
            if let Some(packet) = self.codec.decode(&mut self.inbox)? {
                return Ok(packet);
            }
            let read = self.stream.read_buf(&mut self.inbox).await.context("the connection to the broker broke")?;
            if read == 0 {
                bail!("the broker has closed the connection");
            }
        }
    }
}
