//! Times from before the clock was set: how payloads carry them, and how they are made right once it is.
//!
//! A Raspberry Pi has no clock of its own. What it reads before the network has told it the time is marked
//! `"ts":"1970-01-01T00:02:03.456Z","clock":"unsynced","boot":"5f3a92c1","uptime_ms":123456`: how long after which start of the machine. When the
//! clock is set during the same boot, the true time follows, and the marks go. Of another boot, nothing is known; there the marks stay.

use std::fmt::{self, Write};
use std::ops::Range;

use super::Timestamp;

/// Which start of the machine: the first 32 bits of the kernel's random boot id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub u32);

/// A moment as the machine knows it without a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinceBoot {
    /// Which start.
    pub boot: BootId,
    /// Milliseconds since then, those in which the machine slept included.
    pub uptime_ms: i64,
}

impl BootId {
    /// From the kernel's text, such as `5f3a92c1-0d5e-4a57-…`.
    pub fn parse(text: &str) -> Option<BootId> {
        u32::from_str_radix(text.get(..8)?, 16).ok().map(BootId)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

const UNSYNCED: &str = ",\"clock\":\"unsynced\"";
const BOOT: &str = ",\"boot\":\"";
const UPTIME: &str = "\",\"uptime_ms\":";
const TS: &str = "\"ts\":\"";

/// Appends what marks the member `"ts"` that was just written as one of a clock that was not set.
pub fn mark_unsynced(out: &mut String, at: Option<SinceBoot>) {
    out.push_str(UNSYNCED);
    if let Some(SinceBoot { boot, uptime_ms }) = at {
        // Writing to a String does not fail.
        let _ = write!(out, "{BOOT}{boot}{UPTIME}{uptime_ms}");
    }
}

/// The payload with the times of those boots made right for which `began` knows when they began, in milliseconds since 1970; `None` when there is nothing to
/// make right. Every other byte stays as it is.
pub fn correct(payload: &[u8], began: impl Fn(BootId) -> Option<i64>) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    let mut from = 0;
    while let Some(at) = find(payload, UNSYNCED.as_bytes(), from) {
        from = at + UNSYNCED.len();
        let Some((SinceBoot { boot, uptime_ms }, end)) = read_mark(payload, from) else { continue };
        let (Some(ts), Some(began)) = (ts_before(payload, at).filter(|ts| ts.start >= copied), began(boot)) else {
            continue;
        };
        let out = out.get_or_insert_with(|| Vec::with_capacity(payload.len()));
        out.extend_from_slice(&payload[copied..ts.start]);
        out.extend_from_slice(Timestamp(began.saturating_add(uptime_ms)).to_string().as_bytes());
        out.extend_from_slice(&payload[ts.end..at]);
        (copied, from) = (end, end);
    }
    let mut out = out?;
    out.extend_from_slice(&payload[copied..]);
    Some(out)
}

/// Reads `,"boot":"…","uptime_ms":…` and says where it ends.
fn read_mark(payload: &[u8], from: usize) -> Option<(SinceBoot, usize)> {
    let rest = payload[from..].strip_prefix(BOOT.as_bytes())?;
    let boot = BootId::parse(std::str::from_utf8(rest.get(..8)?).ok()?)?;
    let digits = rest[8..].strip_prefix(UPTIME.as_bytes())?;
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let uptime_ms = std::str::from_utf8(&digits[..length]).ok()?.parse().ok()?;
    Some((SinceBoot { boot, uptime_ms }, from + BOOT.len() + 8 + UPTIME.len() + length))
}

/// Where the text of the member `"ts"` lies that ends right before `at`.
fn ts_before(payload: &[u8], at: usize) -> Option<Range<usize>> {
    let end = at.checked_sub(1).filter(|quote| payload[*quote] == b'"')?;
    let start = payload[..end].iter().rposition(|byte| *byte == b'"')? + 1;
    payload[..start].ends_with(TS.as_bytes()).then_some(start..end)
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    haystack.get(from..)?.windows(needle.len()).position(|window| window == needle).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEGAN: i64 = 1_795_187_000_000;

    fn marked(uptime_ms: i64, boot: u32) -> String {
        let mut out = format!("{{\"ts\":\"{}\"", Timestamp(uptime_ms));
        mark_unsynced(&mut out, Some(SinceBoot { boot: BootId(boot), uptime_ms }));
        out + ",\"value\":7}"
    }

    fn corrected(payload: &str) -> Option<String> {
        let began = |boot| (boot == BootId(0x5f)).then_some(BEGAN);
        correct(payload.as_bytes(), began).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_time_of_this_boot_is_made_right_and_loses_its_marks() {
        assert_eq!(
            marked(123_456, 0x5f),
            r#"{"ts":"1970-01-01T00:02:03.456Z","clock":"unsynced","boot":"0000005f","uptime_ms":123456,"value":7}"#
        );
        let right = r#"{"ts":"2026-11-20T15:05:23.456Z","value":7}"#;
        assert_eq!(corrected(&marked(123_456, 0x5f)).as_deref(), Some(right));
    }

    #[test]
    fn times_of_another_boot_and_of_other_programs_stay_as_they_are() {
        assert_eq!(corrected(&marked(1, 0x60)), None);
        for other in [
            r#"{"ts":"1970-01-01T00:00:05.000Z","clock":"unsynced","value":7}"#,
            r#"{"time":"x","clock":"unsynced","boot":"0000005f","uptime_ms":1}"#,
            r#"{"ts":5,"clock":"unsynced","boot":"0000005f","uptime_ms":1}"#,
            r#"{"ts":"x","clock":"unsynced","boot":"0000005","uptime_ms":1}"#,
            r#""clock":"unsynced","boot":"0000005f","uptime_ms":1"#,
            r#"{"ts":"x","clock":"unsynced","boot":"0000005f","uptime_ms":}"#,
        ] {
            assert_eq!(corrected(other), None, "{other}");
        }
    }

    #[test]
    fn in_a_batch_each_time_is_made_right_on_its_own() {
        let batch = format!("[{},{},{}]", marked(1_000, 0x5f), marked(2_000, 0x60), marked(3_000, 0x5f));
        let right = corrected(&batch).unwrap();
        assert!(right.starts_with(r#"[{"ts":"2026-11-20T15:03:21.000Z","value":7},"#), "{right}");
        assert!(right.contains(&marked(2_000, 0x60)));
        assert!(right.ends_with(r#"{"ts":"2026-11-20T15:03:23.000Z","value":7}]"#), "{right}");
    }

    proptest! {
        #[test]
        fn whatever_the_payload_is_nothing_breaks(parts in prop::collection::vec(prop_oneof![
            Just(marked(5, 0x5f)), Just(UNSYNCED.to_owned()), Just(BOOT.to_owned()), Just(TS.to_owned()), Just(UPTIME.to_owned()),
            any::<String>(),
        ], 0..6)) {
            let payload = parts.concat();
            if let Some(once) = corrected(&payload) {
                prop_assert!(once.len() < payload.len() + 64);
            }
        }
    }
}
