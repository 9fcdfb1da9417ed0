//! A prober's own small numbers for its targets, and the columns that they stand for.
//!
//! A row of a report is turned into a column by one array access. That array is all that is kept of a name that is known:
//! 5,000 probers that name each other would otherwise hold 25 million strings. Names of nodes that are not in the mesh
//! are kept beside it until those join. An entry that contradicts an earlier one is refused.

use std::collections::BTreeMap;

use meshprobe_core::ids::{NodeIndex, NodeName};
use meshprobe_core::path::Layer;
use meshprobe_proto::v1::{self, dictionary_entry::Target};

use super::targets::{Group, TargetColumn, TargetError, TargetKey, Targets};

/// Most entries of one dictionary: as many as a report can have rows.
pub(super) const MAX_ENTRIES: usize = meshprobe_proto::report::MAX_ROWS;

/// What a number stands for, as it was sent.
enum Meaning {
    Node(NodeName),
    Target(TargetKey),
}

/// A number's column: the group of its target and the place in it, in four octets, for the hot path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column(u32);

const INDEX_BITS: u32 = 26;
const NOBODY: u32 = (1 << INDEX_BITS) - 1;

impl Column {
    const UNRESOLVED: Self = Self(NOBODY);

    fn node(node: NodeIndex) -> Self {
        Self(node.0)
    }

    /// `None`: a target for which there was no room. Its group is kept, so that reports that mention it are still good.
    fn target(group: Group, column: Option<TargetColumn>) -> Self {
        let group = u32::from(group.number()) << INDEX_BITS;
        Self(group | column.map_or(NOBODY, |c| c.index))
    }

    /// What it is a column of.
    #[inline]
    pub(crate) const fn group(self) -> Group {
        Group::from_number((self.0 >> INDEX_BITS) as u8)
    }

    /// Can it be a target in this layer?
    pub(crate) fn is_of(self, layer: Layer) -> bool {
        self.group() == Group::of_layer(layer)
    }

    /// The column in the layer's rows; `None`: a node that is not in the mesh, or a target without room.
    #[inline]
    pub(crate) const fn index(self) -> Option<usize> {
        match self.0 & NOBODY {
            NOBODY => None,
            index => Some(index as usize),
        }
    }
}

/// Why a dictionary is refused. Entries before the wrong one stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DictionaryError {
    /// A number that is not the next one and was not used before.
    #[error("entry {number} out of order; the next one is {next}")]
    Order {
        /// What was sent.
        number: u32,
        /// What was due.
        next: usize,
    },
    /// Too many entries.
    #[error("more than {MAX_ENTRIES} entries")]
    TooMany,
    /// An entry that says nothing, or nothing sensible.
    #[error("entry {number}: {reason}")]
    Entry {
        /// Which one.
        number: u32,
        /// What is wrong.
        reason: String,
    },
    /// A number that meant something else before.
    #[error("entry {number} changed its meaning inside an incarnation")]
    Changed {
        /// Which one.
        number: u32,
    },
    /// Another start's dictionary on this stream.
    #[error("dictionary of incarnation {sent} on a stream of incarnation {expected}")]
    ForeignIncarnation {
        /// In the dictionary.
        sent: u64,
        /// In the Hello.
        expected: u64,
    },
}

impl DictionaryError {
    /// As metric label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Order { .. } => "dictionary_order",
            Self::TooMany => "dictionary_size",
            Self::Entry { .. } => "dictionary_entry",
            Self::Changed { .. } => "dictionary_changed",
            Self::ForeignIncarnation { .. } => "dictionary_incarnation",
        }
    }
}

/// The numbers of one start of one prober.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dictionary {
    columns: Vec<Column>,
    /// Names behind the unresolved columns.
    strangers: BTreeMap<u32, NodeName>,
}

impl Dictionary {
    /// Takes new entries; those that are known may be repeated. `unknown` is told about each new number of a node that
    /// is not in the mesh.
    pub(crate) fn extend(
        &mut self,
        entries: Vec<v1::DictionaryEntry>,
        nodes: impl Fn(&NodeName) -> Option<NodeIndex>,
        mut unknown: impl FnMut(u32, &NodeName),
        targets: &mut Targets,
    ) -> Result<(), DictionaryError> {
        for entry in entries {
            let number = entry.number;
            let index = number as usize;
            let (column, stranger) = match meaning(entry)? {
                Meaning::Target(key) => {
                    let column = targets.column(&key);
                    (Column::target(Group::of_key(&key), column), None)
                }
                Meaning::Node(name) => match nodes(&name) {
                    Some(node) => (Column::node(node), None),
                    None => (Column::UNRESOLVED, Some(name)),
                },
            };
            if let Some(known) = self.columns.get(index) {
                if *known != column || self.strangers.get(&number) != stranger.as_ref() {
                    return Err(DictionaryError::Changed { number });
                }
                continue;
            }
            if index != self.columns.len() {
                let next = self.columns.len();
                return Err(DictionaryError::Order { number, next });
            }
            if index >= MAX_ENTRIES {
                return Err(DictionaryError::TooMany);
            }
            self.columns.push(column);
            if let Some(name) = stranger {
                unknown(number, &name);
                self.strangers.insert(number, name);
            }
        }
        Ok(())
    }

    /// The columns by number.
    #[inline]
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The node behind this number joined.
    pub(crate) fn resolve(&mut self, number: u32, node: NodeIndex) {
        if let Some(column) = self.columns.get_mut(number as usize) {
            *column = Column::node(node);
            self.strangers.remove(&number);
        }
    }

