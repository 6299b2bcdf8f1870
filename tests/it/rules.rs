//! The dependency rules of the source tree, kept by reading it: who may know whom, where a replaceable crate may be
//! named, where time and chance come in, and how long a file may be.

mod scan;

use std::fs;
use std::path::Path;

use scan::{NamedPath, scan};

/// Which other top-level modules a module may name. `main` and `lib` are the map and may name all.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &["model"]),
    ("random", &[]),
    ("process", &[]),
    ("password", &[]),
    ("transport", &["model"]),
    ("log", &["clock", "model"]),
    ("command", &["model"]),
    ("route", &["model"]),
    ("driver", &["model", "clock"]),
    ("poll", &["model", "driver", "clock"]),
    ("mqtt", &["model"]),
    ("config", &["model", "route", "password", "transport"]),
    // Of `config`, these see their own section's settings and the `Place` that a start-up error names; see `MUST_NOT_NAME`.
    ("store", &["model", "mqtt", "clock", "random", "config"]),
    ("broker", &["model", "mqtt", "store", "clock", "random", "config", "password", "transport"]),
    ("uplink", &["model", "mqtt", "store", "clock", "random", "config", "transport"]),
    ("web", &["model", "config"]),
    (
        "gateway",
        &[
            "model",
            "clock",
            "random",
            "process",
            "log",
            "command",
            "route",
            "driver",
            "poll",
            "mqtt",
            "config",
            "store",
            "broker",
            "uplink",
            "web",
            "password",
            "transport",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "clock",
            "random",
            "process",
            "log",
            "command",
            "route",
            "driver",
            "poll",
            "mqtt",
            "config",
            "store",
            "broker",
            "uplink",
            "web",
            "password",
            "transport",
            "gateway",
        ],
    ),
];

/// Words of a module that another may see, but not these: the broker, the store and the uplink know messages, not devices.
const MUST_NOT_NAME: &[(&[&str], &str, &[&str])] = &[
    (
        &["mqtt", "store", "broker", "uplink"],
        "model",
        &["Bus", "Device", "Point", "PointType", "Reading", "RegisterTable", "Round", "Sample", "Value", "Fault", "*"],
    ),
    (&["store", "broker", "uplink", "web"], "config", &["Config", "load", "*"]),
];

/// Crates that we might replace, or that decide something we keep in one place, and where alone they may be named.
const NAMED_ONLY_IN: &[(&str, &[&str])] = &[
    ("rmqtt_codec", &["mqtt/codec"]),
    ("sqlx", &["store/sqlite"]),
    ("futures_util", &["store/sqlite", "transport/websocket.rs"]),
    ("tokio_rustls", &["transport/material.rs", "transport/tls"]),
    ("rustls_native_certs", &["transport/tls_client.rs"]),
    ("tokio_tungstenite", &["transport/websocket"]),
    ("x509_parser", &["transport/certificate.rs"]),
    ("argon2", &["password.rs"]),
    ("blake2", &["password.rs"]),
    ("rpassword", &["cli/passwd.rs"]),
    ("crc", &["store/row.rs", "driver/serial/checksum.rs"]),
    ("granit_parser", &["config/yaml"]),
    ("annotate_snippets", &["config/report.rs"]),
    ("strsim", &["config/"]),
    ("bigdecimal", &["model/decimal.rs"]),
    ("chrono", &["model/time.rs", "route/cel"]),
    ("cel", &["route/cel"]),
    ("zstd", &["route/compress.rs", "cli/backup/archive.rs"]),
    ("tokio_modbus", &["driver/modbus/client", "cli/demo/simulator"]),
    ("tokio_serial", &["driver/stream", "cli/demo/simulator"]),
    ("serial2", &["driver/stream/serial.rs"]),
    ("rustix", &["clock.rs", "clock/alarm.rs", "store/disk.rs"]),
    ("regex", &["model/pattern.rs", "route/cel"]),
    ("base64", &["cli/queue/export.rs", "web/guard.rs"]),
    ("tar", &["cli/backup/archive.rs"]),
    ("sha2", &["cli/backup/archive.rs"]),
    ("axum", &["web/"]),
    ("hyper", &["web/"]),
    ("hyper_util", &["web/"]),
    ("prometheus_client", &["web/"]),
    ("tracing_subscriber", &["log.rs", "log/"]),
    ("systemd_journal_logger", &["log/journal.rs"]),
    ("sd_notify", &["gateway/notify.rs"]),
    ("rand", &["random.rs"]),
    ("clap", &["main.rs", "cli/", "log.rs"]),
    ("anyhow", &["main.rs", "cli/", "gateway.rs", "gateway/"]),
];

