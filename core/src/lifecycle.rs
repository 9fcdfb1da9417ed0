//! What is known of a node's future. A node leaves the matrix by evidence of this, never because it fell silent.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a node stands in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifecycle {
    /// It is meant to be there.
    #[default]
    Active,
    /// It is being emptied on purpose (cordoned, drained).
    Draining,
    /// Its prober said goodbye, or its deletion was seen; it may come back in time.
    Leaving,
    /// It left, and its time to come back has passed.
    Gone,
}

impl Lifecycle {
    /// Is its failure news? What is meant to go away is only shown as leaving.
    pub const fn is_judged(self) -> bool {
        matches!(self, Self::Active)
    }

    /// As label and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
