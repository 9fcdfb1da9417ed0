//! Faults with known causes, in small meshes whose probes are really drawn.

mod details;
mod patterns;
mod properties;

use super::super::sketch::Sketch;
use super::{LossRows, findings};
use crate::diagnosis::{DiagnosisConfig, Picture};
use crate::finding::Finding;

/// Every finding as "pattern · scope".
fn named(picture: &Picture) -> Vec<String> {
    let (found, _) = findings(
        picture,
        &[],
        &DiagnosisConfig::default(),
        &mut LossRows::default(),
    );
    let mut names: Vec<String> = found.iter().map(name).collect();
    names.sort();
    names
}

fn name(finding: &Finding) -> String {
    format!("{} · {}", finding.pattern, finding.scope)
}

fn only(sketch: &Sketch) -> Finding {
    let (mut found, _) = findings(
        &sketch.picture(),
        &[],
        &DiagnosisConfig::default(),
        &mut LossRows::default(),
    );
    let names: Vec<String> = found.iter().map(name).collect();
    assert_eq!(found.len(), 1, "{names:#?}");
    found.remove(0)
}
