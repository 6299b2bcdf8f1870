//! Configurations in golden folders: each wrong one with the exact report, each good one with its summary.
//!
//! `FIELDWAY_BLESS=1 cargo test --test it config` writes the reports anew; look at each before committing it.

use std::fs;
use std::path::{Path, PathBuf};

use fieldway::cli::check::summary;
use fieldway::config::{self, Config, Look, Report};

const FOLDER: &str = "tests/golden/config";

/// The only variable that golden configurations find.
fn environment(name: &str) -> Option<String> {
    (name == "CLOUD_PASSWORD").then(|| "correct horse battery staple".into())
}

fn load(case: &Path) -> Result<Config, Report> {
    // Relative, so that reports don't depend on where the project lies.
    config::load(&case.join("gateway.yaml"), &environment)
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(FOLDER).expect("tests run in the project's folder");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    cases.sort();
    cases
}

#[test]
fn every_golden_configuration_gets_exactly_its_report() {
    let bless = std::env::var_os("FIELDWAY_BLESS").is_some();
    let (mut wrong, mut good, mut different) = (0, 0, Vec::new());
    for case in cases() {
        let (name, actual, other) = match load(&case) {
            Ok(config) => ("expected.ok", format!("{}\n", summary(&config)), "expected.err"),
            Err(report) => ("expected.err", report.render(Look::Plain), "expected.ok"),
        };
        if name == "expected.ok" {
            good += 1;
        } else {
            wrong += 1;
        }
        if bless {
            fs::write(case.join(name), &actual).expect("a writable folder");
            let _ = fs::remove_file(case.join(other));
            continue;
        }
        let expected = fs::read_to_string(case.join(name)).unwrap_or_default();
        if expected != actual {
            different.push(format!("--- {}\nexpected:\n{expected}\nactual:\n{actual}", case.join(name).display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(wrong >= 25 && good >= 5, "{wrong} wrong and {good} good configurations are too few");
}

#[test]
fn no_report_shows_a_secret() {
    for case in cases() {
        if let Err(report) = load(&case) {
            for look in [Look::Plain, Look::Colour] {
                assert!(!report.render(look).contains("hunter2"), "{}", case.display());
            }
            assert!(!format!("{report:?}").contains("hunter2"), "{}", case.display());
        }
    }
}
