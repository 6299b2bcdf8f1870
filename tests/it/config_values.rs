//! What a good configuration means: every key reaches the type that the rest of the gateway is built from.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldway::config::{self, Config, Durability, MqttVersion, Outside, ServerConfig, WhenFull};
use fieldway::model::{
    ByteOrder, DataBits, Deadband, Device, Encoding, Half, MaxGap, Naming, Parity, PointType, Protocol, PublishMode,
    QoS, Quirks, RegisterSource, RegisterTable, Report, ReportMode, Sentinel, StopBits, Transport, Write,
};
use fieldway::route::RetainRule;

fn parse(text: &str) -> Result<Config, config::Report> {
    config::parse(text.as_bytes(), Path::new("plant/gateway.yaml"), &Outside::nothing())
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|report| panic!("{report}"))
}

fn titles(text: &str) -> Vec<String> {
    parse(text).expect_err("a wrong configuration").problems().iter().map(|p| p.title.clone()).collect()
}

#[test]
fn every_key_reaches_its_place() {
    let file = Path::new("tests/golden/config/good-everything/gateway.yaml");
    let env = |name: &str| (name == "CLOUD_PASSWORD").then(|| "from the environment".to_string());
    let config = config::load(file, &env).unwrap_or_else(|report| panic!("{report}"));

    assert_eq!(config.gateway.id.as_str(), "plant-7");
    assert_eq!(config.gateway.topic_root.as_str(), "fieldway/plant-7");
    assert_eq!(config.gateway.data_dir, PathBuf::from("tests/golden/config/good-everything/data"));
    let listeners: Vec<String> = config.broker.listeners.iter().map(|l| l.address.to_string()).collect();
    assert_eq!(listeners, ["127.0.0.1:1883", "[::1]:1883"]);
    let place = config.broker.listeners[1].place.as_ref().expect("it is in the file");
    assert_eq!((place.line, place.column), (8, 12));
    assert_eq!(config.broker.server_keep_alive, Some(Duration::from_secs(60)));
    assert_eq!(config.broker.session_expiry, Duration::from_secs(2 * 86_400));
    let web = config.web.expect("web is there");
    assert_eq!((web.listen.to_string().as_str(), web.place.line), ("127.0.0.1:8080", 12));

    let [line1, plc] = config.buses.as_slice() else { panic!("two buses") };
    let Transport::Serial(serial) = &line1.transport else { panic!("a serial line") };
    assert_eq!(
        (serial.baud, serial.data_bits, serial.parity, serial.stop_bits),
        (9_600, DataBits::Eight, Parity::None, StopBits::Two)
    );
    assert_eq!((line1.protocol, line1.retries, line1.max_gap), (Protocol::ModbusRtu, 1, MaxGap::Auto));
    assert_eq!(line1.timeout, Duration::from_millis(500));
    assert_eq!(plc.transport, Transport::Tcp { host: "plc.plant.local".into(), port: 1502 });
    assert_eq!(plc.max_gap, MaxGap::Registers(16));

    let [meter, boiler] = config.devices.as_slice() else { panic!("two devices") };
    assert_eq!((meter.bus.as_str(), meter.unit_id, meter.max_registers), ("line1", 3, 60));
    assert_eq!(meter.publish.mode, PublishMode::Both);
    let registers = |device: &Device| -> Vec<RegisterSource> {
        device.points.iter().map(|point| point.register().expect("a Modbus device").clone()).collect()
    };
    let names = meter.points.iter().map(|point| point.name.as_str());
    let points: Vec<_> =
        names.zip(registers(meter)).map(|(name, r)| (name, r.table, r.address, r.kind, r.byte_order)).collect();
    assert_eq!(
        points,
        [
            ("energy", RegisterTable::Input, 342, PointType::F32, ByteOrder::Cdab),
            ("power", RegisterTable::Input, 52, PointType::F32, ByteOrder::Abcd),
            ("frequency", RegisterTable::Input, 0x46, PointType::U32, ByteOrder::Cdab),
        ]
    );
    assert_eq!((meter.points[0].poll, meter.points[1].poll), (Duration::from_secs(10), Duration::from_secs(1)));
    assert_eq!(meter.points[0].unit.as_deref(), Some("kWh"));
    let frequency = &registers(meter)[2];
    assert_eq!(frequency.scale.as_ref().map(ToString::to_string).as_deref(), Some("0.01"));
    assert_eq!(frequency.offset.as_ref().map(ToString::to_string).as_deref(), Some("-0.5"));
    assert_eq!(boiler.unit_id, 1);
    let door = &boiler.points[2];
    assert_eq!(
        (door.publish.mode, door.publish.qos, door.publish.retain),
        (PublishMode::Points, QoS::AtMostOnce, false)
    );
    let kinds: Vec<_> = registers(boiler).iter().map(|r| (r.table, r.address, r.kind)).collect();
    assert_eq!(
        kinds,
        [
            (RegisterTable::Coil, 4, PointType::Bool),
            (RegisterTable::Coil, 0, PointType::Bool),
            (RegisterTable::Discrete, 0, PointType::Bool),
            (RegisterTable::Holding, 200, PointType::U16),
            (RegisterTable::Coil, 9, PointType::Bool),
            (RegisterTable::Holding, 12, PointType::Bool),
            (RegisterTable::Holding, 65_535, PointType::U16),
        ]
    );
    let point = |name: &str| boiler.points.iter().find(|point| point.name.as_str() == name).expect("a point");
    let decimal = |text: &str| text.parse().ok();
    let limits = Write { min: decimal("30"), max: decimal("80.5"), step: decimal("0.5"), only: false };
    assert_eq!(point("setpoint").write, Some(limits));
    assert_eq!(point("reset").write, Some(Write { only: true, ..Write::default() }));
    assert_eq!((&point("pump").write, &point("running").write), (&Some(Write::default()), &None));
    let report = |name: &str| {
        let Report { mode, deadband, max_silence } = point(name).report.clone();
        (mode, deadband, max_silence.map(|silence| silence.as_secs()))
    };
    let percent = decimal("2").map(Deadband::Percent);
    assert_eq!(report("valve"), (ReportMode::Change, percent.clone(), Some(60)));
    assert_eq!(report("setpoint"), (ReportMode::Change, decimal("0.2").map(Deadband::Absolute), Some(60)));
    assert_eq!(report("running"), (ReportMode::Every, percent, Some(60)));
    assert_eq!(meter.points[0].report.mode, ReportMode::Every);

    let [cloud, other] = config.uplinks.as_slice() else { panic!("two uplinks") };
    assert_eq!(cloud.servers, [ServerConfig::plain("broker.example.com", 1883)]);
    assert_eq!(cloud.client_id, "plant-7");
    assert_eq!(cloud.password.as_ref().map(|p| p.reveal()), Some("for the tests only"));
    assert_eq!((cloud.version, cloud.keep_alive, cloud.window), (MqttVersion::V5, Duration::from_secs(60), 100));
    assert_eq!((cloud.queue.max_size, cloud.queue.max_age), (2 << 30, Duration::from_secs(30 * 86_400)));
    assert_eq!((cloud.queue.when_full, cloud.queue.durability), (WhenFull::DropOldest, Durability::Full));
    let rule = &cloud.forward[0];
    assert_eq!(
        (rule.take.topic.as_str(), rule.take.except.len(), rule.take.to.to_string().as_str()),
        ("fieldway/plant-7/#", 1, "sites/plant-7/{rest}")
    );
    assert_eq!((other.servers[0].host.as_str(), other.version), ("2001:db8::1", MqttVersion::V311));
    assert_eq!(other.password.as_ref().map(|p| p.reveal()), Some("from the environment"));
    assert_eq!((other.forward[0].take.qos, other.forward[0].take.retain), (QoS::AtMostOnce, RetainRule::Never));
    assert!(!format!("{:?}", config.uplinks).contains("from the environment"), "a secret in a debug print");
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let config = good(
        "gateway: { id: a }\n\
         buses: { l: { serial: /dev/ttyUSB0, protocol: modbus-rtu }, t: { tcp: plc, protocol: modbus-tcp } }\n\
         devices: { d: { bus: t, points: { p: { holding: 1 } } } }\n\
         uplinks: { u: { url: mqtt://b, forward: [{ topic: '#' }] } }\n",
    );
    assert_eq!(config.gateway.topic_root.as_str(), "fieldway/a");
    assert_eq!(config.gateway.data_dir, PathBuf::from("/var/lib/fieldway"));
    assert_eq!(config.broker.listeners[0].address.to_string(), "127.0.0.1:1883");
    assert_eq!(config.broker.session_expiry, Duration::from_secs(7 * 86_400));
    assert_eq!((config.broker.listeners[0].place.as_ref(), config.broker.server_keep_alive), (None, None));
    assert!(config.web.is_none());
    let Transport::Serial(line) = &config.buses[0].transport else { panic!("a serial line") };
    // 19200 8E1, as Modbus over Serial Line 1.02 §2.5.1 has it.
    assert_eq!((line.baud, line.parity, line.stop_bits), (19_200, Parity::Even, StopBits::One));
    let bus = &config.buses[1];
    assert_eq!(bus.transport, Transport::Tcp { host: "plc".into(), port: 502 });
    assert_eq!((bus.timeout, bus.retries, bus.max_gap), (Duration::from_millis(500), 1, MaxGap::Auto));
    let device = &config.devices[0];
    assert_eq!((device.unit_id, device.max_registers), (1, 125));
    assert_eq!(
        (device.publish.mode, device.publish.qos, device.publish.retain),
        (PublishMode::Device, QoS::AtLeastOnce, true)
    );
    let point = &device.points[0];
    let register = point.register().expect("a Modbus device");
    assert_eq!(
        (register.kind, register.byte_order, point.poll),
        (PointType::U16, ByteOrder::Abcd, Duration::from_secs(1))
    );
    let uplink = &config.uplinks[0];
    assert_eq!((uplink.client_id.as_str(), uplink.servers[0].port, uplink.window), ("a", 1883, 100));
    assert_eq!((uplink.keep_alive, uplink.queue.commit_every), (Duration::from_secs(60), Duration::from_millis(250)));
    let rule = &uplink.forward[0];
    assert_eq!(
        (rule.take.to.to_string().as_str(), rule.take.qos, rule.take.retain),
        ("{topic}", QoS::AtLeastOnce, RetainRule::Keep)
    );
}

