//! Who comes in, and how: TLS, WebSocket, users and their rights, on real sockets with other people's clients.

mod silent;
mod tls;
mod users;
mod websocket;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use fieldway::broker::Limits;
use fieldway::config::{BrokerConfig, ListenerConfig, TlsFiles, UserConfig};
use fieldway::model::Filter;
use fieldway::password::PasswordHash;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::mqtt::{PATIENCE, TestBroker, start_with};

/// A listener on a free port of loopback.
fn listener(web_socket: Option<&str>, tls: Option<&TlsFiles>) -> ListenerConfig {
    ListenerConfig {
        web_socket: web_socket.map(Into::into),
        tls: tls.cloned(),
        ..ListenerConfig::plain(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

fn broker(listeners: Vec<ListenerConfig>, users: Vec<UserConfig>) -> TestBroker {
    broker_within(Limits::default(), listeners, users)
}

fn broker_within(limits: Limits, listeners: Vec<ListenerConfig>, users: Vec<UserConfig>) -> TestBroker {
    start_with(&BrokerConfig { listeners, users, ..BrokerConfig::default() }, limits, Vec::new())
}

fn filters(texts: &[&str]) -> Vec<Filter> {
    texts.iter().map(|text| Filter::new(text).unwrap()).collect()
}

/// A user who may do nothing yet. The hash is a cheap one.
fn user(name: &str, password: Option<&str>) -> UserConfig {
    // Of "password", from the tests of argon2's reference implementation: cheap to check.
    const CHEAP: &str = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc";
    let hash = password.map(|password| match password {
        "password" => PasswordHash::parse(CHEAP).unwrap(),
        other => PasswordHash::of(other.as_bytes(), *b"sixteen byte salt".first_chunk().unwrap()),
    });
    UserConfig { name: name.into(), password_hash: hash, may_subscribe: vec![], may_publish: vec![], deny: vec![] }
}

/// Runs a program to its end.
async fn output(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(2 * PATIENCE, command.output()).await.expect("the peer did not end");
    output.unwrap_or_else(|error| panic!("{program}: {error}; ./tests/run installs what the tests need"))
}

/// Sends a hundred messages through a listener and back with paho; returns how it ended and what it printed.
async fn paho(address: SocketAddr, more: &Value) -> (Option<i32>, String) {
    let mut given = json!({ "port": address.port(), "version": "5", "count": 100 });
    more.as_object().unwrap().iter().for_each(|(key, value)| given[key] = value.clone());
    let python = std::env::var("FIELDWAY_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/echo_through.py");
    let output = output(&python, &[script, &given.to_string()]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
