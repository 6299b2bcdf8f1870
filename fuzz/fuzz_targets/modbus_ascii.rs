//! Whatever a line says, the collector of Modbus ASCII frames takes it in bounded memory, and a good answer behind it is found.
#![no_main]

#[path = "../exercises/modbus_ascii.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::exercise(data));