    /// The node with this name is not in the mesh any more. Its number here, if it has one.
    pub(crate) fn forget(&mut self, node: NodeIndex, name: &NodeName) -> Option<u32> {
        let forgotten = Column::node(node);
        let number = self
            .columns
            .iter()
            .position(|column| *column == forgotten)?;
        self.columns[number] = Column::UNRESOLVED;
        let number = u32::try_from(number).ok()?;
        self.strangers.insert(number, name.clone());
        Some(number)
    }
}

fn meaning(entry: v1::DictionaryEntry) -> Result<Meaning, DictionaryError> {
    let number = entry.number;
    let wrong = |reason: String| DictionaryError::Entry { number, reason };
    let target = match entry.target {
        Some(Target::Node(name)) => {
            let name = NodeName::try_from(name).map_err(|error| wrong(error.to_string()))?;
            return Ok(Meaning::Node(name));
        }
        Some(Target::Dns(target)) => target.try_into(),
        Some(Target::Search(target)) => target.try_into(),
        Some(Target::Service(target)) => target.try_into(),
        Some(Target::External(target)) => target.try_into(),
        None => return Err(wrong("no target".to_owned())),
    };
    target
        .map(Meaning::Target)
        .map_err(|error: TargetError| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use meshprobe_core::path::{Plane, ProbeKind};

    use super::*;

    fn node(number: u32, name: &str) -> v1::DictionaryEntry {
        v1::DictionaryEntry {
            number,
            target: Some(Target::Node(name.to_owned())),
        }
    }

    fn known(name: &NodeName) -> Option<NodeIndex> {
        (name.as_str() == "b").then_some(NodeIndex(7))
    }

    #[test]
    fn numbers_become_columns_and_unknown_nodes_wait() {
        let mut dictionary = Dictionary::default();
        let mut targets = Targets::default();
        let entries = vec![node(0, "b"), node(1, "later")];
        let mut unknown = Vec::new();
        let note = |number, name: &NodeName| unknown.push((number, name.to_string()));
        dictionary
            .extend(entries, known, note, &mut targets)
            .unwrap();
        assert_eq!(unknown, [(1, "later".to_owned())]);
        let indices = |dictionary: &Dictionary| {
            let columns = dictionary.columns().iter();
            columns.map(|column| column.index()).collect::<Vec<_>>()
        };
        assert_eq!(indices(&dictionary), [Some(7), None]);
        dictionary.resolve(1, NodeIndex(9));
        assert_eq!(indices(&dictionary), [Some(7), Some(9)]);
        let b = NodeName::try_from("b").unwrap();
        assert_eq!(dictionary.forget(NodeIndex(7), &b), Some(0));
        assert_eq!(dictionary.forget(NodeIndex(7), &b), None);
        assert_eq!(indices(&dictionary), [None, Some(9)]);
    }

    #[test]
    fn every_kind_of_target_has_a_column_of_its_group() {
        use v1::dictionary_entry::Target;
        let address = || "10.96.0.10:53".to_owned();
        let name = || "x".to_owned();
        let targets = [
            Target::Dns(v1::DnsTarget {
                server: name(),
                address: address(),
                name: name(),
                expected_rcode: 0,
                plane: v1::Plane::Service.into(),
            }),
            Target::Search(v1::SearchTarget { name: name() }),
            Target::Service(v1::ServiceTarget {
                name: name(),
                address: address(),
            }),
            Target::External(v1::ExternalTarget {
                name: name(),
                kind: v1::ProbeKind::Tls.into(),
                family: v1::Family::V4.into(),
                ..v1::ExternalTarget::default()
            }),
        ];
        let entries = targets.into_iter().enumerate();
        let entries = entries.map(|(number, target)| v1::DictionaryEntry {
            number: number as u32,
            target: Some(target),
        });
        let mut dictionary = Dictionary::default();
        let mut targets = Targets::default();
        dictionary
            .extend(entries.collect(), known, |_, _| {}, &mut targets)
            .unwrap();
        let layer = |kind, plane| Layer {
            kind,
            plane,
            family: meshprobe_core::path::Family::V4,
        };
        let layers = [
            layer(ProbeKind::DnsTcp, Plane::Service),
            layer(ProbeKind::DnsSearch, Plane::Host),
            layer(ProbeKind::Service, Plane::Service),
            layer(ProbeKind::Tls, Plane::Pod),
        ];
        for (column, layer) in dictionary.columns().iter().zip(layers) {
            assert_eq!(column.group(), Group::of_layer(layer));
            assert_eq!(column.index(), Some(0), "each is the first of its group");
        }
    }

    #[test]
    fn a_repeated_dictionary_is_fine_and_a_changed_meaning_is_not() {
        let mut dictionary = Dictionary::default();
        let mut targets = Targets::default();
        let mut extend = |entries| dictionary.extend(entries, known, |_, _| {}, &mut targets);
        extend(vec![node(0, "b")]).unwrap();
        extend(vec![node(0, "b"), node(1, "c")]).unwrap();
        assert_eq!(
            extend(vec![node(1, "d")]),
            Err(DictionaryError::Changed { number: 1 })
        );
        assert_eq!(
            extend(vec![node(5, "d")]),
            Err(DictionaryError::Order { number: 5, next: 2 })
        );
        assert!(matches!(
            extend(vec![node(2, "D")]),
            Err(DictionaryError::Entry { .. })
        ));
        let odd = v1::DictionaryEntry {
            number: 2,
            target: Some(Target::Service(v1::ServiceTarget::default())),
        };
        assert!(matches!(
            extend(vec![odd]),
            Err(DictionaryError::Entry { .. })
        ));
        let empty = v1::DictionaryEntry {
            number: 2,
            target: None,
        };
        assert!(matches!(
            extend(vec![empty]),
            Err(DictionaryError::Entry { .. })
        ));
    }
}