/// Asking the time or sleeping, by the end of the path.
const TIME: &[&[&str]] = &[
    &["Instant", "now"],
    &["SystemTime", "now"],
    &["Utc", "now"],
    &["Local", "now"],
    &["time", "sleep"],
    &["time", "sleep_until"],
    &["time", "interval"],
    &["time", "interval_at"],
    &["thread", "sleep"],
];
const TIME_ONLY_IN: &str = "clock.rs";

/// Where decisions live: nothing here runs, waits, logs, asks the time or draws lots.
const PURE: &[&str] = &[
    "model/",
    "command/",
    "route/",
    "mqtt/",
    "config/check/",
    "driver/modbus/plan.rs",
    "driver/modbus/decode.rs",
    "driver/modbus/client/ascii_frame.rs",
    "driver/modbus/client/framing.rs",
    "driver/modbus/client/rtu_frame.rs",
    "driver/serial/checksum.rs",
    "driver/serial/collector.rs",
    "driver/serial/ears.rs",
    "driver/serial/extract.rs",
    "driver/serial/frames.rs",
    "driver/serial/lines.rs",
    "driver/serial/nmea.rs",
    "driver/stream/echo.rs",
    "driver/modbus/write.rs",
    "broker/access.rs",
    "broker/failures.rs",
    "broker/places.rs",
    "broker/hub.rs",
    "broker/machine.rs",
    "broker/retained.rs",
    "broker/routing.rs",
    "store/policy.rs",
    "cli/demo/ledger.rs",
    "cli/demo/plant.rs",
    "cli/demo/story.rs",
    "gateway/progress.rs",
    "gateway/sentence.rs",
    "log/quota.rs",
];
const NOT_IN_PURE: &[&str] = &["tokio", "tracing", "rand", "crate::clock", "crate::random"];

/// Lines outside tests.
const MOST_LINES: usize = 450;

/// What is wrong with one file; each complaint names it.
fn complaints(file: &str, text: &str) -> Vec<String> {
    let source = scan(text);
    let mut out = Vec::new();
    if !text.starts_with("//!") {
        out.push(format!("{file}: a file opens with `//!`: what it owns and what it refuses"));
    }
    if source.lines > MOST_LINES {
        out.push(format!("{file}: {} lines outside tests, at most {MOST_LINES}: split it by noun", source.lines));
    }
    for path in &source.paths {
        let why = [known_module(file, path), foreign_crate(file, path), time(file, path), pure(file, path)];
        out.extend(
            why.into_iter().flatten().map(|why| format!("{file}:{}: {}: {why}", path.line, path.segments.join("::"))),
        );
    }
    out
}

fn known_module(file: &str, path: &NamedPath) -> Option<String> {
    let from = top_module(file);
    let target = inside_crate(file, &path.segments)?;
    let to = target.first()?.as_str();
    if from == to || matches!(from.as_str(), "main" | "lib") || !MAY_KNOW.iter().any(|(module, _)| *module == to) {
        return None;
    }
    let Some((_, allowed)) = MAY_KNOW.iter().find(|(module, _)| *module == from) else {
        return Some(format!("`{from}` has no line in MAY_KNOW yet: decide what it may know"));
    };
    if !allowed.contains(&to) {
        return Some(format!("`{from}` may not know `{to}`"));
    }
    let word = target.get(1)?;
    let forbidden = MUST_NOT_NAME
        .iter()
        .any(|(who, whose, words)| who.contains(&from.as_str()) && *whose == to && words.contains(&word.as_str()));
    forbidden.then(|| format!("`{from}` may not know `{to}::{word}`"))
}

