//! Whatever happens to whom, nothing is left; and the program inside behaves as if it were not.
//!
//! This program is both sides: without a role it is the test, outside of any lab; with one it enters a lab and is the victim.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use meshprobe_lab::{HostSocket, Lab, LabError, LabSpec};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

const ROLE: &str = "LAB_TEST_ROLE";
/// Until the kernel has ended everything.
const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);
/// The user `nobody`.
const ORDINARY_USER: &str = "65534";

type Test = (&'static str, fn() -> anyhow::Result<()>);

const TESTS: [Test; 10] = [
    ("kill_9_of_the_outer_process_leaves_nothing", || {
        killed_stage_leaves_nothing(None)
    }),
    ("kill_9_of_process_1_leaves_nothing", || {
        killed_stage_leaves_nothing(Some("init"))
    }),
    ("kill_9_of_the_program_leaves_nothing", || {
        killed_stage_leaves_nothing(Some("inside"))
    }),
    (
        "a_signal_to_the_outer_process_reaches_the_program",
        signals_are_relayed,
    ),
    ("ctrl_c_in_the_terminal_ends_everything", ctrl_c),
    ("the_exit_code_of_the_program_is_the_exit_code", exit_code),
    ("a_socket_opened_outside_is_served_inside", host_socket),
    (
        "an_ordinary_user_gets_a_lab_or_the_reason_why_not",
        ordinary_user,
    ),
    ("a_forged_stage_is_refused", forged_stage),
    ("labs_of_all_sizes_are_built_one_after_the_other", sizes),
];

fn main() -> ExitCode {
    let outcome = match std::env::var(ROLE).as_deref() {
        Ok("victim") => victim(None),
        Ok("exit") => victim(Some(7)),
        Ok("sizes") => build_all_sizes(),
        _ => return run_tests(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_tests() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = TESTS.iter().filter(|(name, _)| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    });
    let mut failed = 0;
    for (name, test) in wanted {
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
            continue;
        }
        match test() {
            Ok(()) => println!("test {name} ... ok"),
            Err(error) => {
                println!("test {name} ... FAILED\n    {error:#}");
                failed += 1;
            }
        }
    }
    println!("test result: {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

// --- inside

/// Builds a lab with a process in it, says so, serves the host's socket, and waits for what comes.
fn victim(exit: Option<u8>) -> anyhow::Result<ExitCode> {
    let open = || {
        Ok(vec![HostSocket::new(
            "http",
            TcpListener::bind("127.0.0.1:0")?,
        )])
    };
    let mut inside = meshprobe_lab::enter(open)?;
    let spec = LabSpec {
        nodes: 2,
        zones: 1,
        dns_instances: 1,
        ..LabSpec::default()
    };
    let lab = Lab::build(&inside, &spec)?;
    let marker = std::env::args().nth(1).context("a marker")?;
    // The marker is the shell's name for itself: the test finds this process by it.
    let _process = lab
        .process("sleeper", &lab.nodes()[0].pod_namespace, "/bin/sh")
        .args(["-c", "while :; do sleep 100; done", &marker])
        .spawn()?;
    let listener = inside
        .take_listener("http")
        .context("the socket from outside")?;
    println!(
        "ready {} {}",
        listener.local_addr()?,
        inside.state_directory().display()
    );
    if let Some(code) = exit {
        return Ok(ExitCode::from(code));
    }
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"from inside")?;
    }
}

fn build_all_sizes() -> anyhow::Result<ExitCode> {
    let inside = meshprobe_lab::enter(|| Ok(Vec::new()))?;
    for (nodes, zones) in [(1, 1), (3, 3), (12, 3)] {
        let spec = LabSpec {
            nodes,
            zones,
            dns_instances: nodes.min(2),
            ..LabSpec::default()
        };
        let lab = Lab::build(&inside, &spec)?;
        ensure!(matches!(
            Lab::build(&inside, &spec),
            Err(LabError::AlreadyBuilt)
        ));
        let (first, last) = (&lab.nodes()[0], &lab.nodes()[usize::from(nodes) - 1]);
        let listener = lab.listen_in(&last.pod_namespace, SocketAddr::from((last.pod_ip, 80)))?;
        lab.connect_in(&first.pod_namespace, listener.local_addr()?, PATIENCE)?;
        drop(lab);
        ensure!(
            fs::read_dir("/run/netns")?.next().is_none(),
            "namespaces are left"
        );
    }
    Ok(ExitCode::SUCCESS)
}

// --- outside

/// A running victim; killed at the end of a test.
struct Victim {
    child: Child,
    marker: String,
    address: SocketAddr,
    state_directory: PathBuf,
}

impl Victim {
    fn start() -> anyhow::Result<Self> {
        let marker = new_marker();
        let mut child = Command::new(std::env::current_exe()?)
            .arg(&marker)
            .env(ROLE, "victim")
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let ready = read_ready(&mut child)?;
        let mut words = ready.split_whitespace().skip(1);
        let victim = Self {
            child,
            marker,
            address: words.next().context("an address")?.parse()?,
            state_directory: PathBuf::from(words.next().context("a directory")?),
        };
        ensure!(victim.state_directory.is_dir(), "{ready}");
        let running = victim.processes().len();
        ensure!(
            running >= 4,
            "outside, init, inside and a shell are {running}"
        );
        Ok(victim)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn processes(&self) -> Vec<u32> {
        processes_with(&self.marker)
    }

    /// The process of a stage.
    fn stage(&self, stage: &str) -> anyhow::Result<Pid> {
        let wanted = format!("MESHPROBE_LAB_STAGE={stage}");
        let is_wanted = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == wanted.as_bytes())
        };
        let pid = self
            .processes()
            .into_iter()
            .find(is_wanted)
            .context("the stage runs")?;
        Ok(Pid::from_raw(pid as i32))
    }

    /// Waits for the end, and checks that nothing is left.
    fn ensure_gone(&mut self) -> anyhow::Result<Option<i32>> {
        let namespaces: Vec<String> = self
            .processes()
            .into_iter()
            .flat_map(namespaces_of)
            .collect();
        let own = namespaces_of(std::process::id());
        eventually("the outer process ends", || {
            self.child.try_wait().is_ok_and(|status| status.is_some())
        })?;
        eventually("all processes end", || self.processes().is_empty())?;
        eventually("the state directory goes", || {
            !self.state_directory.exists()
        })?;
        let is_left = |namespace: &String| {
            all_processes()
                .into_iter()
                .any(|pid| namespaces_of(pid).contains(namespace))
        };
        for namespace in namespaces
            .iter()
            .filter(|namespace| !own.contains(namespace))
        {
            eventually("its namespaces are empty", || !is_left(namespace))?;
        }
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn new_marker() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "lab-test-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

fn read_ready(child: &mut Child) -> anyhow::Result<String> {
    let stdout = child.stdout.take().context("piped")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(
        line.starts_with("ready "),
        "the victim did not get ready: {line:?}"
    );
    Ok(line)
}

fn all_processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc")
        .map(|entries| entries.flatten().collect::<Vec<_>>())
        .unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn processes_with(marker: &str) -> Vec<u32> {
    let has_marker = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words
            .split(|byte| *byte == 0)
            .any(|word| word == marker.as_bytes())
    };
    all_processes().into_iter().filter(has_marker).collect()
}

fn namespaces_of(pid: u32) -> Vec<String> {
    let kinds = ["net", "mnt", "pid"];
    let links = kinds
        .iter()
        .filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok());
    links.map(|link| link.display().to_string()).collect()
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> anyhow::Result<()> {
    for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
        if is_so() {
            return Ok(());
        }
        thread::sleep(STEP);
    }
    bail!("not within {PATIENCE:?}: {what}")
}

