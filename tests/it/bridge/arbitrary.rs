//! Arbitrary payloads and conditions through every kind of rule: what the fuzz target does, for a moment.

use proptest::prelude::*;

#[path = "../../../fuzz/exercises/bridge.rs"]
mod exercise;

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let json = "\\{\"(ts|values|value|bad|quality|flow|a|list)\":(1|-2.5|1e9|\"x\"|true|null|\\[1,2\\]|\\{\"(flow|t|b)\":(3|\"y\"|99999999999999999999.5)\\})(,\"(ts|unit|t)\":(\"2026-11-20T15:04:05Z\"|7))?\\}";
    prop_oneof![
        json.prop_map(String::into_bytes),
        "\\PC{0,12}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..12)
    ]
}

#[test]
fn the_corpus_of_the_fuzz_target_passes() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/bridge");
    let inputs: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(inputs.len() > 30, "found only {}", inputs.len());
    inputs.iter().for_each(|input| exercise::exercise(&std::fs::read(input).unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_payload_and_no_condition_break_a_rule(how: u8, condition in "[a-z.()'=<>&|! 0-9]{0,20}", payloads in prop::collection::vec(payload(), 1..6)) {
        let data = [vec![how], condition.into_bytes(), vec![0], payloads.join(&0xff)].concat();
        exercise::exercise(&data);
    }
}
