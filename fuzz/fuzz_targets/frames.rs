//! Whatever comes, frames are cut in bounded memory, their points never panic, and a good frame behind it is found.
#![no_main]

#[path = "../exercises/frames.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::exercise(data));
