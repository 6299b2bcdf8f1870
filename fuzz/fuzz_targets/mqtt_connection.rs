//! Any bytes from three clients of the broker: no panic, no endless loop, and only readable packets in return.

#![no_main]

use fieldway::broker::exercise::exercise;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| exercise(script));
