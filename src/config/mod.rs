//! Configuration: from the text of `gateway.yaml` to a [`Config`] in which everything is true, or to a [`Report`]
//! of everything that is not.
//!
//! `source` reads the file, `yaml` makes it a tree with places, `compose` adds included files and templates, `fields` and
//! `check` hold the tree against the keys of `keys` and collect every problem, `report` shows them inside the user's own
//! lines. Nothing here opens a port, resolves a name or writes a file.
//!
//! Refused: guessing. A key that this version does not know, or whose feature is not there yet, is a problem.

mod address;
mod check;
mod cloud_address;
mod compact;
mod compose;
mod diff;
mod fields;
mod files;
mod inside;
mod keys;
mod problem;
mod report;
mod scalar;
mod secrets;
mod source;
mod suggest;
pub mod templates;
mod tree;
mod types;
mod units;
mod yaml;

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

pub use diff::{Changes, Diff, Fixed};
pub use keys::{DescribedKey, every_key, keys_of_about};
pub use problem::Problem;
pub use report::{Look, Report};
pub use secrets::password_from;
pub use tree::Span;
pub use types::*;

use files::Files;
use problem::Problems;

/// What a configuration may ask of the machine, so that tests can answer instead.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// A variable of the environment, for `${NAME}`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The bytes of a small file: for `password_file:`, templates, included files and the host's name.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// What is in a folder: for `include:` with a pattern.
    pub list: &'a dyn Fn(&Path) -> io::Result<Vec<PathBuf>>,
}

impl Outside<'static> {
    /// No environment and no files, for texts that need neither.
    pub fn nothing() -> Outside<'static> {
        Outside { env: &|_| None, read: &|_| Err(io::ErrorKind::NotFound.into()), list: &|_| Ok(Vec::new()) }
    }
}

/// Reads and checks a configuration file. `env` looks up environment variables.
///
/// The report has every problem of the file, or says why the file can't be read.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Report> {
    match source::read(path) {
        Ok(bytes) => parse(&bytes, path, &Outside { env, read: &source::read_small, list: &source::list }),
        Err(problem) => Err(Report::new(Files::new(path, String::new()), single(problem))),
    }
}

/// As [`load`], and says which other files were read for it: included ones, templates, passwords, certificates.
pub fn load_with_files(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<(Config, Vec<PathBuf>), Report> {
    let files = RefCell::new(Vec::new());
    let read = |path: &Path| {
        let bytes = source::read_small(path)?;
        files.borrow_mut().push(path.to_owned());
        Ok(bytes)
    };
    let config = match source::read(path) {
        Ok(bytes) => parse(&bytes, path, &Outside { env, read: &read, list: &source::list })?,
        Err(problem) => return Err(Report::new(Files::new(path, String::new()), single(problem))),
    };
    Ok((config, files.into_inner()))
}

/// The data directory that a configuration names, also when other parts of it are wrong; `None` when that can't be told.
pub fn data_dir(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let bytes = source::read(path).ok()?;
    let mut files = Files::new(path, source::decode(&bytes).ok()?);
    // What is wrong is for others to tell.
    let mut problems = Problems::default();
    let root = yaml::parse(files.text(), 0..files.text().len(), &mut problems)?;
    let outside = Outside { env, read: &source::read_small, list: &source::list };
    let root = compose::compose(root, &mut files, &outside, &mut problems);
    check::data_dir(&root, &check::Context { files: &files, outside: &outside }, &mut problems)
}

/// Checks the text of a configuration as [`load`] does, with no other input than what is given. `file` is the name
/// that the report shows, and relative paths in the text are relative to its folder.
pub fn parse(text: &[u8], file: &Path, outside: &Outside<'_>) -> Result<Config, Report> {
    let text = match source::decode(text) {
        Ok(text) => text,
        Err(refused) => {
            let (text, problem) = *refused;
            let mut problems = single(problem);
            secrets::hide_in_text(&text, 0..text.len(), &mut problems);
            return Err(Report::new(Files::new(file, text), problems));
        }
    };
    let mut problems = Problems::default();
    let all = 0..text.len();
    let mut files = Files::new(file, text);
    let config = match yaml::parse(files.text(), all.clone(), &mut problems) {
        Some(root) => {
            secrets::hide_in_tree(&root, &mut problems);
            let root = compose::compose(root, &mut files, outside, &mut problems);
            check::config(&root, &check::Context { files: &files, outside }, &mut problems)
        }
        None => {
            secrets::hide_in_text(files.text(), all, &mut problems);
            None
        }
    };
    match config {
        Some(config) if problems.count() == 0 => {
            drop(files);
            Ok(Config { devices: compact::compact(config.devices), ..config })
        }
        _ => Err(Report::new(files, problems)),
    }
}

fn single(problem: Problem) -> Problems {
    let mut problems = Problems::default();
    problems.push(problem);
    problems
}
