//! `fieldway status` against the real process: what it shows, how it ends, and what it says when there is nobody to ask.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::support::gateway::{FIELDWAY, GatewayProcess};
use crate::support::wait::{free_port, wait_for};

fn status(folder: &Path, more: &[&str]) -> Output {
    let config = folder.join("gateway.yaml");
    let mut command = Command::new(FIELDWAY);
    command.arg("status").arg("--config").arg(config).args(more).env_remove("NO_COLOR").output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn json(folder: &Path) -> Value {
    let output = status(folder, &["--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
}

#[test]
fn a_gateway_that_is_well_says_so_and_its_socket_is_for_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let (port, web) = (free_port(), free_port());
    // No address of a socket has room for this path.
    let data = format!("{}/{}", "d".repeat(80), "e".repeat(80));
    let yaml = format!(
        "gateway: {{ id: plant-7, data_dir: {data} }}\n\
         broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         web: {{ listen: '127.0.0.1:{web}' }}\n"
    );
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    wait_for("the control socket", Duration::from_secs(10), || {
        status(folder.path(), &[]).status.success().then_some(())
    });
    let output = status(folder.path(), &[]);
    let page = said(&output);
    assert!(page.contains("gateway plant-7: all is well") && !page.contains('\x1b'), "{page}");
    assert!(page.contains(&format!("configuration {}", folder.path().join("gateway.yaml").display())), "{page}");
    let socket = folder.path().join(data).join("control.sock");
    assert_eq!(fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o660);

    let status = json(folder.path());
    assert_eq!(status["health"]["status"], "ok", "{status}");
    assert_eq!(status["pid"], gateway.id(), "{status}");
    assert!(status["store"]["bytes"].as_u64().unwrap() > 0, "{status}");
    let (code, body) = http(web, "GET", "/api/status");
    assert_eq!(code, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["gateway"], "plant-7");
    assert_eq!(http(web, "GET", "/api/secrets").0, 404);
    assert_eq!(http(web, "POST", "/api/status").0, 405, "over TCP nothing is ordered");
    assert!(gateway.stop().0.success());
}

#[test]
fn what_is_wrong_is_shown_and_is_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (port, nobody) = (free_port(), free_port());
    let yaml = format!(
        "gateway: {{ id: plant-7, data_dir: data }}\n\
         broker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         buses: {{ line1: {{ tcp: '127.0.0.1:{nobody}', protocol: modbus-tcp }} }}\n\
         devices: {{ boiler: {{ bus: line1, unit_id: 1, points: {{ flow: {{ holding: 1 }}, heat: {{ holding: 2 }} }} }} }}\n\
         uplinks: {{ cloud: {{ url: 'mqtt://127.0.0.1:{nobody}', forward: [{{ topic: 'fieldway/#' }}] }} }}\n"
    );
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let page = wait_for("the bus and the uplink to fail", Duration::from_secs(20), || {
        let output = status(folder.path(), &[]);
        let page = said(&output);
        let is_told = page.contains("bus line1 is down") && page.contains("uplink cloud is offline");
        is_told.then(|| {
            assert_eq!(output.status.code(), Some(1), "{page}");
            page
        })
    });
    for expected in ["line1", "down", "boiler", "disconnected", "0/2 good", "cloud", "offline", "QUEUED"] {
        assert!(page.contains(expected), "{expected}:\n{page}");
    }
    let queued = wait_for("messages in the queue", Duration::from_secs(10), || {
        json(folder.path())["queues"]["cloud"]["depth"].as_u64().filter(|depth| *depth > 0)
    });
    assert!(queued > 0);
    assert_eq!(json(folder.path())["devices"]["boiler"]["points"]["faults"]["flow"], "disconnected");

    // The file of a gateway that runs may become wrong; it is asked all the same.
    fs::write(folder.path().join("gateway.yaml"), yaml.replace("unit_id: 1", "unit_id: 999")).unwrap();
    let output = status(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("has problems") && said(&output).contains("line1"), "{}", said(&output));
    gateway.kill();
}

#[test]
fn without_a_gateway_it_says_so_and_a_killed_ones_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let yaml = format!("gateway: {{ id: p, data_dir: data }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n");
    fs::write(folder.path().join("gateway.yaml"), &yaml).unwrap();
    let output = status(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no gateway runs"), "{}", said(&output));
    assert_eq!(json(folder.path())["running"], false);
    for _ in 0..2 {
        let gateway = GatewayProcess::start(folder.path(), &yaml, port);
        wait_for("an answer", Duration::from_secs(10), || status(folder.path(), &[]).status.success().then_some(()));
        gateway.kill();
        let output = status(folder.path(), &[]);
        assert!(said(&output).contains("nobody listens"), "{}", said(&output));
    }
    fs::write(folder.path().join("gateway.yaml"), "gateway: [\n").unwrap();
    assert_eq!(status(folder.path(), &[]).status.code(), Some(2));
}

fn http(port: u16, method: &str, path: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}
