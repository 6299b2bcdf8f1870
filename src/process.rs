//! What the operating system says about this process, and what it is told. Read on demand; nothing is kept.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Blocks of this size and more, in bytes, are taken from the system one by one and go back to it when they are freed.
const THRESHOLD: &str = "131072";
/// Where glibc reads that (mallopt(3)).
const SETTING: &str = "MALLOC_MMAP_THRESHOLD_";

/// Has the allocator give large blocks back for good: begins this program again, in the same process, with glibc's threshold for them fixed
/// in its environment. Does nothing when it is set already, with another C library, or when that can't be done.
///
/// glibc raises the threshold with each large block that is freed, up to 32 MiB. After a burst of messages of 1 MB, blocks like theirs come
/// from the heap, and what is left between them keeps tens of megabytes from the system for as long as the process lives. The function
/// that would change it, `mallopt`, can be called from unsafe code alone; the environment is read before `main`.
pub fn return_memory() {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) || std::env::var_os(SETTING).is_some() {
        return;
    }
    let mut arguments = std::env::args_os();
    if let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next()) {
        // It returns only when it fails, by a program file that is gone for instance; then all goes on as it is.
        let _ = Command::new(program).arg0(name).args(arguments).env(SETTING, THRESHOLD).exec();
    }
}

/// The memory that this process holds in RAM, in bytes; `None` where the system does not say (`/proc` is Linux's).
pub fn resident_bytes() -> Option<u64> {
    // One read: it is asked for every second, and most of what an idle gateway does would be to ask piece by piece.
    let mut status = [0; 4096];
    let length = File::open("/proc/self/status").ok()?.read(&mut status).ok()?;
    resident_in(&String::from_utf8_lossy(&status[..length]))
}

/// Reads the line `VmRSS:     5132 kB` of proc_pid_status(5).
fn resident_in(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_memory_is_read_in_bytes() {
        assert_eq!(resident_in("Name:\tx\nVmRSS:\t    5132 kB\nThreads:\t3\n"), Some(5132 * 1024));
        assert_eq!(resident_in("VmRSS:\tmany kB\n"), None);
        assert_eq!(resident_in(""), None);
    }

    #[test]
    fn this_test_takes_between_one_mebibyte_and_a_gibibyte() {
        let bytes = resident_bytes().expect("Linux has /proc");
        assert!((1 << 20..1 << 30).contains(&bytes), "{bytes}");
    }
}