fn killed_stage_leaves_nothing(stage: Option<&str>) -> anyhow::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut victim = Victim::start()?;
    let pid = stage.map_or_else(|| Ok(victim.pid()), |stage| victim.stage(stage))?;
    kill(pid, Signal::SIGKILL)?;
    let code = victim.ensure_gone()?;
    let expected = stage.map(|_| 128 + 9);
    ensure!(code == expected, "exit code {code:?}");
    ensure!(
        mounts == fs::read_to_string("/proc/self/mounts")?,
        "mounts leaked to the host"
    );
    Ok(())
}

fn signals_are_relayed() -> anyhow::Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut victim = Victim::start()?;
        kill(victim.pid(), signal)?;
        let code = victim.ensure_gone()?;
        ensure!(
            code == Some(128 + signal as i32),
            "{signal}: exit code {code:?}"
        );
    }
    Ok(())
}

fn ctrl_c() -> anyhow::Result<()> {
    let mut victim = Victim::start()?;
    // A terminal signals its whole foreground process group.
    kill(Pid::from_raw(-victim.pid().as_raw()), Signal::SIGINT)?;
    let code = victim.ensure_gone()?;
    ensure!(
        code == Some(128 + Signal::SIGINT as i32),
        "exit code {code:?}"
    );
    Ok(())
}

