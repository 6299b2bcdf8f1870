//! The gateway as a process: what it starts with, how it stops, and what it says when it can't start.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::support::gateway::{FIELDWAY, GatewayProcess};
use crate::support::peers::Peer;
use crate::support::wait::{free_port, wait_for};

#[test]
fn a_gateway_without_devices_or_with_an_empty_bus_is_a_broker_that_keeps_running() {
    let folder = tempfile::tempdir().unwrap();
    let (port, silent) = (free_port(), TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let plc = silent.local_addr().unwrap();
    for buses in ["", &format!("buses: {{ plc: {{ tcp: '{plc}', protocol: modbus-tcp }} }}\n")] {
        let yaml = format!(
            "gateway: {{ id: idle, data_dir: . }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n{buses}"
        );
        let gateway = GatewayProcess::start(folder.path(), &yaml, port);
        let mut subscriber = Peer::mosquitto_sub(port, &["-t", "fieldway/idle/gateway/state"]);
        assert_eq!(subscriber.line(), "fieldway/idle/gateway/state online");
        let (status, log) = gateway.stop();
        assert!(status.success(), "{status}\n{log}");
        assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
        // It said goodbye to those who listened.
        assert_eq!(subscriber.line(), "fieldway/idle/gateway/state offline");
    }
}

#[test]
fn a_taken_port_is_an_error_that_names_the_line_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let broker = format!("gateway: {{ id: a, data_dir: . }}\nbroker:\n  listeners:\n    - mqtt://127.0.0.1:{port}\n");
    let web = format!(
        "gateway: {{ id: a, data_dir: . }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{}'] }}\nweb:\n  listen: 127.0.0.1:{port}\n",
        free_port()
    );
    for (yaml, place) in [(broker, "gateway.yaml:4:7"), (web, "gateway.yaml:4:11")] {
        let file = folder.path().join("gateway.yaml");
        fs::write(&file, yaml).unwrap();
        let output = Command::new(FIELDWAY).args(["run", "--config"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(place) && said.contains("ss -ltnp"), "{said}");
        assert!(!said.contains("the gateway runs"), "{said}");
        assert_eq!(said.matches("os error").count(), 1, "the cause is told once: {said}");
    }
}

#[test]
fn a_wrong_configuration_is_told_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    fs::write(&file, "gateway: { id: a }\nbrocker: {}\n").unwrap();
    let output = Command::new(FIELDWAY).args(["run", "--config"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("did you mean `broker`?"), "{said}");
}

#[test]
fn a_broker_that_has_nowhere_to_keep_its_state_says_so_and_does_not_listen() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let port = free_port();
    let yaml = format!(
        "gateway: {{ id: a, data_dir: gateway.yaml/data }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n"
    );
    fs::write(&file, yaml).unwrap();
    let output = Command::new(FIELDWAY).args(["run", "--config"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("gateway.yaml/data") && said.contains("gateway.data_dir"), "{said}");
    assert!(!said.contains("the broker listens"), "{said}");
}

#[test]
fn interrupt_and_hangup_are_handled() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let yaml = format!("gateway: {{ id: sig, data_dir: . }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n");
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    wait_for("the signal handlers", Duration::from_secs(5), || {
        gateway.log().contains("the gateway runs").then_some(())
    });
    gateway.signal("HUP");
    wait_for("the word about SIGHUP", Duration::from_secs(5), || {
        gateway.log().contains("was read again").then_some(())
    });
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "it still runs");
    gateway.signal("INT");
    let (status, log) = gateway.ended();
    assert!(status.success(), "{status}\n{log}");
}

#[test]
fn a_second_gateway_on_the_same_data_is_refused_and_the_first_goes_on() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let yaml = |port: u16| {
        format!(
            "gateway: {{ id: twin, data_dir: {} }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
             uplinks: {{ cloud: {{ url: 'mqtt://127.0.0.1:{}', forward: [{{ topic: '#', to: 'x/{{topic}}' }}] }} }}\n",
            folder.path().join("data").display(),
            free_port()
        )
    };
    let port = free_port();
    let first = GatewayProcess::start(folder.path(), &yaml(port), port);
    let second = GatewayProcess::start_unready(other.path(), &yaml(free_port()));
    let (status, log) = second.ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("another") && log.contains("data"), "{log}");
    let (status, log) = first.stop();
    assert!(status.success(), "{log}");
}