#[test]
fn merge_keys_take_over_what_is_not_there_already() {
    let config = config::load(Path::new("tests/golden/config/good-anchors-and-merge-keys/gateway.yaml"), &|_| None)
        .unwrap_or_else(|report| panic!("{report}"));
    let devices: Vec<_> = config.devices.iter().map(|d| (d.name.as_str(), d.unit_id, d.points.len())).collect();
    assert_eq!(devices, [("meter1", 1, 2), ("meter2", 2, 2), ("meter3", 3, 2)]);
    assert_eq!(config.devices[1].points[0].poll, Duration::from_secs(5));
    assert_eq!(config.devices[2].points[0].poll, Duration::from_secs(1));
}

/// The configuration of a computer with this name.
fn on_host(name: &'static str) -> Result<Config, config::Report> {
    let read = move |path: &Path| match path == Path::new("/proc/sys/kernel/hostname") {
        true => Ok(name.as_bytes().to_vec()),
        false => Err(io::ErrorKind::NotFound.into()),
    };
    config::parse(
        b"buses: {}\n",
        Path::new("gateway.yaml"),
        &Outside { env: &|_| None, read: &read, list: &|_| Ok(Vec::new()) },
    )
}

#[test]
fn the_gateways_id_is_the_hosts_name_made_valid() {
    for (host, id) in
        [("raspberrypi\n", "raspberrypi"), ("Plant-7.example.com\n", "plant-7"), ("h\u{e4}lle 2\n", "haelle_2")]
    {
        assert_eq!(on_host(host).map(|config| config.gateway.id.to_string()).ok().as_deref(), Some(id));
    }
    for host in ["", "\n", "\u{5de5}\u{5382}\n", "...\n"] {
        let report = on_host(host).expect_err("no name");
        assert_eq!(report.count(), 1);
        assert!(report.to_string().contains("gateway: { id: plant-7 }"), "{report}");
    }
}

