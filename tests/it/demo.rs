//! `fieldway demo` as a person runs it: the story to its end, and Ctrl-C at any moment.

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::wait::wait_for;

/// A running demo whose output and temporary files go to a folder of the test.
struct Demo {
    child: Child,
    output: PathBuf,
    temporary: PathBuf,
    _folder: TempDir,
    _usual_ports: Vec<TcpListener>,
}

impl Demo {
    fn start(args: &[&str]) -> Demo {
        // Held, so that demos of several tests don't try for the same ones: each takes free ports.
        let usual_ports = [1883, 1884, 8080].iter().filter_map(|port| TcpListener::bind(("127.0.0.1", *port)).ok());
        let usual_ports = usual_ports.collect();
        let folder = tempfile::tempdir().unwrap();
        let (output, temporary) = (folder.path().join("output"), folder.path().join("tmp"));
        fs::create_dir(&temporary).unwrap();
        let file = File::create(&output).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_fieldway"))
            .arg("demo")
            .args(args)
            .env("TMPDIR", &temporary)
            .env_remove("FIELDWAY_LOG")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Demo { child, output, temporary, _folder: folder, _usual_ports: usual_ports }
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// Waits until `text` has been told.
    fn hear(&mut self, text: &str, within: Duration) {
        wait_for(&format!("the demo to say {text:?}"), within, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the demo ended with {status}:\n{}", self.output());
            }
            self.output().contains(text).then_some(())
        });
    }

    /// Sends Ctrl-C and waits for the end.
    fn interrupt(&mut self) -> ExitStatus {
        let sent = Command::new("kill").arg("-INT").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        wait_for("the demo to stop after Ctrl-C", Duration::from_secs(5), || self.child.try_wait().unwrap())
    }

    fn assert_nothing_is_left(&self) {
        let left: Vec<_> = fs::read_dir(&self.temporary).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}\n{}", self.output());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_story_is_told_to_its_good_end_and_ctrl_c_leaves_nothing() {
    let mut demo = Demo::start(&["--fast"]);
    // After the cloud is back, a back-off of some seconds may still run.
    demo.hear("messages arrived: complete, in order", Duration::from_secs(90));
    let status = demo.interrupt();
    let output = demo.output();
    assert!(status.success(), "{status}\n{output}");
    // Long lines are broken between words.
    let in_one_line = output.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in [
        "Readings arrive on the local broker and at the cloud:",
        "Now meter_2 loses its power.",
        "meter_2 is offline: timeout. meter_1 on the same line keeps its interval.",
        "Now the cloud goes away.",
        "The gateway has lost the cloud",
        "The cloud is back.",
        "The gateway is connected to the cloud again.",
    ] {
        assert!(in_one_line.contains(told), "{told:?} is not in\n{output}");
    }
    let depths: Vec<u64> = output
        .lines()
        .filter_map(|line| line.split_once("buffered on disk: ")?.1.split(' ').next()?.parse().ok())
        .collect();
    assert!(depths.len() >= 3 && depths.is_sorted() && depths.last() > depths.first(), "{depths:?}");
    assert!(!output.contains('\x1b'), "a pipe gets no escape sequences");
    for line in output.lines() {
        let fits = line.chars().count() <= 80 || line.contains("/gateway.yaml");
        assert!(fits, "{line:?} is longer than 80 columns");
    }
    demo.assert_nothing_is_left();
}

#[test]
fn ctrl_c_during_the_outage_stops_in_order_too() {
    let mut demo = Demo::start(&["--fast"]);
    demo.hear("buffered on disk", Duration::from_secs(30));
    let status = demo.interrupt();
    assert!(status.success(), "{status}\n{}", demo.output());
    demo.assert_nothing_is_left();
}

#[test]
fn it_ends_by_itself_when_asked_to() {
    let mut demo = Demo::start(&["--seconds", "1"]);
    let status = wait_for("the demo to end", Duration::from_secs(20), || demo.child.try_wait().unwrap());
    assert!(status.success(), "{status}\n{}", demo.output());
    demo.assert_nothing_is_left();
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_without_a_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fieldway"))
        .args(["demo", "--fast"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 8];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"Fieldway");
    let status = wait_for("the demo to notice", Duration::from_secs(20), || child.try_wait().unwrap());
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert!(status.success() && complaint.is_empty(), "{status}: {complaint}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
