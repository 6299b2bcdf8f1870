//! What the operating system says about this process. Read on demand; nothing is kept.

/// The memory that this process holds in RAM, in bytes; `None` where the system does not say (`/proc` is Linux's).
pub fn resident_bytes() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
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
