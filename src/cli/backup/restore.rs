//! `fieldway restore`: puts a backup in place, and what was there aside.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::manifest::{Entry, Manifest};
use super::{CONFIG, DATA, archive};
use crate::cli::{ConfigArg, block_on};
use crate::clock::Clock;
use crate::config;
use crate::store::backup::Restoring;

/// Puts a backup in place of a gateway that does not run. What it replaces is kept aside.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArg,
    /// Replace a configuration and a queue that are there; they are moved aside, and nothing is deleted
    #[arg(long)]
    force: bool,
}

/// Puts the backup in place. Errors when a gateway runs there, when there is something already and `--force` is not given, and when the backup
/// is damaged, newer, or more than a backup can be; then nothing has changed.
pub fn restore(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let target = &args.config.config;
    let main = target.file_name().context("name the configuration's file with --config")?;
    let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    let scratch = tempfile::Builder::new().prefix(".fieldway-restore-").tempdir_in(folder);
    let scratch = scratch.with_context(|| format!("can't write to {}", folder.display()))?;

    // First all of it is checked, and what is small is unpacked beside its place.
    let mut known = None;
    let note = |manifest: &Manifest| {
        known = Some(manifest.clone());
        Ok(())
    };
    archive::read(&args.file, note, |entry| unpack(entry, scratch.path()))?;
    let manifest = known.context("a backup has a manifest")?;
    let data_dir = data_dir(&manifest, scratch.path(), folder)?;

    let files: Vec<Placed> =
        manifest.files.iter().filter_map(|entry| Placed::of(entry, &manifest, scratch.path(), folder, main)).collect();
    let in_the_way: Vec<&Placed> = files.iter().filter(|file| file.replaces()).collect();
    let restoring = Restoring::begin(&data_dir).context("nothing was changed")?;
    let database = manifest.files.iter().find(|entry| entry.path.starts_with(DATA));
    if !args.force {
        if database.is_some() && restoring.has_data() {
            bail!("there is a queue in {} already; --force moves it aside. Nothing was changed", data_dir.display());
        }
        if let Some(file) = in_the_way.first() {
            bail!("{} is there already; --force moves it aside. Nothing was changed", file.to.display());
        }
    }
    if let Some(database) = database {
        let place = restoring.place()?;
        let only = |entry: &Entry| if entry.path == database.path { create(&place).map(Some) } else { Ok(None) };
        archive::read(&args.file, |_| Ok(()), only)?;
        own_as(&place, &data_dir, None)?;
    }

    let now = Clock::start().wall().0 / 1000;
    let aside = if database.is_some() { block_on(restoring.finish(now))?? } else { None };
    if database.is_some() {
        own_as(&data_dir.join(crate::store::backup::DATABASE), &data_dir, None)?;
    }
    println!("gateway {} as it was at {}", manifest.gateway, manifest.made);
    for file in &files {
        file.put(now)?;
        println!("  {}", file.to.display());
    }
    if database.is_some() {
        println!("  {}", data_dir.join(crate::store::backup::DATABASE).display());
    }
    tell(&manifest, aside.as_deref(), database.is_some());
    Ok(ExitCode::SUCCESS)
}

fn tell(manifest: &Manifest, aside: Option<&Path>, with_database: bool) {
    if let Some(aside) = aside {
        println!("The queue that was there is now {}.", aside.display());
    }
    for entry in manifest.files.iter().filter(|entry| entry.path.starts_with("elsewhere/")) {
        let path = entry.path.trim_start_matches("elsewhere");
        println!(
            "Not touched: {path} lies outside of the configuration's folder; the backup has it as {}.",
            entry.path
        );
    }
    if with_database {
        println!("What was sent since the backup may be sent again: each queue connects clean once, with a new epoch.");
    }
}

/// Where the data goes, as the configuration in the backup says; a relative path is relative to the new folder.
fn data_dir(manifest: &Manifest, scratch: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let main = scratch.join(manifest.main());
    let named = config::data_dir(&main, &|name| std::env::var(name).ok());
    let named = named.context("the configuration in the backup does not say where its data goes")?;
    Ok(match named.strip_prefix(scratch.join(CONFIG)) {
        Ok(relative) => folder.join(relative),
        Err(_) => named,
    })
}

/// Files of the configuration are unpacked, the others only checked.
fn unpack(entry: &Entry, scratch: &Path) -> anyhow::Result<Option<File>> {
    if !entry.path.starts_with(CONFIG) {
        return Ok(None);
    }
    let to = scratch.join(&entry.path);
    fs::create_dir_all(to.parent().context("it is below a folder")?)?;
    create(&to).map(Some)
}

fn create(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("can't write {}", path.display()))
}

/// A file of the configuration on its way.
struct Placed {
    from: PathBuf,
    to: PathBuf,
    mode: u32,
}

impl Placed {
    fn of(entry: &Entry, manifest: &Manifest, scratch: &Path, folder: &Path, main: &std::ffi::OsStr) -> Option<Placed> {
        let relative = Path::new(&entry.path).strip_prefix(CONFIG).ok()?;
        let to = if entry.path == manifest.main() { folder.join(main) } else { folder.join(relative) };
        Some(Placed { from: scratch.join(&entry.path), to, mode: entry.mode & 0o775 })
    }

    /// Whether something else is there.
    fn replaces(&self) -> bool {
        match fs::read(&self.to) {
            Ok(there) => fs::read(&self.from).ok().as_ref() != Some(&there),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn put(&self, now: i64) -> anyhow::Result<()> {
        let failed = || format!("can't put {} in place", self.to.display());
        let parent = self.to.parent().with_context(failed)?;
        fs::create_dir_all(parent).with_context(failed)?;
        let before = fs::metadata(&self.to).ok();
        if before.is_some() && self.replaces() {
            let mut aside = self.to.as_os_str().to_owned();
            aside.push(format!(".before-restore-{now}"));
            fs::rename(&self.to, aside).with_context(failed)?;
        }
        fs::set_permissions(&self.from, fs::Permissions::from_mode(self.mode)).with_context(failed)?;
        own_as(&self.from, parent, before.as_ref()).with_context(failed)?;
        fs::rename(&self.from, &self.to).with_context(failed)?;
        File::open(parent).and_then(|parent| parent.sync_all()).with_context(failed)
    }
}

/// Gives a file to whoever had the one before it, else to the owner of its folder: restored by root, it is still the gateway's. Only root can
/// give files away, and nobody else needs to.
fn own_as(file: &Path, folder: &Path, before: Option<&fs::Metadata>) -> anyhow::Result<()> {
    let like = before.cloned().map_or_else(|| fs::metadata(folder), Ok)?;
    let own = fs::metadata(file)?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        chown(file, Some(like.uid()), Some(like.gid()))
            .with_context(|| format!("can't give {} to its owner", file.display()))?;
    }
    Ok(())
}
