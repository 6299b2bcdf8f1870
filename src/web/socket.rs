//! The control socket: a file that only this machine's administrators and the gateway's group can connect to.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The socket's name in the data directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// Where it is bound before it gets its name; not longer than that.
const UNNAMED: &str = "control.new";
/// Owner and group may connect, which takes the right to write.
const MODE: u32 = 0o660;
/// Bytes of `sun_path`, with the zero at its end (unix(7)).
const MAX_PATH: usize = 108;

/// A name for the file `name` in `folder` that fits into a socket's address. The folder has to stay open for as long as the name is used.
///
/// A path that is too long is reached through the folder itself, held open, which `/proc` has a short name for.
pub fn address(folder: &Path, name: &str) -> io::Result<(PathBuf, Option<File>)> {
    let plain = folder.join(name);
    if plain.as_os_str().len() < MAX_PATH {
        return Ok((plain, None));
    }
    let open = File::open(folder)?;
    Ok((format!("/proc/self/fd/{}/{name}", open.as_raw_fd()).into(), Some(open)))
}

/// Opens the control socket in `folder`. A socket that is there is replaced: whoever calls this holds the lock of the folder, so it is a dead
/// process's. Anything else of that name is an error.
pub(super) fn bind(folder: &Path) -> io::Result<UnixListener> {
    for name in [UNNAMED, CONTROL_SOCKET] {
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(there) if there.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket has its name"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let (unnamed, _open) = address(folder, UNNAMED)?;
    let listener = UnixListener::bind(unnamed)?;
    // It gets its name once its rights are right.
    fs::set_permissions(folder.join(UNNAMED), Permissions::from_mode(MODE))?;
    fs::rename(folder.join(UNNAMED), folder.join(CONTROL_SOCKET))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn the_socket_of_a_dead_process_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(bind(folder.path()).expect("bound"));
        let path = folder.path().join(CONTROL_SOCKET);
        assert!(UnixStream::connect(&path).is_err(), "nobody listens any more");
        let listener = bind(folder.path()).expect("bound again");
        UnixStream::connect(&path).expect("somebody listens");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, MODE);
        assert!(!folder.path().join(UNNAMED).exists());
        drop(listener);
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "not a socket").expect("written");
        assert_eq!(bind(folder.path()).expect_err("in the way").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(path).expect("there"), "not a socket");
    }

    #[tokio::test]
    async fn a_path_that_no_socket_address_holds_is_reached_through_its_folder() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().join("d".repeat(60)).join("e".repeat(60));
        fs::create_dir_all(&folder).expect("made");
        let listener = bind(&folder).expect("bound");
        let (path, open) = address(&folder, CONTROL_SOCKET).expect("a name");
        assert!(open.is_some());
        let accepting = tokio::spawn(async move { listener.accept().await.map(drop) });
        UnixStream::connect(path).expect("reached");
        accepting.await.expect("no panic").expect("accepted");
    }
}
