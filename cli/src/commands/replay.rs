//! `meshprobe replay`: the diagnosis again over the pictures of a bundle, without an aggregator.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use meshprobe_core::diagnosis::{DiagnosisConfig, diagnose};
use meshprobe_core::finding::Finding;
use meshprobe_proto::bundle::{self, Bundle, Limits, PackedPicture};
use serde::Serialize;

use crate::args::Format;
use crate::console::Console;
use crate::exit::Health;

/// What the diagnosis finds now in the pictures of a bundle, and what it found then.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replay {
    incident: String,
    made_at: Timestamp,
    made_by: String,
    replayed_by: &'static str,
    remarks: Vec<String>,
    pictures: Vec<Replayed>,
    same: usize,
    different: usize,
}

/// One picture.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replayed {
    at: Timestamp,
    findings: Vec<Found>,
    /// Found then and not now.
    only_then: Vec<Found>,
    /// Found now and not then.
    only_now: Vec<Found>,
}

/// A finding by its identity, with its sentence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Found {
    pattern: String,
    scope: String,
    summary: String,
}

impl Found {
    fn new(finding: &Finding) -> Self {
        Self {
            pattern: finding.pattern.to_string(),
            scope: finding.scope.to_string(),
            summary: finding.summary.clone(),
        }
    }

    fn key(&self) -> (&str, &str) {
        (&self.pattern, &self.scope)
    }
}

/// Reads a bundle and replays it.
pub fn run(path: &Path, console: &Console) -> anyhow::Result<Health> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let bundle = bundle::read(file, Limits::default())
        .with_context(|| format!("replay {}", path.display()))?;
    if bundle.pictures.is_empty() {
        bail!(
            "{} has no pictures to replay: {}",
            path.display(),
            bundle.manifest.remarks.join("; ")
        );
    }
    let replay = replay(bundle)?;
    let text = match console.format {
        Format::Json => serde_json::to_string_pretty(&replay)? + "\n",
        Format::Yaml => serde_saphyr::to_string(&replay)?,
        Format::Table => render(&replay, false),
        Format::Wide => render(&replay, true),
    };
    console.print(&text)?;
    Ok(Health::unless(replay.different > 0))
}

fn replay(bundle: Bundle) -> anyhow::Result<Replay> {
    let config = DiagnosisConfig::default();
    let one = |packed: &PackedPicture| {
        let picture = packed.unpack().context("unpack a picture")?;
        let found = |findings: &[Finding]| findings.iter().map(Found::new).collect::<Vec<_>>();
        let (then, now) = (
            found(&packed.findings),
            found(&diagnose(&picture, &config).findings),
        );
        Ok(Replayed {
            at: packed.at,
            only_then: without(&then, &now),
            only_now: without(&now, &then),
            findings: now,
        })
    };
    let pictures: Vec<Replayed> = bundle
        .pictures
        .iter()
        .map(one)
        .collect::<anyhow::Result<_>>()?;
    let is_same = |one: &&Replayed| one.only_then.is_empty() && one.only_now.is_empty();
    let same = pictures.iter().filter(is_same).count();
    let manifest = bundle.manifest;
    Ok(Replay {
        incident: manifest.incident,
        made_at: manifest.made_at,
        made_by: manifest.meshprobe,
        replayed_by: env!("CARGO_PKG_VERSION"),
        remarks: manifest.remarks,
        same,
        different: pictures.len() - same,
        pictures,
    })
}

/// Those of `some` that `others` do not have. The sentence is no part of what a finding is.
fn without(some: &[Found], others: &[Found]) -> Vec<Found> {
    let others: BTreeSet<_> = others.iter().map(Found::key).collect();
    let missing = some.iter().filter(|one| !others.contains(&one.key()));
    missing.cloned().collect()
}

fn render(replay: &Replay, wide: bool) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let line = |text: &mut String, args: std::fmt::Arguments<'_>| {
        writeln!(text, "{args}").unwrap_or_default();
    };
    line(
        &mut text,
        format_args!(
            "Bundle of incident {}, made at {} by meshprobe {}; replayed by {}",
            replay.incident, replay.made_at, replay.made_by, replay.replayed_by
        ),
    );
    for remark in &replay.remarks {
        line(&mut text, format_args!("Note: {remark}"));
    }
    text.push('\n');
    let mut before: Vec<Found> = Vec::new();
    for (number, picture) in replay.pictures.iter().enumerate() {
        let at = picture.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let (gone, new) = (
            without(&before, &picture.findings),
            without(&picture.findings, &before),
        );
        if number == 0 && new.is_empty() {
            line(&mut text, format_args!("{at}    nothing is found"));
        }
        for (sign, findings) in [('-', gone), ('+', new)] {
            for Found {
                pattern,
                scope,
                summary,
            } in findings
            {
                line(&mut text, format_args!("{at}  {sign} {pattern} · {scope}"));
                if wide && sign == '+' {
                    line(&mut text, format_args!("{:22}  {summary}", ""));
                }
            }
        }
        for (who, findings) in [
            ("found then, not now", &picture.only_then),
            ("found now, not then", &picture.only_now),
        ] {
            for Found { pattern, scope, .. } in findings {
                line(
                    &mut text,
                    format_args!("{at}  ! {who}: {pattern} · {scope}"),
                );
            }
        }
        before.clone_from(&picture.findings);
    }
    text.push('\n');
    let all = replay.pictures.len();
    if replay.different == 0 {
        line(
            &mut text,
            format_args!("The same was found then, in all of {all} pictures."),
        );
    } else {
        line(
            &mut text,
            format_args!(
                "In {} of {all} pictures something else was found then.",
                replay.different
            ),
        );
    }
    text
}
