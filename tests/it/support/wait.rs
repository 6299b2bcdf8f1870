//! Waiting for something that another process does: look again until it is so, and fail loudly when it never is.

use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Looks every few milliseconds until `look` finds something; fails the test when it has not within `within`.
pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting for {what} after {within:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that nothing listens on at this moment.
pub fn free_port() -> u16 {
    let probe = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    probe.local_addr().expect("a bound socket has an address").port()
}

/// The processor's time that this thread has had, to 10 ms: however busy the machine is, it says what was done. From proc_pid_stat(5): `utime` and
/// `stime` are the 12th and 13th fields after the name in parentheses, in ticks of 10 ms.
pub fn thread_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux has it");
    let (_, after_name) = stat.rsplit_once(')').expect("the name is in parentheses");
    let ticks = after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a count"));
    Duration::from_millis(10 * ticks.sum::<u64>())
}