#[test]
fn a_secret_comes_from_systemds_credentials_when_the_environment_has_none() {
    let env = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| "/run/credentials/fieldway".to_string());
    let read = |path: &Path| match path == Path::new("/run/credentials/fieldway/CLOUD") {
        true => Ok(b"s3cret\r\n".to_vec()),
        false => Err(io::ErrorKind::NotFound.into()),
    };
    let text =
        "gateway: { id: a }\nuplinks: { u: { url: mqtt://b, password: '${CLOUD}', forward: [{ topic: '#' }] } }\n";
    let config = config::parse(
        text.as_bytes(),
        Path::new("gateway.yaml"),
        &Outside { env: &env, read: &read, list: &|_| Ok(Vec::new()) },
    )
    .unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.uplinks[0].password.as_ref().map(|p| p.reveal()), Some("s3cret"));
}

#[test]
fn a_password_file_that_is_empty_or_no_text_is_a_problem() {
    for (content, title) in [(&b"\n"[..], "the password is empty"), (b"\xff", "the password in plant/p is not UTF-8")] {
        let read = |_: &Path| Ok(content.to_vec());
        let text =
            "gateway: { id: a }\nuplinks: { u: { url: mqtt://b, password_file: p, forward: [{ topic: '#' }] } }\n";
        let outside = Outside { env: &|_| None, read: &read, list: &|_| Ok(Vec::new()) };
        let report =
            config::parse(text.as_bytes(), Path::new("plant/gateway.yaml"), &outside).expect_err("no password");
        assert_eq!(report.problems()[0].title, title);
    }
}

