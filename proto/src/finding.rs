//! The parts of findings on the wire.

use meshprobe_core::finding::{Alternative, Estimate, NamedPath};

use crate::v1;

impl From<Estimate> for v1::Estimate {
    fn from(estimate: Estimate) -> Self {
        let Estimate {
            ratio,
            lower,
            upper,
            sent,
            lost,
        } = estimate;
        Self {
            ratio,
            lower,
            upper,
            sent,
            lost,
        }
    }
}

impl From<&Alternative> for v1::Alternative {
    fn from(alternative: &Alternative) -> Self {
        Self {
            pattern: alternative.pattern.as_str().to_owned(),
            scope: alternative.scope.to_string(),
        }
    }
}

impl From<&NamedPath> for v1::NamedPath {
    fn from(path: &NamedPath) -> Self {
        Self {
            source: path.source.clone(),
            target: path.target.clone(),
            layer: Some(path.layer.into()),
        }
    }
}
