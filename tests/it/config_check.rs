//! `fieldway check` as people run it: exit codes, where the words go, and how much memory a hostile file may take.

use std::fs;
use std::process::{Command, Output};

/// Kilobytes of address space: more than `check` needs for the largest file that it reads, far less than a bomb would take.
const MEMORY_KIB: usize = 512 << 10;

fn check(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldway"));
    command.arg("check").args(arguments).env_remove("CLOUD_PASSWORD").output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn a_good_file_is_one_line_and_exit_0() {
    for arguments in [
        &["tests/golden/config/good-smallest/gateway.yaml"][..],
        &["--config", "tests/golden/config/good-smallest/gateway.yaml"],
    ] {
        let output = check(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stdout), fs::read_to_string("tests/golden/config/good-smallest/expected.ok").unwrap());
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn a_wrong_file_is_its_report_on_standard_error_and_exit_2() {
    let output = check(&["tests/golden/config/names/gateway.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(text(&output.stderr), fs::read_to_string("tests/golden/config/names/expected.err").unwrap());
}

#[test]
fn json_goes_to_standard_output_with_the_same_exit_code() {
    let json = |output: &Output| serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON");
    let good = check(&["--json", "tests/golden/config/good-smallest/gateway.yaml"]);
    assert_eq!((good.status.code(), json(&good)["ok"].as_bool()), (Some(0), Some(true)));
    let wrong = check(&["--json", "tests/golden/config/bus-that-is-not-there/gateway.yaml"]);
    assert_eq!((wrong.status.code(), json(&wrong)["count"].as_u64()), (Some(2), Some(3)));
    let first = &json(&wrong)["problems"][0];
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(6), Some(10)));
    assert_eq!(first["help"][0], "did you mean `plc`?");
    let missing = check(&["--json", "no/such/file.yaml"]);
    assert_eq!((missing.status.code(), json(&missing)["problems"][0]["line"].is_null()), (Some(2), true));
}

#[test]
fn a_folder_a_device_and_no_file_at_all_are_refused_at_once() {
    for path in ["tests", "/dev/zero", "no/such/file.yaml"] {
        let output = check(&[path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(text(&output.stderr).starts_with(&format!("error: cannot read {path}: ")), "{path}");
    }
}

#[test]
fn hostile_files_are_refused_in_bounded_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bomb = (1..30).fold(String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n"), |mut text, n| {
        text.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", ")));
        text
    });
    let files = [
        ("bomb.yaml", bomb),
        ("deep.yaml", "[".repeat(4 << 20)),
        ("deeper.yaml", "{a: ".repeat(1 << 20)),
        ("wide.yaml", "- &a x\n".repeat((4 << 20) / 7)),
        ("keys.yaml", (0..300_000).map(|n| format!("k{n}: 1\n")).collect()),
    ];
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("room for the file");
    }
    let huge = fs::File::create(folder.path().join("huge.yaml")).expect("a file");
    huge.set_len(100 << 20).expect("a sparse file");
    for name in ["bomb.yaml", "deep.yaml", "deeper.yaml", "wide.yaml", "keys.yaml", "huge.yaml"] {
        let limited = format!("ulimit -v {MEMORY_KIB} && exec \"$0\" check \"$1\"");
        let output = Command::new("sh")
            .args(["-c", &limited, env!("CARGO_BIN_EXE_fieldway")])
            .arg(folder.path().join(name))
            .output()
            .expect("a shell");
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output.stderr));
        assert!(text(&output.stderr).starts_with("error: "), "{name}: {}", text(&output.stderr));
    }
}

#[test]
fn a_certificate_of_an_uplink_that_ran_out_and_a_key_for_everybody_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertificateParams, date_time_ymd};

    use crate::support::certificates::{Authority, named};
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new(folder.path(), "ca");
    let mut params = named("plant-7", CertificateParams::default());
    params.not_after = date_time_ymd(2020, 2, 3);
    let (_, key) = authority.sign("old", &params);
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).expect("ours");
    let file = folder.path().join("gateway.yaml");
    let text_of = "gateway: { id: a }\nuplinks:\n  cloud: { url: mqtts://b, ca: ca.pem, certificate: old.pem, private_key: old.key, forward: [{ topic: '#' }] }\n";
    fs::write(&file, text_of).expect("written");
    let output = check(&[file.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stderr);
    let place = format!("warning: {}:3:3: ", file.display());
    assert_eq!(said.lines().filter(|line| line.starts_with(&place)).count(), 2, "{said}");
    assert!(said.contains("of uplink cloud: it expired on 2020-02-0") && said.contains("chmod o-r"), "{said}");
}
