//! When a process is of use: a set of named conditions that all have to hold.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;

/// The conditions of one process. Cheap to clone; all clones are one set.
///
/// A process declares its conditions before it serves, each as missing, and marks them as met when
/// they come true. Without any condition it is ready from the start.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    missing: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// No conditions yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a condition that does not hold yet; `reason` is what `/readyz` says until it does.
    pub fn condition(&self, name: &'static str, reason: impl Into<String>) -> Condition {
        let condition = Condition {
            name,
            readiness: self.clone(),
        };
        condition.unmet(reason);
        condition
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.missing.lock().is_empty()
    }

    /// What does not hold, and why, by name.
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        self.missing
            .lock()
            .iter()
            .map(|(name, reason)| (*name, reason.clone()))
            .collect()
    }
}

/// One condition, for the task that knows whether it holds.
#[derive(Clone)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

impl Condition {
    /// It holds.
    pub fn met(&self) {
        self.readiness.missing.lock().remove(self.name);
    }

    /// It does not hold (any more), and why.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.readiness
            .missing
            .lock()
            .insert(self.name, reason.into());
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_every_condition_holds() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let assignment = readiness.condition("assignment", "none received yet");
        let store = readiness.condition("store", "opening");
        assert_eq!(
            readiness.missing(),
            [
                ("assignment", "none received yet".to_owned()),
                ("store", "opening".to_owned())
            ]
        );
        assignment.met();
        store.met();
        assert!(readiness.is_ready());
        store.unmet("disk full");
        assert_eq!(readiness.missing(), [("store", "disk full".to_owned())]);
    }
}
