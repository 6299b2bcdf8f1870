//! Manual pages in man(7): one of the command line, one of the configuration.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use fieldway::config::{DescribedKey, every_key, keys_of_about};

use super::markdown;

/// The date of both pages, which are part of one version.
const WRITTEN: &str = "2026-11-21";

/// A text that stands for itself.
pub fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    match escaped.strip_prefix(['.', '\'']) {
        Some(_) if !escaped.starts_with(".S") => format!("\\&{escaped}"),
        _ => escaped,
    }
}

fn head(name: &str, section: u8, about: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let title = name.to_uppercase();
    format!(
        ".\\\" Written by tests/it/handouts.rs; change what it is written from.\n\
         .TH {title} {section} {WRITTEN} \"Fieldway {version}\"\n.SH NAME\n{} \\- {}\n",
        escape(name),
        escape(about)
    )
}

/// fieldway(1): the commands from the program itself, and what it can't know of itself from `rest`, which is roff.
pub fn command_page(mut command: Command, rest: &str) -> String {
    command.build();
    let mut page = head("fieldway", 1, "edge gateway for Modbus and serial devices, with MQTT here and to the cloud");
    let (opening, closing) = rest.split_once(".\\\" COMMANDS\n").expect("the page's frame says where the commands go");
    page.push_str(opening);
    page.push_str(".SH COMMANDS\n");
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        one(&mut page, &format!("fieldway {}", sub.get_name()), sub);
    }
    page.push_str(".SH GLOBAL OPTIONS\n");
    command.get_arguments().filter(|arg| !arg.is_hide_set()).for_each(|arg| argument(&mut page, arg));
    page.push_str(closing);
    page
}

/// A command, and those below it.
fn one(page: &mut String, name: &str, command: &Command) {
    if command.is_hide_set() {
        return;
    }
    writeln!(page, ".SS {}", escape(name)).unwrap();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    paragraphs(page, &about, ".PP");
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").split_whitespace().collect::<Vec<_>>().join(" ");
    writeln!(page, ".PP\n\\fB{}\\fR", escape(&usage)).unwrap();
    let own =
        command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help");
    own.for_each(|arg| argument(page, arg));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        one(page, &format!("{name} {}", sub.get_name()), sub);
    }
}

fn argument(page: &mut String, arg: &Arg) {
    let values: Vec<String> = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let value =
        if takes { values.iter().map(|value| format!(" \\fI{}\\fR", escape(value))).collect() } else { String::new() };
    let short = arg.get_short().map(|short| format!("\\fB\\-{short}\\fR"));
    let long = arg.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", escape(long)));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let title = if names.is_empty() { value.trim_start().to_string() } else { format!("{}{value}", names.join(", ")) };
    writeln!(page, ".TP\n{title}").unwrap();
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    paragraphs(page, &help, ".IP");
    let mut notes = Vec::new();
    let possible: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| value.get_name().to_string())
        .collect();
    if takes && !possible.is_empty() {
        notes.push(format!("one of: {}", possible.join(", ")));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes && !defaults.is_empty() {
        notes.push(format!("default: {}", defaults.join(" ")));
    }
    if let Some(variable) = arg.get_env() {
        notes.push(format!("environment: {}", variable.to_string_lossy()));
    }
    if !notes.is_empty() {
        writeln!(page, "[{}]", escape(&notes.join("; "))).unwrap();
    }
}

fn paragraphs(page: &mut String, text: &str, separator: &str) {
    // The heading, or the option, begins the first by itself.
    let mut first = true;
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        if !std::mem::take(&mut first) {
            writeln!(page, "{separator}").unwrap();
        }
        let joined = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(page, "{}", markdown::inline(&joined)).unwrap();
    }
}

/// The title of a key in the list of all of them.
pub fn title(path: &str) -> String {
    format!(".TP\n\\fB{}\\fR", escape(path))
}

fn described(page: &mut String, key: &DescribedKey) {
    let kind = markdown::inline(key.kind);
    let default = match key.default {
        "" => String::new(),
        needed if needed.starts_with("required") => format!("; {}", escape(needed)),
        default => format!("; default: {}", escape(default)),
    };
    writeln!(page, "{} ({kind}{default})\n{}", title(&key.path), markdown::inline(key.meaning)).unwrap();
}

/// gateway.yaml(5), from the documentation's page and the keys themselves.
pub fn configuration_page(source: &str) -> String {
    let mut page = head("gateway.yaml", 5, "configuration of the Fieldway edge gateway");
    let body = source.split_once('\n').expect("a title").1;
    page.push_str(".SH DESCRIPTION\n");
    page.push_str(&markdown::to_roff(body));
    page.push_str(
        ".SH EVERY KEY\nIts place in the file, what is written behind it, and what holds when it is left out. \\fBNAME\\fR is a name of yours, \\fB[]\\fR one\n\
         of a list.\n",
    );
    every_key().iter().for_each(|key| described(&mut page, key));
    page.push_str(
        ".PP\nA template has \\fBpoints\\fR and other keys of a device but \\fBbus\\fR, \\fBunit_id\\fR and \\fBtemplate\\fR, and these:\n",
    );
    keys_of_about().iter().for_each(|key| described(&mut page, key));
    page.push_str(
        ".SH FILES\n.TP\n\\fI/etc/fieldway/gateway.yaml\\fR\nthe configuration\n.TP\n\\fI/usr/share/fieldway/devices\\fR\ntemplates of devices\n\
         .TP\n\\fI/usr/share/doc/fieldway/examples\\fR\nwhole configurations to start from\n.SH SEE ALSO\n.BR fieldway (1)\n",
    );
    page
}
