//! The last connections to one service, and what became of them. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use meshprobe_core::detail::{BackendCount, MAX_ENTRIES, ServiceDetail};

/// Connections that are remembered. With more, a repaired backend would show as broken for minutes.
pub const DEPTH: usize = 64;

/// What became of the last connections; the newest is the last.
#[derive(Clone, Debug, Default)]
pub struct History {
    connections: VecDeque<Option<Arc<str>>>,
}

impl History {
    /// One more connection: who answered it; `None`: it failed.
    pub fn record(&mut self, backend: Option<&str>) {
        if self.connections.len() == DEPTH {
            self.connections.pop_front();
        }
        // A name is kept once, however many connections it answered.
        let known = self.connections.iter().flatten();
        let backend = backend.map(|backend| {
            let mut same = known.filter(|name| ***name == *backend);
            same.next().map_or_else(|| backend.into(), Arc::clone)
        });
        self.connections.push_back(backend);
    }

    /// What can be told about them. Backends in the order of their names.
    pub fn detail(&self) -> ServiceDetail {
        let mut backends: BTreeMap<&str, u32> = BTreeMap::new();
        for backend in self.connections.iter().flatten() {
            *backends.entry(backend).or_default() += 1;
        }
        let tried = self.connections.len() as u32;
        ServiceDetail {
            tried,
            failed: tried - backends.values().sum::<u32>(),
            backends: backends
                .into_iter()
                .take(MAX_ENTRIES)
                .map(|(backend, connections)| BackendCount {
                    backend: backend.to_owned(),
                    connections,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn failures_and_backends_of_the_last_connections_are_counted() {
        let mut history = History::default();
        for backend in [Some("b"), None, Some("a"), Some("b")] {
            history.record(backend);
        }
        let detail = history.detail();
        assert_eq!((detail.tried, detail.failed), (4, 1));
        let backends: Vec<_> = detail
            .backends
            .iter()
            .map(|b| (b.backend.as_str(), b.connections))
            .collect();
        assert_eq!(backends, [("a", 1), ("b", 2)]);
    }

    #[test]
    fn a_repaired_backend_is_forgotten_after_sixty_four_connections() {
        let mut history = History::default();
        history.record(None);
        for _ in 0..DEPTH {
            history.record(Some("a"));
        }
        assert_eq!(history.detail().failed, 0);
        assert_eq!(history.detail().tried as usize, DEPTH);
    }

    proptest! {
        #[test]
        fn all_connections_are_accounted_for(
            connections in prop::collection::vec(prop::option::of("[a-z]{1,3}"), 0..300),
        ) {
            let mut history = History::default();
            for backend in &connections {
                history.record(backend.as_deref());
            }
            let detail = history.detail();
            let answered: u32 = detail.backends.iter().map(|b| b.connections).sum();
            prop_assert_eq!(detail.tried, detail.failed + answered);
            prop_assert_eq!(detail.tried as usize, connections.len().min(DEPTH));
        }
    }
}
