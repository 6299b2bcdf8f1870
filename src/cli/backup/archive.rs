//! The file itself: a tar in zstd, the manifest first and then exactly what it lists. The only file that names tar, zstd and sha2.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use super::manifest::{self, Entry, Manifest};

/// Quick, and half as large again as the best.
const LEVEL: i32 = 3;
/// Only its owner reads a backup: there are passwords and keys in it.
const MODE: u32 = 0o600;
/// Copied at a time.
const BUFFER: usize = 256 << 10;

/// A backup that is being written.
pub struct Writer {
    tar: Builder<zstd::Encoder<'static, BufWriter<File>>>,
}

impl Writer {
    /// Begins a new file.
    pub fn create(path: &Path) -> anyhow::Result<Writer> {
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
        let file = file.with_context(|| format!("can't write {}", path.display()))?;
        let mut encoder = zstd::Encoder::new(BufWriter::new(file), LEVEL)?;
        // Damage anywhere shows when it is read.
        encoder.include_checksum(true)?;
        Ok(Writer { tar: Builder::new(encoder) })
    }

    /// What follows.
    pub fn manifest(&mut self, manifest: &Manifest) -> anyhow::Result<()> {
        let json = serde_json::to_vec_pretty(manifest)?;
        self.append(manifest::NAME, json.len() as u64, MODE, &json[..])
    }

    /// The next file of the manifest.
    pub fn file(&mut self, entry: &Entry, from: &Path) -> anyhow::Result<()> {
        self.append(&entry.path, entry.size, entry.mode, File::open(from)?)
    }

    fn append(&mut self, path: &str, size: u64, mode: u32, content: impl Read) -> anyhow::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        header.set_mode(mode);
        // A file that shrinks meanwhile must not shift those after it.
        let mut content = Counted { inner: content.take(size), bytes: 0 };
        self.tar.append_data(&mut header, path, &mut content)?;
        ensure!(content.bytes == size, "{path} changed while it was copied; try again");
        Ok(())
    }

    /// Ends it and brings it to the disk. Returns its size in bytes.
    pub fn finish(self) -> anyhow::Result<u64> {
        let mut buffered = self.tar.into_inner()?.finish()?;
        buffered.flush()?;
        let file = buffered.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Size and checksum of a file.
pub fn measure(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((size, hex(&hasher.finalize())));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

/// Reads a backup: its manifest, then one file after the other, each checked. `place` says where a file goes, or that it is passed over.
///
/// Errors when anything in it is not what its manifest says. What was written by then is for the caller to remove.
pub fn read<F>(path: &Path, mut begin: impl FnMut(&Manifest) -> anyhow::Result<()>, mut place: F) -> anyhow::Result<()>
where
    F: FnMut(&Entry) -> anyhow::Result<Option<File>>,
{
    let file = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    let damaged = || format!("{} is no backup, or it is damaged", path.display());
    let decoder = zstd::Decoder::new(BufReader::new(file)).with_context(damaged)?;
    let mut archive = Archive::new(decoder);
    let mut entries = archive.entries().with_context(damaged)?;
    let first = entries.next().with_context(damaged)?.with_context(damaged)?;
    ensure!(first.path_bytes().as_ref() == manifest::NAME.as_bytes(), manifest::Unusable::Foreign);
    let mut json = Vec::new();
    first.take(manifest::MAX_BYTES).read_to_end(&mut json).with_context(damaged)?;
    let manifest: Manifest = serde_json::from_slice(&json).with_context(damaged)?;
    manifest.check()?;
    begin(&manifest)?;
    for expected in &manifest.files {
        let mut entry = entries.next().with_context(damaged)?.with_context(damaged)?;
        let is_it = entry.path_bytes().as_ref() == expected.path.as_bytes()
            && entry.header().entry_type() == EntryType::Regular
            && entry.size() == expected.size;
        ensure!(is_it, "{}: in the place of {} is something else", damaged(), expected.path);
        let (size, sum) =
            copy(&mut entry, place(expected)?).with_context(|| format!("{}: {}", path.display(), expected.path))?;
        ensure!(
            size == expected.size && sum == expected.sha256,
            "{}: {} has a wrong checksum",
            damaged(),
            expected.path
        );
    }
    if entries.next().is_some() {
        bail!("{}: there is more in it than it says", damaged());
    }
    Ok(())
}

fn copy(from: &mut impl Read, mut to: Option<File>) -> io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut size = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
        if let Some(to) = &mut to {
            to.write_all(&buffer[..read])?;
        }
    }
    if let Some(to) = to {
        to.sync_all()?;
    }
    Ok((size, hex(&hasher.finalize())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