#[test]
fn two_devices_may_share_a_unit_and_two_buses_a_host() {
    good(
        "gateway: { id: a }\n\
         buses: { s: { tcp: plc, protocol: modbus-tcp }, t: { tcp: plc, protocol: modbus-tcp } }\n\
         devices: { d: { bus: s, unit_id: 0, points: { p: { holding: 1 } } }, e: { bus: s, unit_id: 0, points: { p: { holding: 1 } } } }\n",
    );
}

#[test]
fn a_name_that_is_also_a_key_is_a_name_when_its_content_says_so() {
    let config = good(
        "gateway: { id: a }\n\
         buses: { bus: { tcp: plc, protocol: modbus-tcp } }\n\
         devices: { points: { bus: bus, points: { unit_id: { holding: 1 }, poll: { coil: 1 }, unit: { input: 1 } } } }\n",
    );
    assert_eq!(config.devices[0].points.len(), 3);
}

#[test]
fn a_missing_file_says_how_to_name_one() {
    let report = config::load(Path::new("no/such/gateway.yaml"), &|_| None).expect_err("no file");
    let text = report.to_string();
    assert!(text.contains("cannot read no/such/gateway.yaml: there is no such file"), "{text}");
    assert!(text.contains("fieldway check FILE"), "{text}");
}

#[test]
fn problems_inside_an_anchor_are_told_once() {
    let text = "gateway: { id: a }\nbuses: { s: { tcp: plc, protocol: modbus-tcp } }\n\
                devices:\n  d: { bus: s, points: &p { x: { holding: -1 } } }\n  e: { bus: s, points: *p }\n";
    // The device's name is part of the sentence, so each device tells it, at the one place to mend.
    let titles = titles(text);
    assert_eq!(titles.len(), 2, "{titles:?}");
    let shared = "gateway: { id: a }\nuplinks:\n  u: { url: mqtt://a, forward: &f [{ topic: a#, colour: 1 }] }\n  v: { url: mqtt://b, forward: *f }\n";
    assert_eq!(parse(shared).expect_err("wrong").problems().iter().filter(|p| p.title.contains("colour")).count(), 1);
}

