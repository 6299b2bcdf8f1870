//! Texts that no person writes: the reader answers soon, never panics, and points only at places that there are.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use fieldway::config::{self, Config, Look, Outside, Report};
use proptest::prelude::*;

use crate::support::wait::thread_time;

const GOOD: &str = include_str!("../golden/config/good-everything/gateway.yaml");
/// Of the processor: generous for an unoptimised build; a hang or quadratic time is minutes.
const SOON: Duration = Duration::from_secs(20);

fn parse(text: &[u8]) -> Result<Config, Report> {
    let read = |path: &Path| match path.ends_with("cloud.password") {
        true => Ok(b"secret\n".to_vec()),
        false => Err(std::io::ErrorKind::NotFound.into()),
    };
    let env = |name: &str| (name == "CLOUD_PASSWORD").then(|| "secret".to_string());
    config::parse(text, Path::new("gateway.yaml"), &Outside { env: &env, read: &read, list: &|_| Ok(Vec::new()) })
}

/// Every problem is inside the text, has words, and the whole can be shown.
fn check_report(bytes: &[u8], report: &Report) {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let lines: Vec<&str> = text.split('\n').collect();
    assert!(report.count() > 0, "a report without a problem");
    for problem in report.problems() {
        assert!(!problem.title.is_empty(), "a problem without words");
        if let Some(place) = report.place(problem) {
            let line = lines.get(place.line - 1).unwrap_or_else(|| panic!("{place} is not in the text"));
            assert!(place.column <= line.chars().count() + 1, "{place} is not in the line");
        }
    }
    for look in [Look::Plain, Look::Colour] {
        assert!(report.render(look).len() < 2 << 20, "a report that nobody can read");
    }
    assert!(!report.render(Look::Plain).contains('\u{1b}'), "colours in plain text");
}

fn refused(text: &[u8]) -> Report {
    let before = thread_time();
    let report = parse(text).expect_err("a text that is to be refused");
    check_report(text, &report);
    let took = thread_time() - before;
    assert!(took < SOON, "took {took:?}");
    report
}

#[test]
fn the_file_that_is_mutated_here_is_good() {
    assert_eq!(parse(GOOD.as_bytes()).map(|config| config.buses.len()).ok(), Some(2));
}

#[test]
fn deep_nesting_is_refused_early() {
    for text in [
        "[".repeat(1 << 20),
        "{a: ".repeat(1 << 18),
        "- ".repeat(1 << 20),
        "a:\n".to_string()
            + &(1..2_000).fold(String::new(), |mut out, n| {
                let _ = writeln!(out, "{}a:", " ".repeat(n));
                out
            }),
        "? ".repeat(1 << 18),
    ] {
        assert!(refused(text.as_bytes()).count() > 0);
    }
}

#[test]
fn aliases_can_not_multiply() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..40 {
        let _ = writeln!(bomb, "a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 10].join(", "));
    }
    assert!(refused(bomb.as_bytes()).to_string().contains("at most 1000000 values"));
    // The same with merge keys, and with devices that share one long list of points.
    let mut points = String::from("devices:\n  d0: { bus: b, points: &p {");
    (0..10_000).for_each(|n| {
        let _ = write!(points, "p{n}: {{ holding: {n} }}, ");
    });
    points.push_str("} }\n");
    (1..10_000).for_each(|n| {
        let _ = writeln!(points, "  d{n}: {{ bus: b, points: {{ <<: *p }} }}");
    });
    assert!(refused(points.as_bytes()).to_string().contains("at most 1000000 values"));
}

#[test]
fn four_mebibytes_of_nonsense_take_no_time() {
    let fill = |piece: &str| piece.repeat((4 << 20) / piece.len());
    for text in [
        fill("x"),
        fill("\""),
        fill("'"),
        fill("#"),
        fill(":"),
        fill(" "),
        fill("\n"),
        fill("a: "),
        fill("*a "),
        fill("&a "),
        fill("!a "),
        fill("%a "),
        fill("- a\n"),
        fill("---\n"),
        fill("?\n"),
        fill("| "),
        fill("a: |\n x\n"),
        fill("${A}"),
        fill("password: "),
        fill("[a, "),
        fill("[],"),
        fill("\t"),
        format!("a: \"{}", fill("\\x41")),
        format!("gateway: {{ id: {} }}", fill("x")),
        format!("{}: 1", fill("x")),
    ] {
        refused(text.as_bytes());
    }
}

