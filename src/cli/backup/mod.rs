//! `fieldway backup` and `fieldway restore`: a whole gateway in one file, and back.
//!
//! `manifest` says what is in the file and may be, `archive` writes and reads it, `files` finds what belongs to a configuration, `restore` puts
//! it back. The gateway may run while it is copied: the database is copied by SQLite in one read transaction.

mod archive;
mod files;
mod manifest;
mod restore;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::check::look;
use super::status::size;
use super::{ConfigArg, MISUSED};
use crate::clock::Clock;
use crate::config;
use crate::store::backup as store;

use archive::Writer;
use files::Source;
use manifest::{Entry, FORMAT, Manifest, PROGRAM};

pub use restore::{RestoreArgs, restore};

/// The folders of a backup.
const CONFIG: &str = "config";
const ELSEWHERE: &str = "elsewhere";
const DATA: &str = "data";

/// Copies a whole gateway into one file: its configuration with included files, own templates, passwords and keys, its queues, sessions and
/// retained messages. The gateway may run meanwhile.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// The file to write, such as gateway.tar.zst; what has this name is replaced once the new one is whole
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArg,
}

/// Writes the backup; 0 when it is whole and on disk, 2 when the configuration can't be read. Errors say what could not be read or written.
pub fn run(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let (config, read) = match config::load_with_files(&args.config.config, &|name| std::env::var(name).ok()) {
        Ok(loaded) => loaded,
        Err(report) => {
            io::stderr().write_all(report.render(look()).as_bytes())?;
            return Ok(ExitCode::from(MISUSED));
        }
    };
    if args.file.is_dir() {
        bail!("{} is a folder: name a file in it, such as gateway.tar.zst", args.file.display());
    }
    // Beside the backup: where it has room, its parts have, and the gateway's own disk is left alone.
    let beside = args.file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unwritable = || format!("can't write to {}", beside.display());
    let scratch = tempfile::Builder::new().prefix(".fieldway-backup-").tempdir_in(beside).with_context(unwritable)?;

    let mut sources = files::of_configuration(&args.config.config, read)?;
    let copy = scratch.path().join(store::DATABASE);
    let schema = super::block_on(store::copy(&config.gateway.data_dir, &copy))?.with_context(
        || "can't copy the queue; is this run by root or by the gateway's user (`sudo -u fieldway fieldway backup …`)?",
    )?;
    if schema.is_some() {
        sources.push(Source::of(format!("{DATA}/{}", store::DATABASE), copy)?);
    }

    let entries = sources.iter().map(Source::entry).collect::<anyhow::Result<Vec<Entry>>>()?;
    let main = args.config.config.file_name().context("a configuration is a file")?.to_string_lossy().into_owned();
    let manifest = Manifest {
        program: PROGRAM.into(),
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        made: Clock::start().wall().to_string(),
        gateway: config.gateway.id.to_string(),
        configuration: main,
        schema,
        files: entries,
    };
    let whole = write(&manifest, &sources, scratch.path(), &args.file)?;
    let count = sources.len() - usize::from(schema.is_some());
    println!(
        "{}: {} of gateway {}: {count} files of the configuration{}",
        args.file.display(),
        size(whole),
        manifest.gateway,
        if schema.is_some() { ", and the queues, sessions and retained messages" } else { "; there is no queue yet" }
    );
    println!("It holds passwords and keys: only its owner can read it; keep it so.");
    Ok(ExitCode::SUCCESS)
}

/// Writes the archive beside its place, brings it to the disk, and moves it there. Returns its size.
fn write(manifest: &Manifest, sources: &[Source], scratch: &Path, to: &Path) -> anyhow::Result<u64> {
    let unfinished = scratch.join("unfinished");
    let mut writer = Writer::create(&unfinished)?;
    writer.manifest(manifest)?;
    for (source, entry) in sources.iter().zip(&manifest.files) {
        writer.file(entry, &source.from).with_context(|| format!("can't copy {}", source.from.display()))?;
    }
    let size = writer.finish()?;
    fs::rename(&unfinished, to).with_context(|| format!("can't write {}", to.display()))?;
    let folder = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).context("can't bring the backup to the disk")?;
    Ok(size)
}