/// The path below the crate's root, when it leads there: `crate::…`, or enough `super`s.
fn inside_crate(file: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut base = module_of(file);
    let mut rest = segments;
    match rest.first()?.as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while rest.get(1).is_some_and(|next| next == "super") {
                base.pop()?;
                rest = &rest[1..];
            }
            base.pop()?;
        }
        _ => return None,
    }
    base.extend_from_slice(&rest[1..]);
    Some(base)
}

/// `store/sqlite/write.rs` is `store::sqlite::write`, `store/mod.rs` is `store`.
fn module_of(file: &str) -> Vec<String> {
    let mut parts: Vec<String> = file.trim_end_matches(".rs").split('/').map(String::from).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

fn top_module(file: &str) -> String {
    module_of(file).first().cloned().unwrap_or_default()
}

fn foreign_crate(file: &str, path: &NamedPath) -> Option<String> {
    let (name, places) = NAMED_ONLY_IN.iter().find(|(name, _)| path.segments[0] == *name)?;
    let allowed = places.iter().any(|place| file.starts_with(place));
    (!allowed).then(|| format!("`{name}` may be named only in src/{}", places.join(" and src/")))
}

fn time(file: &str, path: &NamedPath) -> Option<String> {
    let asks = TIME.iter().any(|end| path.segments.windows(end.len()).any(|part| part == *end));
    (asks && file != TIME_ONLY_IN)
        .then(|| format!("only src/{TIME_ONLY_IN} asks the time or sleeps; be given `now` or a `Clock`"))
}

fn pure(file: &str, path: &NamedPath) -> Option<String> {
    let is_pure = PURE.iter().any(|place| file.starts_with(place));
    let whole = path.segments.join("::");
    let acts = NOT_IN_PURE.iter().any(|name| whole == *name || whole.starts_with(&format!("{name}::")));
    (is_pure && acts).then(|| "this part decides and does not act".into())
}

/// Every source file that is not for tests alone, by its path below `src`.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, root: &Path, out: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, out);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
                out.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = Vec::new();
    walk(&root, &root, &mut out);
    let tests: Vec<String> = out.iter().flat_map(|(file, text)| test_modules(file, text)).collect();
    out.retain(|(file, _)| {
        !tests.iter().any(|test| file.strip_prefix(test).is_some_and(|end| end.starts_with(['.', '/'])))
    });
    out.sort();
    out
}

/// The modules that `file` declares for tests alone and that have files of their own, by their path without `.rs`.
fn test_modules(file: &str, text: &str) -> Vec<String> {
    let folder = module_of(file).join("/");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
    declared.filter_map(|pair| Some(format!("{folder}/{}", pair[1].strip_prefix("mod ")?.strip_suffix(';')?))).collect()
}

#[test]
fn the_source_keeps_its_dependency_rules() {
    let sources = sources();
    assert!(sources.len() > 20, "found only {} files", sources.len());
    let all: Vec<String> = sources.iter().flat_map(|(file, text)| complaints(file, text)).collect();
    assert!(all.is_empty(), "\n{}\n", all.join("\n"));
}

