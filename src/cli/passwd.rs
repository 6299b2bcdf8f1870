//! `fieldway passwd`: asks for a password and prints its hash for `broker.users`. The only file that names rpassword.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;

use super::MISUSED;
use crate::password::PasswordHash;
use crate::random;

/// The longest that MQTT can carry (MQTT 5 §3.1.3.6).
const MOST_BYTES: usize = 65_535;

/// Asks for a password and prints its hash for the configuration
///
/// On a terminal it asks twice and shows nothing; otherwise it reads one line from standard input.
#[derive(Debug, clap::Args)]
pub struct PasswdArgs {
    /// Print a whole entry of `broker.users` for a user of this name
    #[arg(long, value_name = "USER")]
    pub name: Option<String>,
}

/// Prints the line, or the entry. Exit 2 when the password can't be one.
pub fn run(args: &PasswdArgs) -> anyhow::Result<ExitCode> {
    let typed = if io::stdin().is_terminal() { ask()? } else { read_line(io::stdin().lock())? };
    let password = match typed.and_then(fit) {
        Ok(password) => password,
        Err(why) => {
            eprintln!("fieldway passwd: {why}");
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let hash = PasswordHash::of(password.as_bytes(), random::salt());
    io::stdout().write_all(entry(args.name.as_deref(), &hash.to_phc()).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn ask() -> anyhow::Result<Result<String, &'static str>> {
    let first = rpassword::prompt_password("Password: ").context("can't ask on this terminal")?;
    let second = rpassword::prompt_password("Again: ").context("can't ask on this terminal")?;
    Ok(if first == second { Ok(first) } else { Err("these were two different passwords; nothing was printed") })
}

fn read_line(mut input: impl BufRead) -> anyhow::Result<Result<String, &'static str>> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line).context("can't read the password from standard input")?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(String::from_utf8(line.to_vec()).map_err(|_| "the password is not UTF-8; nothing was printed"))
}

fn fit(password: String) -> Result<String, &'static str> {
    match password.len() {
        0 => Err("there is no password; type one, or pipe one line into this command"),
        1..=MOST_BYTES => Ok(password),
        _ => Err("the password is longer than MQTT can carry (65535 bytes)"),
    }
}

fn entry(name: Option<&str>, hash: &str) -> String {
    match name {
        None => format!("password_hash: \"{hash}\"\n"),
        // JSON's way of quoting is YAML's too.
        Some(name) => format!(
            "- name: {}\n  password_hash: \"{hash}\"\n  may_subscribe: []\n  may_publish: []\n",
            serde_json::Value::from(name)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_read_without_its_end() {
        for (input, password) in
            [("secret\n", "secret"), ("secret\r\nmore\n", "secret"), ("sec ret", "sec ret"), ("\n", "")]
        {
            assert_eq!(read_line(input.as_bytes()).expect("readable"), Ok(password.to_string()));
        }
        assert!(read_line(&b"\xff\n"[..]).expect("readable").is_err());
        assert!(fit(String::new()).is_err() && fit("x".repeat(MOST_BYTES + 1)).is_err());
    }

    #[test]
    fn names_are_quoted_as_yaml_wants() {
        assert!(entry(Some("on"), "h").starts_with("- name: \"on\"\n"));
        assert!(entry(Some("a\"b"), "h").starts_with("- name: \"a\\\"b\"\n"));
        assert_eq!(entry(None, "h"), "password_hash: \"h\"\n");
    }
}