#[test]
fn a_hundred_thousand_problems_are_counted_and_fifty_are_shown() {
    let mut text = String::from("gateway: { id: a }\nbuses:\n");
    (0..30_000).for_each(|n| {
        let _ = writeln!(text, "  b{n}: {{ tcp: plc{n}, protocl: modbus-tcp }}");
    });
    text.push_str("devices:\n");
    (0..20_000).for_each(|n| {
        let _ = writeln!(text, "  d{n}: {{ bus: c{n}, unitid: 1 }}");
    });
    let report = refused(text.as_bytes());
    assert!(report.count() > 50_000, "{}", report.count());
    assert_eq!(report.render(Look::Plain).matches("error: ").count(), 50);
    assert!(report.problems().len() <= 200);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(report) = parse(&bytes) {
            check_report(&bytes, &report);
        }
    }

    #[test]
    fn any_text_of_yaml_characters_is_answered(text in "[a-c0-9:\\-\\[\\]{},#&*!|>'\"%@`~?\\\\ \n\t\r\u{e4}<]{0,200}") {
        if let Err(report) = parse(text.as_bytes()) {
            check_report(text.as_bytes(), &report);
        }
    }

    #[test]
    fn a_good_file_with_wrong_bytes_is_answered(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..8)
    ) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for (at, byte, what) in edits {
            let at = at.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Err(report) = parse(&bytes) {
            check_report(&bytes, &report);
        }
    }

    #[test]
    fn a_good_file_with_lines_moved_about_is_answered(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..5u8), 1..6)
    ) {
        let mut lines: Vec<String> = GOOD.lines().map(String::from).collect();
        for (from, to, what) in edits {
            let from = from.index(lines.len());
            match what {
                0 => lines[from].insert_str(0, "  "),
                1 => lines[from] = lines[from].trim_start_matches("  ").into(),
                2 => { let line = lines.remove(from); let to = to.index(lines.len()); lines.insert(to, line) }
                3 => { let line = lines[from].clone(); let to = to.index(lines.len()); lines.insert(to, line) }
                _ if lines.len() > 1 => { lines.remove(from); }
                _ => {}
            }
        }
        let text = lines.join("\n");
        if let Err(report) = parse(text.as_bytes()) {
            check_report(text.as_bytes(), &report);
        }
    }

    #[test]
    fn a_password_is_never_shown_whatever_is_wrong_around_it(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6u8), 1..6)
    ) {
        let with_password = GOOD.replace("password_file: cloud.password", "password: hunter2");
        let mut lines: Vec<String> = with_password.lines().map(String::from).collect();
        for (from, to, what) in edits {
            let from = from.index(lines.len());
            match what {
                0 => lines[from].insert_str(0, "  "),
                1 => lines[from] = lines[from].trim_start_matches("  ").into(),
                2 => { let line = lines.remove(from); let to = to.index(lines.len() + 1); lines.insert(to, line) }
                3 => { let line = lines[from].clone(); let to = to.index(lines.len()); lines.insert(to, line) }
                4 => lines[from].push_str([" {", " ]", " \"", " '", ": x", "\t"][to.index(6)]),
                _ if lines.len() > 1 => { lines.remove(from); }
                _ => {}
            }
        }
        if let Err(report) = parse(lines.join("\n").as_bytes()) {
            let shown = report.render(Look::Plain);
            prop_assert!(!shown.contains("hunter2"), "{}", shown);
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_anywhere_is_answered(
        line in any::<prop::sample::Index>(),
        value in prop::sample::select(vec!["", "~", "[]", "{}", "x", "-1", "\"\"", "99999999999999999999", "1e400", "[[]]", "{ a: { b: c } }", "true", "${X}", "*a", "&a b", "!t c", "|"])
    ) {
        let lines: Vec<&str> = GOOD.lines().collect();
        let at = line.index(lines.len());
        let key = lines[at].split_once(": ").map_or(lines[at], |(key, _)| key);
        let changed = format!("{key}: {value}");
        let text: Vec<&str> = lines.iter().enumerate().map(|(n, line)| if n == at { changed.as_str() } else { line }).collect();
        let text = text.join("\n");
        if let Err(report) = parse(text.as_bytes()) {
            check_report(text.as_bytes(), &report);
        }
    }
}
