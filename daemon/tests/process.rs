//! Whole processes, from `main` to the exit code: what a supervisor and a person at the terminal see.
//!
//! Each test starts this test program again as a small daemon ([`a_small_daemon`]) and watches it from
//! outside.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use meshprobe_daemon::{
    admin::{Admin, Readiness},
    build_info::BuildInfo,
    config,
    exit::{self, Failure},
    listeners::listen_tcp,
    logging::{self, LogConfig, LogFormat},
    process_metrics,
    shutdown::{Shutdown, Signals},
    tasks::Tasks,
};
use prometheus_client::registry::Registry;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

/// Tells the child how to behave; absent in the test runner itself.
const BEHAVIOUR: &str = "MESHPROBE_TEST_BEHAVIOUR";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[expect(dead_code, reason = "only its name matters")]
    interval: config::HumanDuration,
}

/// The child. Without its variable it is a test that has nothing to do with it.
#[test]
fn a_small_daemon() {
    let Ok(behaviour) = std::env::var(BEHAVIOUR) else {
        assert!(std::env::var_os(BEHAVIOUR).is_none());
        return;
    };
    let code = exit::main("small-daemon", || run(&behaviour));
    let codes = [0_u8, 1, 2];
    let code = codes
        .into_iter()
        .find(|candidate| ExitCode::from(*candidate) == code);
    std::process::exit(code.map_or(99, i32::from));
}

fn run(behaviour: &str) -> Result<(), Failure> {
    let log = LogConfig {
        format: LogFormat::Json,
        ..LogConfig::default()
    };
    let log = logging::init(&log).map_err(Failure::runtime)?;
    if behaviour == "bad configuration" {
        config::parse::<Settings>("interval: 1s\nintervall: 2s\n", Path::new("small.yaml"))
            .map_err(Failure::config)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(Failure::runtime)?.block_on(async {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new();
        tasks.spawn_helper(
            "signals",
            Signals::install()
                .map_err(Failure::runtime)?
                .watch(shutdown.clone()),
        );

        let build = BuildInfo::new("small-daemon");
        let mut registry = Registry::default();
        build.register(&mut registry);
        process_metrics::register(&mut registry);
        let readiness = Readiness::new();
        let admin = Admin {
            build,
            registry: Arc::new(registry),
            readiness,
            log,
            reload: None,
        };
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listen_tcp("admin.listen", any_port).map_err(Failure::runtime)?;
        let admin = admin.bind(listener).map_err(Failure::runtime)?;
        tasks.spawn("admin", admin.serve(shutdown.clone()));

        let signal = shutdown.clone();
        match behaviour {
            "steady" => tasks.spawn("work", async move { signal.signaled().await }),
            "stuck" => tasks.spawn("work", std::future::pending::<()>()),
            "failing" => tasks.spawn("work", async {
                Err::<(), _>(anyhow::anyhow!("disk full").context("write the outbox"))
            }),
            "panicking" => tasks.spawn("work", clumsy()),
            other => {
                return Err(Failure::config(anyhow::anyhow!(
                    "unknown behaviour {other}"
                )));
            }
        }
        tracing::info!("Started");
        tasks
            .run(&shutdown, Duration::from_secs(600))
            .await
            .map_err(Failure::runtime)
    })
}

async fn clumsy() {
    tokio::task::yield_now().await;
    panic!("on purpose")
}

struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(behaviour: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_small_daemon", "--nocapture"])
            .env(BEHAVIOUR, behaviour)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Reads the log up to a line with `text`.
    fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.lines().last().is_some_and(|line| line.contains(text)) {
            assert_ne!(
                self.log.read_line(&mut seen).unwrap(),
                0,
                "no {text:?} in:\n{seen}"
            );
        }
        seen
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end: the exit code and the rest of the log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

#[test]
fn a_process_that_is_asked_to_stop_ends_with_success() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Running::start("steady");
        daemon.wait_for("\"message\":\"Started\"");
        daemon.signal(signal);
        let (code, log) = daemon.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("Shutting down"), "{log}");
        assert!(
            log.contains("All tasks ended"),
            "the last line is written out: {log}"
        );
    }
}

#[test]
fn a_second_signal_ends_a_stuck_drain_at_once() {
    let mut daemon = Running::start("stuck");
    daemon.wait_for("\"message\":\"Started\"");
    daemon.signal(Signal::TERM);
    daemon.wait_for("Shutting down");
    daemon.signal(Signal::TERM);
    let (code, log) = daemon.end();
    assert_eq!(code, Some(143), "{log}");
    assert!(
        log.contains("Second signal: ending without a drain"),
        "{log}"
    );
}

#[test]
fn a_failed_task_ends_the_process_with_one_error_line_and_code_1() {
    let (code, log) = Running::start("failing").end();
    assert_eq!(code, Some(1), "{log}");
    let errors: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("\"level\":\"ERROR\""))
        .collect();
    assert_eq!(errors.len(), 1, "{log}");
    assert!(
        errors[0].contains("task work failed: write the outbox: disk full"),
        "{log}"
    );
}

#[test]
fn a_panic_is_logged_with_its_place_and_ends_the_process_with_code_1() {
    let (code, log) = Running::start("panicking").end();
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("tests/process.rs:") && log.contains("\"message\":\"Panicked\""),
        "{log}"
    );
    assert!(log.contains("task work panicked: on purpose"), "{log}");
    for line in log.lines() {
        assert!(
            line.starts_with('{') && line.ends_with('}'),
            "not JSON: {line}"
        );
    }
}

#[test]
fn a_bad_configuration_is_shown_as_it_is_and_ends_with_code_2() {
    let (code, log) = Running::start("bad configuration").end();
    assert_eq!(code, Some(2), "{log}");
    assert_eq!(
        log,
        "small-daemon: small.yaml:2:1: unknown field `intervall`, expected one of interval\n  \
         1 | interval: 1s\n  \
         2 | intervall: 2s\n    \
         | ^\n"
    );
}

#[test]
fn the_frame_of_a_daemon_leaves_most_of_ten_megabytes_to_its_work() {
    let mut daemon = Running::start("steady");
    daemon.wait_for("\"message\":\"Started\"");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let line = |key: &str| {
        status
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap()
            .to_owned()
    };
    // Memory of its own; the pages of the program itself are shared, and larger in a debug build.
    let own: u64 = line("RssAnon:")
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert!(own < 4096, "{} / {}", line("RssAnon:"), line("VmRSS:"));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().0, Some(0));
}
