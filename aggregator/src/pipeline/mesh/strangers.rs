//! Names in probers' dictionaries that are no nodes of the mesh (yet).
//!
//! After a restart, and with target files, probers report about nodes before those have called. When one does, every
//! dictionary that names it has to learn its number: looked up here, because going through all dictionaries at each of
//! thousands of joins would take minutes.

use std::collections::HashMap;

use meshprobe_core::ids::NodeName;

use crate::ingest::session::ProberKey;

/// An entry of a dictionary that waits for its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) prober: ProberKey,
    pub(super) incarnation: u64,
    pub(super) number: u32,
}

/// Every name that waits, with those who mention it. Bounded by the dictionaries' own bound.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    mentions: HashMap<NodeName, Vec<Mention>>,
}

impl Strangers {
    /// A prober's dictionary names a node that is not in the mesh.
    pub(super) fn note(
        &mut self,
        name: &NodeName,
        prober: ProberKey,
        incarnation: u64,
        number: u32,
    ) {
        let mention = Mention {
            prober,
            incarnation,
            number,
        };
        let mentions = self.mentions.entry(name.clone()).or_default();
        // A restarted prober mentions it again; what its former start said is void.
        mentions.retain(|m| m.prober != prober || m.incarnation == incarnation);
        mentions.push(mention);
    }

    /// The node joined. Who mentions it.
    pub(super) fn take(&mut self, name: &NodeName) -> Vec<Mention> {
        self.mentions.remove(name).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::ids::NodeIndex;
    use meshprobe_core::path::Plane;

    use super::*;

    #[test]
    fn whoever_mentions_a_stranger_is_found_when_it_joins() {
        let name = NodeName::try_from("later").unwrap();
        let prober = |node| ProberKey {
            node: NodeIndex(node),
            plane: Plane::Pod,
        };
        let mut strangers = Strangers::default();
        strangers.note(&name, prober(0), 1, 5);
        strangers.note(&name, prober(1), 1, 6);
        strangers.note(&name, prober(0), 2, 7);
        let numbers: Vec<u32> = strangers.take(&name).iter().map(|m| m.number).collect();
        assert_eq!(numbers, [6, 7]);
        assert_eq!(strangers.take(&name), []);
    }
}