#[test]
fn every_type_and_its_keys_reach_the_driver() {
    let config = good(
        "gateway: { id: a }\n\
         buses: { t: { tcp: plc, protocol: modbus-tcp, in_flight: 8 } }\n\
         devices:\n\
         \x20 d:\n\
         \x20   bus: t\n\
         \x20   byte_order: DCBA\n\
         \x20   single_requests: true\n\
         \x20   pause: 50ms\n\
         \x20   max_in_flight: 2\n\
         \x20   points:\n\
         \x20     bit: { holding: 1, bit: 15 }\n\
         \x20     also_bit: { holding: 1, type: bool, bit: 0 }\n\
         \x20     low: { holding: 1, type: u8 }\n\
         \x20     high: { holding: 1, type: i8, byte: high }\n\
         \x20     counter: { holding: 1, type: u64, invalid: 0xFFFFFFFFFFFFFFFF }\n\
         \x20     text: { holding: 1, type: string, length: 7 }\n\
         \x20     swapped: { holding: 1, type: string, length: 8, encoding: latin1, byte_order: BADC, invalid: ['', N/A] }\n\
         \x20     raw: { holding: 1, type: bytes, length: 250 }\n\
         \x20     power: { holding: 1, type: i16, scale_from: power_sf, invalid: [0x8000] }\n\
         \x20     power_sf: { holding: 9, type: i16 }\n\
         \x20     mode: { holding: 1, enum: { 0: off, 0x10: 'auto mode' } }\n\
         \x20     alarms: { holding: 1, type: bits, bits: { 0: low, 15: high } }\n",
    );
    assert_eq!(config.buses[0].in_flight, 8);
    let device = &config.devices[0];
    let pause = Duration::from_millis(50);
    let quirks = Quirks { single_requests: true, pause, max_in_flight: Some(2), write_and_read: false };
    assert_eq!(device.quirks, quirks);
    let point = |name: &str| device.points.iter().find(|point| point.name.as_str() == name).expect("a point");
    let register = |name: &str| point(name).register().expect("a Modbus device");
    let text = |length, encoding| PointType::String { length, encoding };
    for (name, kind, byte_order) in [
        ("bit", PointType::Bit(15), ByteOrder::Dcba),
        ("also_bit", PointType::Bit(0), ByteOrder::Dcba),
        ("low", PointType::U8(Half::Low), ByteOrder::Dcba),
        ("high", PointType::I8(Half::High), ByteOrder::Dcba),
        ("counter", PointType::U64, ByteOrder::Dcba),
        // The byte order of a device is about its numbers.
        ("text", text(7, Encoding::Ascii), ByteOrder::Abcd),
        ("swapped", text(8, Encoding::Latin1), ByteOrder::Badc),
        ("raw", PointType::Bytes { length: 250 }, ByteOrder::Abcd),
    ] {
        assert_eq!((register(name).kind, register(name).byte_order), (kind, byte_order), "{name}");
    }
    assert_eq!(point("counter").invalid, [Sentinel::Integer(u64::MAX.into())]);
    assert_eq!(point("swapped").invalid, [Sentinel::Text("".into()), Sentinel::Text("N/A".into())]);
    assert_eq!(point("power").invalid, [Sentinel::Integer(-32_768)]);
    assert_eq!(register("power").scale_from, Some(9));
    let Some(Naming::Enum(names)) = &point("mode").naming else { panic!("an enum") };
    assert_eq!(names.iter().collect::<Vec<_>>(), [(0, "off"), (16, "auto mode")]);
    let Some(Naming::Bits(names)) = &point("alarms").naming else { panic!("bits") };
    assert_eq!(names.iter().collect::<Vec<_>>(), [(0, "low"), (15, "high")]);
}
