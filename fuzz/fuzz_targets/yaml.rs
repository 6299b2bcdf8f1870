//! Any bytes as a configuration: no panic, no hang, and a report whose places are in the text.

#![no_main]

use std::path::Path;

use fieldway::config::{self, Look, Outside};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Every file that the text refers to is the text itself: templates and included files are hostile too.
    let read = |path: &Path| Ok(if path.extension().is_some() { data.to_vec() } else { b"plant-7\n".to_vec() });
    let list = |folder: &Path| Ok(vec![folder.join("a.yaml"), folder.join("b.yaml")]);
    let outside = Outside { env: &|_| Some("secret".into()), read: &read, list: &list };
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
