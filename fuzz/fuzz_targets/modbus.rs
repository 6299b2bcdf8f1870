//! Whatever a serial line or a TCP stream says, the Modbus driver takes it in bounded memory, without a panic, and every
//! sample comes from an answer of the right length.
#![no_main]

#[path = "../exercises/modbus.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::exercise(data));
