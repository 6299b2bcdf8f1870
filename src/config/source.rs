//! From a path to text: bounded, and refused with a reason when it can't be a configuration.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::problem::Problem;

/// A configuration with 100,000 points, each in a line of its own, has about 5 MiB.
const MAX_BYTES: u64 = 16 << 20;
/// A password, a host name, a template, an included file, certificates.
const MAX_SMALL_BYTES: u64 = 1 << 20;
/// Files of a folder that `include:` may look through.
const MAX_LISTED: usize = 10_000;

/// The bytes of a configuration file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let shown = path.display();
    read_at_most(path, MAX_BYTES).map_err(|error| match error {
        NoFile::Io(error) => {
            let problem = Problem::of_file(format!("cannot read {shown}: {}", reason(&error)));
            match error.kind() {
                io::ErrorKind::NotFound => problem
                    .help("name the file: `fieldway check FILE`, or `--config FILE` with other commands")
                    .help("without a name it is /etc/fieldway/gateway.yaml"),
                io::ErrorKind::PermissionDenied => {
                    problem.help("run it as a user who may read the file, for example with `sudo -u fieldway`")
                }
                _ => problem,
            }
        }
        NoFile::NotRegular(what) => Problem::of_file(format!("cannot read {shown}: it is {what}"))
            .help("a configuration is an ordinary file, for example gateway.yaml"),
        NoFile::TooLarge => Problem::of_file(format!("cannot read {shown}: it has more than {} MiB", MAX_BYTES >> 20))
            .help("is this the right file? A configuration with 100,000 points has about 5 MiB"),
    })
}

/// The bytes of a file that holds a word or two.
pub(super) fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, MAX_SMALL_BYTES).map_err(|error| match error {
        NoFile::Io(error) => error,
        NoFile::NotRegular(what) => io::Error::other(format!("it is {what}, not a file")),
        NoFile::TooLarge => io::Error::other(format!("it has more than {} KiB", MAX_SMALL_BYTES >> 10)),
    })
}

/// The files of a folder.
pub(super) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    // An empty path is the folder we are in.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::read_dir(folder)?.take(MAX_LISTED).map(|entry| entry.map(|entry| entry.path())).collect()
}

/// An I/O error as a person says it.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::NotADirectory => "a part of its path is not a folder".into(),
        _ => error.to_string(),
    }
}

enum NoFile {
    Io(io::Error),
    NotRegular(&'static str),
    TooLarge,
}

fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, NoFile> {
    // Asked before opening: opening a FIFO would wait for its writer.
    let kind = fs::metadata(path).map_err(NoFile::Io)?.file_type();
    if kind.is_dir() {
        return Err(NoFile::NotRegular("a folder"));
    }
    if !kind.is_file() {
        return Err(NoFile::NotRegular("a device, a pipe or a socket"));
    }
    let file = File::open(path).map_err(NoFile::Io)?;
    // Not trusted to be the size that it says: /proc has files of size 0 with text in them.
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(NoFile::Io)?;
    if bytes.len() as u64 > limit { Err(NoFile::TooLarge) } else { Ok(bytes) }
}

/// UTF-8 without a byte order mark and without control characters; otherwise the problem with a text to show it in.
pub(super) fn decode(bytes: &[u8]) -> Result<String, Box<(String, Problem)>> {
    if bytes.len() as u64 > MAX_BYTES {
        let problem = Problem::of_file(format!("the configuration has more than {} MiB", MAX_BYTES >> 20));
        return Err(Box::new((String::new(), problem)));
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        let problem = Problem::of_file("the file is UTF-16, not UTF-8")
            .help("save it again as UTF-8; Windows editors call UTF-16 \"Unicode\"");
        return Err(Box::new((String::new(), problem)));
    }
    let bytes = bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            // The first replacement character stands where the first wrong byte stood.
            let text = String::from_utf8_lossy(bytes).into_owned();
            let problem = Problem::at(&(at..at + '\u{FFFD}'.len_utf8()), "the file is not UTF-8")
                .label(format!("byte 0x{:02X}", bytes[at]))
                .help("save it again as UTF-8; this is often a `°` or `²` from an editor set to Latin-1");
            return Err(Box::new((text, problem)));
        }
    };
    match control_character(text) {
        None => Ok(text.into()),
        Some((at, character)) => {
            let problem = Problem::at(
                &(at..at + character.len_utf8()),
                format!("the control character U+{:04X} can't be in a configuration", character as u32),
            )
            .label("here")
            .help(match character {
                '\r' => "lines end with a line feed, with or without a carriage return before it",
                '\0' => "is this a text file at all? If so, remove the character",
                _ => "remove it; inside double quotes it can be written as an escape",
            });
            Err(Box::new((text.into(), problem)))
        }
    }
}

fn control_character(text: &str) -> Option<(usize, char)> {
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let fine = match character {
            '\n' | '\t' => true,
            '\r' => characters.peek().is_some_and(|(_, next)| *next == '\n'),
            // A byte order mark in the middle comes from files joined together.
            '\u{FEFF}' => false,
            other => !other.is_control(),
        };
        if !fine {
            return Some((at, character));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> Problem {
        decode(bytes).unwrap_err().1
    }

    #[test]
    fn texts_that_are_no_text_are_refused_with_their_place() {
        assert_eq!(decode(b"\xEF\xBB\xBFa: 1\r\n").as_deref(), Ok("a: 1\r\n"));
        assert_eq!(refused(b"\xFF\xFEa\0").title, "the file is UTF-16, not UTF-8");
        assert_eq!(refused(b"unit: \xB0C").at, Some(6..9));
        assert_eq!(refused(b"a: \0").at, Some(3..4));
        assert_eq!(refused(b"a: 1\rb: 2").at, Some(4..5));
        assert_eq!(refused("a: \u{FEFF}".as_bytes()).at, Some(3..6));
        assert!(refused(&vec![b'#'; 17 << 20]).at.is_none());
    }

    #[test]
    fn only_ordinary_files_of_ordinary_size_are_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let title = |path: &Path| read(path).unwrap_err().title;
        assert!(title(folder.path()).ends_with("it is a folder"));
        assert!(title(Path::new("/dev/zero")).ends_with("it is a device, a pipe or a socket"));
        assert!(title(&folder.path().join("none.yaml")).ends_with("there is no such file"));
        let large = folder.path().join("large.yaml");
        File::create(&large).and_then(|file| file.set_len(100 << 20)).expect("a sparse file");
        assert!(title(&large).ends_with("it has more than 16 MiB"));
    }
}
