//! Whatever comes, lines are cut in bounded memory, their points never panic, and a good line behind it is read.
#![no_main]

#[path = "../exercises/lines.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::exercise(data));