fn exit_code() -> anyhow::Result<()> {
    let marker = new_marker();
    let status = Command::new(std::env::current_exe()?)
        .arg(&marker)
        .env(ROLE, "exit")
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.code() == Some(7), "{status}");
    eventually("all processes end", || processes_with(&marker).is_empty())
}

fn host_socket() -> anyhow::Result<()> {
    let victim = Victim::start()?;
    let mut stream = TcpStream::connect(victim.address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    ensure!(text == "from inside", "{text}");
    Ok(())
}

fn ordinary_user() -> anyhow::Result<()> {
    // Where the program is built an ordinary user may not look.
    let directory = std::env::temp_dir().join(new_marker());
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    let outcome = run_as_ordinary_user(&directory);
    fs::remove_dir_all(&directory)?;
    outcome
}

fn run_as_ordinary_user(directory: &Path) -> anyhow::Result<()> {
    let program = directory.join("lab-test");
    fs::copy(std::env::current_exe()?, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let mut command;
    if geteuid().is_root() {
        command = Command::new("setpriv");
        command
            .args([
                "--reuid",
                ORDINARY_USER,
                "--regid",
                ORDINARY_USER,
                "--clear-groups",
                "--",
            ])
            .arg(&program);
    } else {
        command = Command::new(&program);
    }
    let output = command
        .arg(new_marker())
        .env(ROLE, "exit")
        .env("TMPDIR", "/tmp")
        .current_dir("/")
        .output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(7) {
        ensure!(output.stdout.starts_with(b"ready "), "{complaint}");
        println!("    built as an ordinary user, in a user namespace");
        return Ok(());
    }
    // Some systems keep user namespaces to root: then the message must say what to do.
    ensure!(
        complaint.contains("make new namespaces for the virtual cluster"),
        "{}: {complaint}",
        output.status
    );
    ensure!(complaint.contains("run as root"), "{complaint}");
    println!("    refused with the way out: {}", complaint.trim());
    Ok(())
}

fn forged_stage() -> anyhow::Result<()> {
    for stage in ["init", "inside", "nonsense"] {
        let output = Command::new(std::env::current_exe()?)
            .env(ROLE, "victim")
            .env("MESHPROBE_LAB_STAGE", stage)
            .output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{stage}: {complaint}");
        ensure!(
            complaint.trim()
                == "error: MESHPROBE_LAB_STAGE is set, but this process is not inside a virtual cluster: unset it",
            "{complaint}"
        );
    }
    Ok(())
}

fn sizes() -> anyhow::Result<()> {
    let output = Command::new(std::env::current_exe()?)
        .env(ROLE, "sizes")
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
