//! Certificates and keys that the configuration names: read, and told when they can't be used.

use std::path::PathBuf;

use super::Context;
use crate::config::fields::Fields;
use crate::config::problem::{Problem, Problems};
use crate::config::scalar::Text;
use crate::config::source::reason;
use crate::transport::{MaterialError, Part};

/// The file that `key` names, with its content. `None` when it is not there, or can't be read and that is told.
pub(super) fn read(
    fields: &Fields<'_>,
    key: &'static str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<(PathBuf, Vec<u8>)> {
    let written = fields.read(key, &Text { wanted: "the path of a file", max: 4_096 }, problems)?;
    let at = &fields.entry(key)?.value.span;
    let path = context.relative(at, &written);
    match (context.outside.read)(&path) {
        Ok(bytes) => Some((path, bytes)),
        Err(error) => {
            let help = match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    "the user that the gateway runs as must be able to read it: see `ls -l` of it, and `chgrp` and `chmod g+r`"
                }
                _ => "a relative path starts at the folder of the configuration",
            };
            let title = format!("cannot read {} {}: {}", article(key), path.display(), reason(&error));
            problems.push(Problem::at(at, title).label("this file").help(help));
            None
        }
    }
}

fn article(key: &str) -> &'static str {
    match key {
        "certificate" => "the certificate",
        "private_key" => "the private key",
        "ca" => "the authority",
        _ => "the clients' authority",
    }
}

/// A file whose content is not what it should be.
pub(super) fn unusable(fields: &Fields<'_>, part: Part, error: &MaterialError) -> Problem {
    let at = fields.entry(part.key()).map_or(&fields.at, |entry| &entry.value.span);
    Problem::at(at, format!("`{}` of {} can't be used", part.key(), fields.whose))
        .label(error.to_string())
        .help(error.advice())
}
