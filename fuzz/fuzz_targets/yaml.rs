//! Any bytes as a configuration: no panic, no hang, and a report whose places are in the text.

#![no_main]

use std::path::Path;

use fieldway::config::{self, Look, Outside};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let read = |_: &Path| Ok(b"plant-7\n".to_vec());
    let outside = Outside { env: &|_| Some("secret".into()), read: &read };
    let Err(report) = config::parse(data, Path::new("gateway.yaml"), &outside) else { return };
    assert!(report.count() > 0);
    let text = String::from_utf8_lossy(data);
    let lines = text.split('\n').count();
    for problem in report.problems() {
        if let Some(place) = report.place(problem) {
            assert!((1..=lines).contains(&place.line) && place.column >= 1);
        }
    }
    assert!(!report.render(Look::Plain).contains('\u{1b}'));
});
