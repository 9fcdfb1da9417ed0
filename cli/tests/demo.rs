//! The demo with the real daemons: what it shows, how it is steered from a second terminal, and that it ends cleanly.
//!
//! Needs what the lab needs: root or user namespaces, and its tools. Without them these tests fail.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A cluster takes both cores of a small machine while it starts.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder with the daemons, which are other packages: the one that whoever built them with this test names, or they are built
/// now, by the same cargo, into the same place.
fn daemons() -> PathBuf {
    if let Some(built) = std::env::var_os("MESHPROBE_BIN_DIR") {
        return built.into();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_meshprobe"));
    let folder = program.parent().expect("a program is in a folder");
    let target = folder
        .parent()
        .expect("a profile's folder is in the target folder");
    let mut build = Command::new(env!("CARGO"));
    build
        .args([
            "build",
            "--quiet",
            "-p",
            "meshprobe-aggregator",
            "-p",
            "meshprobe-prober",
        ])
        .arg("--target-dir")
        .arg(target);
    if folder.ends_with("release") {
        build.arg("--release");
    }
    let ended = build.status().expect("cargo runs");
    assert!(ended.success(), "the daemons do not build");
    folder.to_owned()
}

fn meshprobe(arguments: &[&str], control: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshprobe"));
    command
        .args(arguments)
        .env("MESHPROBE_DEMO_SOCKET", control)
        .env("COLUMNS", "120")
        .env_remove("CLICOLOR_FORCE");
    command
}

fn output(arguments: &[&str], control: &Path) -> Output {
    meshprobe(arguments, control)
        .output()
        .expect("meshprobe runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn the_script_finds_a_dark_node_tells_it_and_sees_it_heal() {
    let _alone = alone();
    let mut command = meshprobe(&["demo", "--script"], Path::new("/nonexistent"));
    let output = command
        .env("MESHPROBE_BIN_DIR", daemons())
        .output()
        .expect("meshprobe runs");
    let shown = text(&output.stdout);
    let complaints = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{shown}\n{complaints}");
    let in_order = [
        "6 nodes, 30 paths: 30 healthy. No open incident.",
        "$ meshprobe demo break node-dark mesh-3",
        "INCIDENT",
        "WEBHOOK   firing",
        "s after the cut.",
        "1 open incident: node-dark mesh-3",
        "$ meshprobe demo heal",
        "RESOLVED",
        "6 nodes, 30 paths: 30 healthy. No open incident.",
        "Everything is healthy again.",
    ];
    let mut rest = shown.as_str();
    for expected in in_order {
        let at = rest
            .find(expected)
            .unwrap_or_else(|| panic!("{expected:?} is missing after the others in:\n{shown}"));
        rest = &rest[at + expected.len()..];
    }
}

/// A demo that runs in the background; killed if a test fails.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: String,
}

impl Running {
    /// Reads what it prints up to the line that contains `expected`.
    fn read_until(&mut self, expected: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.lines.read_line(&mut line).expect("text");
            assert!(
                length > 0,
                "the demo ended before it said {expected:?}:\n{}",
                self.seen
            );
            self.seen.push_str(&line);
            if line.contains(expected) {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn the_running_demo_is_broken_healed_asked_and_ended_from_a_second_terminal() {
    let _alone = alone();
    let control =
        std::env::temp_dir().join(format!("meshprobe-demo-test-{}.sock", std::process::id()));
    let any_port = [
        "demo",
        "--nodes",
        "4",
        "--listen-grpc",
        "127.0.0.1:0",
        "--listen-http",
        "127.0.0.1:0",
    ];
    let mut command = meshprobe(&any_port, &control);
    let mut child = command
        .env("MESHPROBE_BIN_DIR", daemons())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("meshprobe runs");
    let lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut demo = Running {
        child,
        lines,
        seen: String::new(),
    };

    let addresses = demo.read_until("gRPC API on ");
    let server = addresses
        .split(['>', ' ', ','])
        .find(|word| word.starts_with("127.0.0.1:"))
        .expect("an address");
    let healthy = output(&["matrix", "--server", server], &control);
    assert_eq!(healthy.status.code(), Some(0), "{}", text(&healthy.stdout));
    demo.read_until("Ctrl-C");

    let ask = |arguments: &[&str]| output(&[&["demo"], arguments].concat(), &control);
    let refused = ask(&["break", "node-dark", "mesh-9"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("there is no node `mesh-9`"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(
        ask(&["break", "prober-down", "mesh-2"]).status.code(),
        Some(0)
    );
    assert_eq!(
        ask(&["break", "prober-down", "mesh-2"]).status.code(),
        Some(1),
        "it is in effect already"
    );
    demo.read_until("BREAK");
    demo.read_until("INCIDENT");
    let broken = output(&["incidents", "--server", server], &control);
    assert_eq!(broken.status.code(), Some(2));
    assert!(
        text(&broken.stdout).contains("prober-down mesh-2"),
        "{}",
        text(&broken.stdout)
    );
    assert!(text(&ask(&["status"]).stdout).contains("In effect: prober-down mesh-2."));

    assert_eq!(ask(&["heal"]).status.code(), Some(0));
    assert_eq!(
        ask(&["heal"]).status.code(),
        Some(1),
        "nothing is broken any more"
    );
    demo.read_until("RESOLVED");

    assert_eq!(ask(&["stop"]).status.code(), Some(0));
    assert_eq!(demo.child.wait().expect("it ends").code(), Some(0));
    let mut complaints = String::new();
    let mut stderr = demo.child.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut complaints).expect("text");
    assert_eq!(complaints, "");
    assert!(text(&ask(&["status"]).stderr).contains("no demo is running"));
}

#[test]
fn a_port_that_is_taken_is_refused_with_the_flag_that_helps() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let control =
        std::env::temp_dir().join(format!("meshprobe-demo-taken-{}.sock", std::process::id()));
    let mut command = meshprobe(&["demo", "--listen-grpc", &address], &control);
    let output = command
        .env("MESHPROBE_BIN_DIR", daemons())
        .output()
        .expect("meshprobe runs");
    assert_eq!(output.status.code(), Some(1));
    let complaint = text(&output.stderr);
    assert!(
        complaint.contains(&format!("cannot listen on {address}")),
        "{complaint}"
    );
    assert!(complaint.contains("--listen-grpc"), "{complaint}");
}
