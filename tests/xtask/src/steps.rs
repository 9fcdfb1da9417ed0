//! Steps with a headline and a duration each; the first failure ends the run and is named.

use std::{
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// A run of steps.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Runs one step under its headline.
    pub(crate) fn run(
        &mut self,
        headline: &str,
        step: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        println!("\n=== {headline}");
        let started = now();
        let result = step();
        let took = now().saturating_duration_since(started);
        match result {
            Ok(()) => {
                println!("--- ok: {headline} ({:.1} s)", took.as_secs_f64());
                self.done.push((headline.to_owned(), took));
                Ok(())
            }
            Err(error) => {
                println!("--- FAILED: {headline} ({:.1} s)", took.as_secs_f64());
                Err(error.context(format!("failed step: {headline}")))
            }
        }
    }

    /// What was done and how long it took.
    pub(crate) fn summary(&self) -> String {
        let total: Duration = self.done.iter().map(|(_, took)| *took).sum();
        let mut lines: Vec<String> = self
            .done
            .iter()
            .map(|(headline, took)| format!("{:>8.1} s  {headline}", took.as_secs_f64()))
            .collect();
        lines.push(format!(
            "{:>8.1} s  all {} steps passed",
            total.as_secs_f64(),
            self.done.len()
        ));
        lines.join("\n")
    }
}

/// Runs a command in the foreground; anything but success is an error that shows how to repeat it.
pub(crate) fn command(command: &mut Command) -> anyhow::Result<()> {
    let line = describe(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("start {line}"))?;
    succeeded(status, &line)
}

fn succeeded(status: ExitStatus, line: &str) -> anyhow::Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("{status}; repeat it with:\n\n    {line}\n")
}

/// The command as one would type it.
fn describe(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!(
            "{}={:?}",
            name.to_string_lossy(),
            value?.to_string_lossy()
        ))
    });
    // `CARGO` is an absolute path inside of a toolchain; the name does the same.
    let program = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    variables
        .chain(words.map(|word| word.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn now() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "a command-line tool that times its own steps"
    )]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_named_with_the_way_to_repeat_it() {
        let mut steps = Steps::default();
        steps
            .run("fine", || command(&mut Command::new("true")))
            .unwrap();
        let error = steps
            .run("broken", || command(Command::new("false").env("A", "b")))
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.starts_with("failed step: broken: exit status: 1"),
            "{text}"
        );
        assert!(text.contains("    A=\"b\" false\n"), "{text}");
        assert!(
            steps.summary().ends_with("all 1 steps passed"),
            "{}",
            steps.summary()
        );
    }
}
