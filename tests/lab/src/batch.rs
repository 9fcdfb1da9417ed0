//! Running the tools: many commands to one process, and an error that shows the command which failed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A tool refused what the lab asked of it.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("run {command}")]
    Run {
        command: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{command}: {complaint}{}", at.as_ref().map(|line| format!(" (at: {line})")).unwrap_or_default())]
    Refused {
        command: String,
        complaint: String,
        /// The line of the batch that was refused.
        at: Option<String>,
    },
}

/// `ip -batch` in a namespace, or in the lab's own when none is named.
pub(crate) fn ip(ip: &Path, namespace: Option<&str>, script: &str) -> Result<(), CommandError> {
    iproute(ip, namespace, &["-batch", "-"], script)
}

/// `ip -batch` in the lab's own namespace, going on after a failure.
pub(crate) fn ip_forced(ip: &Path, script: &str) -> Result<(), CommandError> {
    iproute(ip, None, &["-force", "-batch", "-"], script)
}

/// `bridge -batch` in a namespace.
pub(crate) fn bridge(bridge: &Path, namespace: &str, script: &str) -> Result<(), CommandError> {
    iproute(bridge, Some(namespace), &["-batch", "-"], script)
}

/// `tc -batch` in a namespace.
pub(crate) fn tc(tc: &Path, namespace: &str, script: &str) -> Result<(), CommandError> {
    iproute(tc, Some(namespace), &["-batch", "-"], script)
}

fn iproute(
    program: &Path,
    namespace: Option<&str>,
    mode: &[&str],
    script: &str,
) -> Result<(), CommandError> {
    if script.is_empty() {
        return Ok(());
    }
    let mut command = Command::new(program);
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    command.args(mode);
    run(command, script).map(drop)
}

/// `ip` with arguments, for what it prints.
pub(crate) fn ip_output(
    ip: &Path,
    namespace: &str,
    arguments: &[&str],
) -> Result<String, CommandError> {
    let mut command = Command::new(ip);
    command.args(["-n", namespace]).args(arguments);
    run(command, "")
}

/// Runs `command` with `input`, and returns what it printed.
pub(crate) fn run(mut command: Command, input: &str) -> Result<String, CommandError> {
    let shown = describe(&command);
    let failed = |source| CommandError::Run {
        command: shown.clone(),
        source,
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take();
    // The tools read all of their input before they print more than a pipe holds, so writing first cannot block for ever.
    // A tool that stops reading early has complained: its complaint is the better error.
    if let Some(stdin) = stdin.as_mut()
        && let Err(source) = stdin.write_all(input.as_bytes())
        && source.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(failed(source));
    }
    drop(stdin);
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(CommandError::Refused {
        command: shown,
        at: refused_line(&complaint, input),
        complaint: if complaint.is_empty() {
            output.status.to_string()
        } else {
            complaint
        },
    })
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut shown = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}

/// iproute2 says `Command failed -:12`.
fn refused_line(complaint: &str, input: &str) -> Option<String> {
    let number: usize = complaint
        .lines()
        .find_map(|line| line.strip_prefix("Command failed -:"))?
        .trim()
        .parse()
        .ok()?;
    input.lines().nth(number.checked_sub(1)?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_line_of_a_batch_is_shown() {
        let complaint = "RTNETLINK answers: File exists\nCommand failed -:2";
        assert_eq!(
            refused_line(complaint, "link set a up\nroute add default via 10.0.0.1\n").as_deref(),
            Some("route add default via 10.0.0.1")
        );
        assert_eq!(refused_line("syntax error", "x"), None);
        assert_eq!(refused_line("Command failed -:9", "x"), None);
    }

    #[test]
    fn a_failing_tool_is_reported_with_its_own_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing >&2; exit 3"]);
        let error = run(command, "").expect_err("exit 3");
        assert!(error.to_string().ends_with(": no such thing"), "{error}");
    }
}
