//! The protobuf JSON mapping of the API's messages, the same as under `/api/v1`.
//!
//! Names in lowerCamelCase, enumerations by their names, 64-bit integers as strings, bytes as base64, times as RFC 3339.
//! Fields are written also when they have their default value, so that a script finds `openIncidents: 0` and not
//! nothing; what was never set (a time, a received count) is left out.

mod incident;
mod matrix;
mod node;
mod path;
mod status;

use meshprobe_proto::v1;
use serde::{Serialize, Serializer};

pub use incident::{IncidentView, IncidentsView};
pub use matrix::MatrixView;
pub use node::NodesView;
pub use path::PathView;
pub use status::StatusView;

use crate::render::time;

/// A time as RFC 3339; a time outside of the calendar is left out like a missing one.
fn timestamp(wire: Option<prost_types::Timestamp>) -> Option<String> {
    time::timestamp(wire).map(|time| time.to_string())
}

/// A layer by its three words.
#[derive(Serialize)]
struct LayerView {
    kind: &'static str,
    plane: &'static str,
    family: &'static str,
}

impl From<&v1::Layer> for LayerView {
    fn from(layer: &v1::Layer) -> Self {
        Self {
            kind: layer.kind().as_str_name(),
            plane: layer.plane().as_str_name(),
            family: layer.family().as_str_name(),
        }
    }
}

/// A 64-bit integer, which JSON numbers cannot hold.
struct Text64(u64);

impl Serialize for Text64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