#[test]
fn the_rules_name_crates_and_modules_that_exist() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    for (name, _) in NAMED_ONLY_IN {
        let dependency = name.replace('_', "-");
        assert!(
            manifest.lines().any(|line| line.starts_with(&format!("{dependency} = "))),
            "{dependency} is no dependency"
        );
    }
    let record =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decisions/0003-dependencies.md")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap();
    let own = dependencies.lines().take_while(|line| !line.starts_with('['));
    for name in own.filter_map(|line| line.split_once(" = ").map(|(name, _)| name)) {
        let first_cells = || record.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next());
        let told = first_cells().any(|cell| cell.split([',', ' ']).any(|word| word == name));
        assert!(told, "docs/decisions/0003-dependencies.md does not say why {name} is there");
    }
    let files = sources();
    for pure in PURE {
        assert!(files.iter().any(|(file, _)| file.starts_with(pure)), "there is no src/{pure}");
    }
}

#[test]
fn each_kind_of_violation_is_caught() {
    for (file, code, expected) in [
        ("model/x.rs", "use crate::config::Place;", "`model` may not know `config`"),
        ("route/x.rs", "use crate::{model::Name, store::Ticket};", "`route` may not know `store`"),
        ("store/sqlite/x.rs", "use super::super::super::broker::Hub;", "`store` may not know `broker`"),
        ("broker/x.rs", "fn f(d: &crate::model::Device) {}", "`broker` may not know `model::Device`"),
        ("uplink/x.rs", "use crate::config::{Place, Config};", "`uplink` may not know `config::Config`"),
        ("poll/x.rs", "use crate::gateway::Gateway;", "`poll` may not know `gateway`"),
        ("new/x.rs", "use crate::model::Name;", "`new` has no line in MAY_KNOW"),
        ("broker/x.rs", "use rmqtt_codec as codec;", "`rmqtt_codec` may be named only in src/mqtt/codec"),
        ("store/writer.rs", "fn f() { sqlx::query(\"\") }", "`sqlx` may be named only in src/store/sqlite"),
        ("uplink/x.rs", "fn f() { rand::random() }", "`rand` may be named only in src/random.rs"),
        ("broker/x.rs", "use std::time::Instant;\nfn f() { Instant::now() }", "asks the time"),
        ("broker/x.rs", "use tokio::time::{timeout, sleep};", "asks the time"),
        ("model/x.rs", "use tokio::sync::mpsc;", "decides and does not act"),
        ("store/policy.rs", "use crate::clock::Clock;", "decides and does not act"),
        ("poll/x.rs", &"fn f() {}\n".repeat(MOST_LINES), "451 lines outside tests"),
    ] {
        let found = complaints(file, &format!("//! x\n{code}"));
        assert!(found.len() == 1 && found[0].contains(expected), "{code:?} in {file}: {found:?}");
    }
    assert!(complaints("model/x.rs", "fn f() {}")[0].contains("opens with `//!`"));
}

#[test]
fn a_file_for_tests_alone_is_known_by_its_declaration() {
    let text = "mod task;\n#[cfg(test)]\nmod simulation;\n#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(test_modules("poll/mod.rs", text), ["poll/simulation"]);
    assert_eq!(test_modules("mqtt/codec.rs", "    #[cfg(test)]\n    mod tests;\n"), ["mqtt/codec/tests"]);
}

#[test]
fn what_is_allowed_is_left_alone() {
    for (file, code) in [
        ("poll/x.rs", "use crate::{clock::Clock, driver::Driver, model::*};"),
        ("store/sqlite/x.rs", "use super::super::Ticket; fn f() { sqlx::query(\"\") }"),
        ("model/x.rs", "#[cfg(test)]\nmod tests { use tokio::time::sleep; use crate::clock::Clock; }"),
        ("clock.rs", "fn f() { tokio::time::Instant::now() }"),
        ("broker/x.rs", "use tokio::time::timeout; fn f(clock: crate::clock::Clock) { clock.sleep() }"),
        ("main.rs", "use fieldway::cli; fn main() { cli::run() }"),
    ] {
        assert_eq!(complaints(file, &format!("//! x\n{code}")), [""; 0], "{code:?} in {file}");
    }
}
