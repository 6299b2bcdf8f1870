//! What is handed out holds: sample configurations load, the commands in the documentation exist, links lead somewhere.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fieldway::config;

use crate::support::gateway::GatewayProcess;
use crate::support::wait::{free_port, wait_for};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every file below `folder` whose name ends in `ending`, by its path from the root of the package.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_string());
            }
        }
    }
    found.sort();
    found
}

fn pages() -> Vec<String> {
    let mut pages = files("docs", ".md");
    pages.extend(["README.md".into(), "CHANGELOG.md".into()]);
    pages
}

/// The fenced blocks of a page: what stands after the fence, and the text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some((info.trim().into(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

fn assert_loads(name: &str, file: &Path) {
    if let Err(report) = config::load(file, &|_| None) {
        panic!("{name} is no configuration:\n{}", report.render(config::Look::Plain));
    }
}

#[test]
fn every_sample_configuration_loads() {
    let mut samples = files("config", ".yaml");
    // Templates are parts of configurations, and have tests of their own.
    samples.retain(|sample| !sample.starts_with("config/devices/"));
    assert!(samples.len() >= 4, "{samples:?}");
    // Templates are parts of devices; a test of their own loads them.
    for sample in samples.into_iter().filter(|sample| !sample.starts_with("config/devices/")) {
        assert_loads(&sample, &root().join(&sample));
    }
}

#[test]
fn the_sample_that_packages_install_runs_as_it_is_and_says_nothing_worse_than_info() {
    let folder = tempfile::tempdir().unwrap();
    let [mqtt, web] = [free_port(), free_port()];
    let sample = read("config/gateway.yaml");
    let yaml = sample
        .replace("127.0.0.1:1883", &format!("127.0.0.1:{mqtt}"))
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{web}"))
        .replace("/var/lib/fieldway", folder.path().join("data").to_str().unwrap());
    let gateway = GatewayProcess::start(folder.path(), &yaml, mqtt);
    let ready = wait_for("the web page", Duration::from_secs(10), || TcpStream::connect(("127.0.0.1", web)).ok());
    drop(ready);
    let (status, log) = gateway.stop();
    assert!(status.success(), "{status}\n{log}");
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn every_configuration_in_the_documentation_loads() {
    let folder = tempfile::tempdir().unwrap();
    // What they name beside them.
    fs::create_dir(folder.path().join("tls")).unwrap();
    for name in ["plant-7.pem", "plant-7.key"] {
        fs::write(folder.path().join("tls").join(name), read(&format!("tests/golden/config/good-uplinks/tls/{name}")))
            .unwrap();
    }
    fs::write(folder.path().join("tls/ca.pem"), read("tests/golden/config/good-uplinks/tls/plant-7.pem")).unwrap();
    fs::write(folder.path().join("cloud.password"), "for the tests only\n").unwrap();
    let mut count = 0;
    for page in pages() {
        for (info, text) in blocks(&read(&page)) {
            if info == "yaml config" {
                count += 1;
                let file = folder.path().join(format!("{count}.yaml"));
                fs::write(&file, text).unwrap();
                assert_loads(&format!("block {count}, in {page},"), &file);
            }
        }
    }
    assert!(count >= 1, "no block is marked as a configuration");
}

#[test]
fn every_json_example_in_the_documentation_is_json() {
    let mut count = 0;
    for page in pages() {
        for (info, text) in blocks(&read(&page)) {
            if info.split(' ').next() == Some("json") {
                count += 1;
                let parsed = serde_json::from_str::<serde_json::Value>(&text);
                parsed.unwrap_or_else(|error| panic!("{page}: {error}:\n{text}"));
            }
        }
    }
    assert!(count >= 5, "only {count} examples");
}

#[test]
fn the_readme_and_the_sample_show_the_same_first_device() {
    let readme = blocks(&read("README.md"));
    let block = readme.iter().find(|(info, _)| info == "yaml config").expect("a configuration");
    let settings = |text: &str| -> Vec<String> {
        let code = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim_end().to_string());
        code.filter(|line| !line.is_empty()).collect()
    };
    assert_eq!(settings(&block.1), settings(&read("config/examples/first-device.yaml")));
}

#[test]
fn every_command_in_the_documentation_exists() {
    let mut seen = Vec::new();
    for page in pages() {
        for (info, text) in blocks(&read(&page)) {
            let commands = text.lines().filter_map(|line| {
                line.strip_prefix("fieldway ").or_else(|| line.strip_prefix("cargo run --release -- "))
            });
            if info == "sh" {
                seen.extend(commands.filter_map(|rest| rest.split_whitespace().next().map(String::from)));
            }
        }
    }
    for command in ["demo", "check", "run"] {
        assert!(seen.iter().any(|seen| seen == command), "the documentation does not show `fieldway {command}`");
    }
    for command in seen {
        let output = Command::new(env!("CARGO_BIN_EXE_fieldway")).args([&command, "--help"]).output().unwrap();
        assert!(output.status.success(), "fieldway {command} --help: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_link_in_the_documentation_leads_somewhere() {
    for page in pages() {
        let text = read(&page);
        let folder = root().join(&page).parent().map(PathBuf::from).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !target.contains("://") {
                assert!(folder.join(path).exists(), "{page} links to {target}, which is not there");
            }
        }
    }
}

#[test]
fn licences_and_the_change_log_are_there_and_fit_the_package() {
    assert_eq!(env!("CARGO_PKG_LICENSE"), "MIT OR Apache-2.0");
    assert!(read("LICENSE-MIT").contains("Permission is hereby granted"));
    assert!(read("LICENSE-APACHE").contains("Apache License"));
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("CHANGELOG.md").contains(&format!("\n## [{version}]")), "CHANGELOG.md does not know {version}");
}

#[test]
fn nothing_that_is_handed_out_knows_the_machine_it_was_written_on() {
    let mut all = pages();
    all.extend(files("config", ""));
    all.extend(files("src", ""));
    for file in all {
        let text = read(&file);
        for trace in ["/home/", "/root/", "/work/"] {
            assert!(!text.contains(trace), "{file} contains {trace}");
        }
    }
}
