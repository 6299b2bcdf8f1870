//! Whatever a client publishes, bridge rules never panic, and what leaves is what they say.
#![no_main]

#[path = "../exercises/bridge.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::exercise(data));
