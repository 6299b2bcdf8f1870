//! Which statement is held by which test: read from the comments of the tests, written to `docs/conformance.md`, and complete.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every statement of both texts; behind those without a test stands why.
const STATEMENTS: &str = include_str!("statements.txt");

/// A statement: version as in the comments, number.
type Id = (&'static str, String);

/// A function or table of the suite: the text from its comment to its end.
struct Item {
    name: String,
    text: String,
    is_test: bool,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/conformance")
}

/// The items of a file. They end where rustfmt puts their last bracket: at the beginning of a line.
fn items(text: &str) -> Vec<Item> {
    let mut out = Vec::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.starts_with("//!")) {
        current.push_str(line);
        current.push('\n');
        let ends =
            matches!(line, "}" | "];" | ")" | "});") || (!line.starts_with([' ', '/', '#']) && line.ends_with(';'));
        if ends {
            let text = std::mem::take(&mut current);
            let is_test = text.contains("#[test]") || text.contains("#[tokio::test");
            let name = ["fn ", "const "].iter().find_map(|word| {
                let begin = text.lines().find(|line| !line.starts_with(['/', '#']) && line.contains(word))?;
                let rest = begin.split_once(word)?.1;
                Some(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?.to_string())
            });
            out.push(Item { name: name.unwrap_or_default(), text, is_test });
        }
    }
    out
}

/// The statements that a text names: `[MQTT-3.3.1-5]` in both versions, with `v311` or `v5` before it in one.
fn named(text: &str) -> BTreeSet<Id> {
    let mut out = BTreeSet::new();
    for (at, _) in text.match_indices("[MQTT-") {
        let number: String = text[at + 6..].chars().take_while(|c| *c != ']').collect();
        if !number.chars().all(|c| c.is_ascii_digit() || ".-".contains(c)) {
            continue;
        }
        let versions: &[&'static str] = match &text[..at] {
            before if before.ends_with("v311 ") => &["v311"],
            before if before.ends_with("v5 ") => &["v5"],
            _ => &["v311", "v5"],
        };
        out.extend(versions.iter().map(|version| (*version, number.clone())));
    }
    out
}

/// Whether `text` uses `name` as a word.
fn mentions(text: &str, name: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(name)
        .any(|(at, _)| !is_word(text[..at].chars().next_back()) && !is_word(text[at + name.len()..].chars().next()))
}

/// For each test, by its path below `conformance`: its item, and the statements that it holds, those of its tables included.
fn tests() -> Vec<(String, Item, BTreeSet<Id>)> {
    let mut out = Vec::new();
    let mut files: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "rs") && !file.ends_with("coverage.rs"));
    files.sort();
    for file in files {
        let module = file.file_stem().unwrap().to_str().unwrap().to_string();
        let (tests, others): (Vec<Item>, Vec<Item>) =
            items(&fs::read_to_string(&file).unwrap()).into_iter().partition(|item| item.is_test);
        for test in tests {
            let mut ids = named(&test.text);
            // What the test uses, what that uses, and so on.
            let mut used: Vec<&Item> = Vec::new();
            while let Some(next) = others.iter().find(|item| {
                let known = used.iter().any(|u| u.name == item.name);
                let wanted = || mentions(&test.text, &item.name) || used.iter().any(|u| mentions(&u.text, &item.name));
                !item.name.is_empty() && !known && wanted()
            }) {
                ids.extend(named(&next.text));
                used.push(next);
            }
            out.push((format!("{module}::{}", test.name), test, ids));
        }
    }
    out
}

/// Every statement, with the reason why it has no test.
fn statements() -> Vec<(Id, Option<&'static str>)> {
    let reason = |word: &str| match word {
        "client" => "binds the client",
        "choice" => "the server may, and this one does not",
        "auth" => "extended authentication is not offered",
        "user" => "the broker adds no user properties of its own to this packet",
        "definition" => "says what the other statements are about",
        other => panic!("no such reason: {other}"),
    };
    let lines = STATEMENTS.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let mut words = line.split(' ');
            let version = if words.next() == Some("v311") { "v311" } else { "v5" };
            ((version, words.next().unwrap().to_string()), words.next().map(reason))
        })
        .collect()
}

