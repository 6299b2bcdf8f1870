//! What the fuzzer has found interesting is played again.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/exercises/frames.rs"]
mod frames;
#[path = "../../../fuzz/exercises/lines.rs"]
mod lines;
#[path = "../../../fuzz/exercises/modbus.rs"]
mod modbus;
#[path = "../../../fuzz/exercises/modbus_ascii.rs"]
mod modbus_ascii;

type Exercise = fn(&[u8]);

#[test]
fn the_corpora_of_the_fuzz_targets_pass() {
    let targets: [(&str, Exercise); 4] = [
        ("modbus", modbus::exercise),
        ("modbus_ascii", modbus_ascii::exercise),
        ("lines", lines::exercise),
        ("frames", frames::exercise),
    ];
    for (name, exercise) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() > 30, "{name}: found only {}", inputs.len());
        inputs.iter().for_each(|input| exercise(&fs::read(input).unwrap()));
    }
}
