//! `fieldway templates`: the devices that come with this version, and what one of them says.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use super::MISUSED;
use crate::config::templates;

/// Lists the templates that `template:` of a device can name, or prints one of them.
#[derive(Debug, clap::Args)]
pub struct TemplatesArgs {
    /// Print this template, to be read or to be changed: a file of your own goes to `devices/` beside the configuration
    name: Option<String>,
    /// Print the names as JSON
    #[arg(long)]
    json: bool,
}

/// Prints; 2 when there is no template of that name.
pub fn run(args: &TemplatesArgs) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout();
    match args.name.as_deref() {
        None if args.json => writeln!(out, "{:#}", json!({ "templates": templates::names().collect::<Vec<_>>() }))?,
        None => templates::names().try_for_each(|name| writeln!(out, "{name}"))?,
        Some(name) => match templates::text(name) {
            Some(text) if args.json => writeln!(out, "{:#}", json!({ "name": name, "text": text }))?,
            Some(text) => out.write_all(text.as_bytes())?,
            None => {
                writeln!(io::stderr(), "There is no template `{name}`. `fieldway templates` lists them.")?;
                return Ok(ExitCode::from(MISUSED));
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}
