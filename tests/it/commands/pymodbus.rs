//! Commands to an independent Modbus server, over TCP and on a serial line.

use super::*;
use crate::support::peers::Peer;

#[tokio::test]
async fn what_is_written_to_pymodbus_over_tcp_and_rtu_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let holding = |address: u16, kind: &str, order: &str| json!({"table": "holding", "address": address, "type": kind, "byte_order": order, "value": 0});
    let coil = |address: u16| json!({"table": "coil", "address": address, "type": "bool", "byte_order": "ABCD", "value": false});
    let points = [
        holding(0, "u16", "ABCD"),
        holding(1, "i16", "ABCD"),
        holding(2, "u32", "CDAB"),
        holding(4, "i32", "DCBA"),
        holding(6, "f32", "BADC"),
        holding(65_535, "u16", "ABCD"),
        coil(3),
        coil(4),
    ];
    let plant = folder.path().join("plant.json");
    std::fs::write(&plant, json!({"unit_id": 9, "points": points}).to_string()).unwrap();
    let plant = plant.display().to_string();
    let mut tcp = Peer::start("modbus_plant.py", &[plant.clone(), "tcp".into()]);
    let mut rtu = Peer::start("modbus_plant.py", &[plant, "rtu".into()]);
    let device = |name: &str, bus: &str| {
        format!(
            "  {name}:\n    bus: {bus}\n    unit_id: 9\n    points:\n\
             \x20     a: {{ holding: 0, write: true }}\n\
             \x20     b: {{ holding: 1, type: i16, scale: 0.1, write: true }}\n\
             \x20     c: {{ holding: 2, type: u32, byte_order: CDAB, write: true }}\n\
             \x20     d: {{ holding: 4, type: i32, byte_order: DCBA, write: true }}\n\
             \x20     e: {{ holding: 6, type: f32, byte_order: BADC, write: true }}\n\
             \x20     last: {{ holding: 65535, write: true }}\n\
             \x20     bit: {{ holding: 65535, bit: 12, write: true }}\n\
             \x20     on: {{ coil: 3, write: true }}\n\
             \x20     off: {{ coil: 4, write: true }}\n"
        )
    };
    let port = free_port();
    let yaml = format!(
        "gateway: {{ id: t, topic_root: fw, data_dir: data }}\nbroker: {{ listeners: ['mqtt://127.0.0.1:{port}'] }}\n\
         buses:\n\
         \x20 plc: {{ tcp: '127.0.0.1:{}', protocol: modbus-tcp }}\n\
         \x20 line: {{ serial: '{}', protocol: modbus-rtu, baud: 115200 }}\n\
         devices:\n{}{}",
        tcp.line(),
        rtu.line(),
        device("over_tcp", "plc"),
        device("over_rtu", "line")
    );
    let gateway = GatewayProcess::start(folder.path(), &yaml, port);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut client = connect(address, "hmi").await;
    client.subscribe("fw/+/result", QoS::AtMostOnce).await;
    client.subscribe("fw/+/+/result", QoS::AtMostOnce).await;
    for device in ["over_tcp", "over_rtu"] {
        let values = json!({"a": 65535, "b": -3276.8, "c": 4294967295u32, "d": -2147483648, "e": 21.4, "last": 4660, "on": true, "off": false});
        client.publish(&format!("fw/{device}/set"), values.to_string(), QoS::AtMostOnce, false).await;
        let result: Value = serde_json::from_slice(&client.message().await.payload).unwrap();
        assert_eq!((&result["status"], &result["values"]), (&json!("done"), &values), "{device}: {result}");
        // Function 22: the other bits of 0x1234 stay.
        for (value, register) in [("false", 0x0234), ("true", 0x1234)] {
            client.publish(&format!("fw/{device}/bit/set"), value, QoS::AtMostOnce, false).await;
            let result: Value = serde_json::from_slice(&client.message().await.payload).unwrap();
            assert_eq!(result["status"], "done", "{device}: {result}");
            client.publish(&format!("fw/{device}/set"), r#"{"a":1}"#, QoS::AtMostOnce, false).await;
            client.message().await;
            let mut late = connect(address, "late").await;
            late.subscribe(&format!("fw/{device}"), QoS::AtMostOnce).await;
            let mut last = Value::Null;
            while last != register {
                let snapshot: Value = serde_json::from_slice(&late.message().await.payload).unwrap();
                last = snapshot["values"]["last"].clone();
            }
        }
    }
    let (status, log) = gateway.stop();
    assert!(status.success() && !log.contains("WARN") && !log.contains("ERROR"), "{log}");
}
