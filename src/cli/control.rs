//! The way from a command to the gateway that is running: a question to its control socket, an answer in JSON.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::config::Config;
use crate::web::{CONTROL_SOCKET, socket_address};

/// How long a gateway may take to answer.
const WITHIN: Duration = Duration::from_secs(20);
/// The longest answer that is taken.
const MOST_BYTES: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no gateway.
    #[error("no gateway runs with {} ({why}); start it with `systemctl start fieldway` or `fieldway run`", data_dir.display())]
    NotRunning {
        /// Its data directory.
        data_dir: PathBuf,
        /// How that is known.
        why: &'static str,
    },
    /// Whoever asks is neither its user, nor in its group, nor root.
    #[error(
        "no permission to ask the gateway at {}: put `sudo` before the command, or join the gateway's group \
         (`sudo usermod -aG fieldway $USER`, then log in again)",
        socket.display()
    )]
    Denied {
        /// Its control socket.
        socket: PathBuf,
    },
    /// It is there and says nothing.
    #[error("the gateway at {} does not answer: {problem}; its log may say why", socket.display())]
    Silent {
        /// Its control socket.
        socket: PathBuf,
        /// What happened.
        problem: String,
    },
    /// It answers that it can't.
    #[error("{message}")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// Its words.
        message: String,
    },
}

/// Asks the running gateway of that configuration what it has at `/api/{path}`.
pub fn ask(config: &Config, path: &str) -> Result<Value, ControlError> {
    ask_at(&config.gateway.data_dir, path)
}

/// As [`ask`], of the gateway that uses that data directory.
pub fn ask_at(data_dir: &Path, path: &str) -> Result<Value, ControlError> {
    exchange(data_dir, &format!("GET /api/{path} HTTP/1.1\r\nHost: fieldway\r\nConnection: close\r\n\r\n"), WITHIN)
}

/// Has the running gateway of that configuration do something: `body` goes to `/api/{path}`. It may take `within`.
pub fn order(config: &Config, path: &str, body: &Value, within: Duration) -> Result<Value, ControlError> {
    let body = body.to_string();
    let request = format!(
        "POST /api/{path} HTTP/1.1\r\nHost: fieldway\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(&config.gateway.data_dir, &request, within)
}

fn exchange(data_dir: &Path, request: &str, within: Duration) -> Result<Value, ControlError> {
    let socket = data_dir.join(CONTROL_SOCKET);
    let gone = |why| ControlError::NotRunning { data_dir: data_dir.to_owned(), why };
    let silent = |problem: &dyn ToString| ControlError::Silent { socket: socket.clone(), problem: problem.to_string() };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => gone("there is no control socket"),
        io::ErrorKind::ConnectionRefused => gone("nobody listens on its control socket"),
        io::ErrorKind::PermissionDenied => ControlError::Denied { socket: socket.clone() },
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            silent(&format!("nothing within {} s", within.as_secs()))
        }
        _ => silent(&error),
    };
    let mut answer = Vec::new();
    let exchanged = (|| {
        let (address, _folder) = socket_address(data_dir, CONTROL_SOCKET)?;
        let mut stream = UnixStream::connect(address)?;
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        stream.write_all(request.as_bytes())?;
        stream.take(MOST_BYTES).read_to_end(&mut answer)
    })();
    exchanged.map_err(failed)?;
    let (status, body) = split(&answer).ok_or_else(|| silent(&"what it says is no HTTP"))?;
    let value = serde_json::from_slice::<Value>(body);
    match (status, value) {
        (200..300, Ok(value)) => Ok(value),
        (200..300, Err(error)) => Err(silent(&error)),
        (_, value) => {
            let told = value.ok().and_then(|value| Some(value.get("error")?.as_str()?.to_owned()));
            let message = told.unwrap_or_else(|| format!("the gateway answers with status {status}"));
            Err(ControlError::Refused { status, message })
        }
    }
}

/// The status and the body of an answer that ended with its connection.
fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, &answer[end + 4..]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn each_way_to_have_no_answer_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = ask_at(folder.path(), "status").expect_err("nobody is there").to_string();
        assert!(error.contains("no gateway runs") && error.contains("systemctl start"), "{error}");
        let path = folder.path().join(CONTROL_SOCKET);
        drop(UnixListener::bind(&path).expect("bound"));
        let error = ask_at(folder.path(), "status").expect_err("it is dead").to_string();
        assert!(error.contains("no gateway runs") && error.contains("nobody listens"), "{error}");
        std::fs::remove_file(&path).expect("removed");
        let listener = UnixListener::bind(&path).expect("bound");
        let error = exchange(folder.path(), "GET / HTTP/1.1\r\n\r\n", Duration::from_millis(50)).expect_err("silent");
        assert!(error.to_string().contains("does not answer"), "{error}");
        drop(listener);
    }

    #[test]
    fn an_answer_is_split_into_status_and_body() {
        assert_eq!(split(b"HTTP/1.1 200 OK\r\na: b\r\n\r\n{}"), Some((200, &b"{}"[..])));
        assert_eq!(split(b"HTTP/1.1 404 Not Found\r\n\r\n"), Some((404, &b""[..])));
        assert_eq!(split(b"SSH-2.0\r\n\r\n"), None);
        assert_eq!(split(b"HTTP/1.1 200 OK\r\n"), None);
    }
}