fn table(version: &str, all: &[(String, Item, BTreeSet<Id>)]) -> String {
    let mut out = String::from("| statement | test, or why there is none |\n| --- | --- |\n");
    for (id, why) in statements().into_iter().filter(|(id, _)| id.0 == version) {
        let names: Vec<String> =
            all.iter().filter(|(_, _, ids)| ids.contains(&id)).map(|(name, ..)| format!("`{name}`")).collect();
        let cell = why.map_or_else(|| names.join("<br>"), String::from);
        out.push_str(&format!("| MQTT-{} | {cell} |\n", id.1));
    }
    out
}

fn pitfalls(all: &[(String, Item, BTreeSet<Id>)]) -> String {
    let mut by_number: BTreeMap<u32, Vec<&str>> = (1..=12).map(|n| (n, Vec::new())).collect();
    for (name, item, _) in all {
        let comment: String = item.text.lines().filter(|line| line.starts_with("///")).collect();
        let Some((_, rest)) = comment.split_once("itfall") else { continue };
        let words = rest.split(|c: char| !c.is_ascii_digit() && !c.is_alphabetic()).filter(|word| !word.is_empty());
        let numbers =
            words.skip_while(|word| *word == "s").take_while(|word| *word == "and" || word.parse::<u32>().is_ok());
        for number in numbers.filter_map(|word| word.parse().ok()) {
            by_number.entry(number).or_default().push(name);
        }
    }
    let mut out = String::from("| pitfall | tests |\n| --- | --- |\n");
    for (number, names) in by_number {
        assert!(!names.is_empty(), "no test names pitfall {number}");
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        out.push_str(&format!("| {number} | {} |\n", names.join("<br>")));
    }
    out
}

#[test]
fn each_statement_has_a_test_or_a_reason_and_the_page_says_which() {
    let all = tests();
    let known: BTreeMap<Id, Option<&str>> = statements().into_iter().collect();
    for (name, _, ids) in &all {
        for id in ids {
            match known.get(id) {
                None => panic!("{name} names {id:?}, which does not exist"),
                Some(Some(why)) => panic!("{name} tests {id:?}, of which statements.txt says: {why}"),
                Some(None) => {}
            }
        }
    }
    let missing: Vec<&Id> = known
        .iter()
        .filter(|(id, why)| why.is_none() && !all.iter().any(|(_, _, ids)| ids.contains(id)))
        .map(|(id, _)| id)
        .collect();
    assert!(missing.is_empty(), "neither test nor reason: {missing:?}");

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let before = fs::read_to_string(&page).unwrap();
    let mut after = before.clone();
    for (part, content) in [("3.1.1", table("v311", &all)), ("5", table("v5", &all)), ("pitfalls", pitfalls(&all))] {
        let (begin, end) = (format!("<!-- begin {part} -->\n"), format!("<!-- end {part} -->"));
        let (head, rest) = after.split_once(&begin).unwrap_or_else(|| panic!("no {begin} in the page"));
        let (_, tail) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end} in the page"));
        after = format!("{head}{begin}{content}{end}{tail}");
    }
    if std::env::var_os("FIELDWAY_BLESS").is_some() {
        fs::write(&page, &after).unwrap();
    } else {
        assert!(
            before == after,
            "docs/conformance.md is not what the tests say: FIELDWAY_BLESS=1 cargo test --test it conformance::coverage"
        );
    }
}

#[test]
fn a_test_that_is_named_after_a_statement_holds_that_statement() {
    for (name, _, ids) in tests() {
        let Some(rest) = name.split_once("::mqtt_").map(|(_, rest)| rest) else { continue };
        let (version, rest) = match rest.split_once('_') {
            Some((version @ ("v311" | "v5"), rest)) => (Some(version), rest),
            _ => (None, rest),
        };
        let digits: Vec<&str> = rest.split('_').take_while(|part| part.parse::<u32>().is_ok()).collect();
        // A statement has three or four numbers: 4.2-1, 3.3.1-5. What follows in a name may begin with a number too.
        let holds = (3..=digits.len().min(4)).rev().any(|n| {
            let number = format!("{}-{}", digits[..n - 1].join("."), digits[n - 1]);
            ids.iter().any(|(v, id)| *id == number && version.is_none_or(|version| version == *v))
        });
        assert!(holds, "{name} does not name its statement in its comment");
    }
}
