//! The columns of the DNS layers: one for each (server, name) that any prober asks.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use meshprobe_core::path::{Family, Layer, Plane};
use meshprobe_proto::convert;
use meshprobe_proto::v1;

/// Most DNS targets of the whole mesh. Probers with target files of their own can name any.
pub(super) const MAX_DNS_TARGETS: usize = 1_024;

/// What tells DNS targets apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DnsKey {
    server: String,
    address: SocketAddr,
    name: String,
    plane: Plane,
}

impl fmt::Display for DnsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.name)
    }
}

/// Why a DNS target is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DnsTargetError {
    #[error("{0:?} is no address of a DNS server")]
    Address(String),
    #[error(transparent)]
    Plane(#[from] convert::UnknownNumber),
    #[error("a server or name of more than 253 characters, or with control characters")]
    Text,
}

impl TryFrom<v1::DnsTarget> for DnsKey {
    type Error = DnsTargetError;

    fn try_from(target: v1::DnsTarget) -> Result<Self, DnsTargetError> {
        let strange = |text: &str| text.len() > 254 || text.chars().any(char::is_control);
        if strange(&target.server) || strange(&target.name) {
            return Err(DnsTargetError::Text);
        }
        Ok(Self {
            plane: convert::plane(target.plane)?,
            address: target
                .address
                .parse()
                .map_err(|_| DnsTargetError::Address(target.address.chars().take(64).collect()))?,
            server: target.server,
            name: target.name,
        })
    }
}

/// Number of a DNS target: its column in every DNS layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DnsColumn(pub(super) u32);

/// Every DNS target that was ever named while this process runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct DnsColumns {
    keys: Vec<DnsKey>,
    numbers: HashMap<DnsKey, DnsColumn>,
}

impl DnsColumns {
    /// The column of a target, a new one if it is new; `None`: there are too many.
    pub(crate) fn column(&mut self, key: &DnsKey) -> Option<DnsColumn> {
        if let Some(column) = self.numbers.get(key) {
            return Some(*column);
        }
        if self.keys.len() >= MAX_DNS_TARGETS {
            return None;
        }
        let column = DnsColumn(self.keys.len() as u32);
        self.keys.push(key.clone());
        self.numbers.insert(key.clone(), column);
        Some(column)
    }

    /// The columns of a layer: those whose server is on its plane and of its family.
    pub(crate) fn of_layer(&self, layer: Layer) -> impl Iterator<Item = (usize, &DnsKey)> {
        self.keys.iter().enumerate().filter(move |(_, key)| {
            key.plane == layer.plane && Family::of(key.address.ip()) == layer.family
        })
    }

    /// Columns with this name, as [`DnsKey`] is displayed.
    pub(crate) fn named(&self, text: &str) -> Vec<usize> {
        let keys = self.keys.iter().enumerate();
        keys.filter(|(_, key)| key.to_string() == text)
            .map(|(index, _)| index)
            .collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(server: &str, address: &str) -> v1::DnsTarget {
        v1::DnsTarget {
            server: server.to_owned(),
            address: address.to_owned(),
            name: "kubernetes.default.svc.cluster.local.".to_owned(),
            expected_rcode: 0,
            plane: v1::Plane::Service.into(),
        }
    }

    #[test]
    fn a_target_keeps_its_column_and_the_number_of_targets_is_bounded() {
        let mut columns = DnsColumns::default();
        let first = DnsKey::try_from(target("s0", "10.96.0.10:53")).unwrap();
        let column = columns.column(&first);
        for n in 1..MAX_DNS_TARGETS {
            let key = DnsKey::try_from(target(&format!("s{n}"), "10.96.0.10:53")).unwrap();
            assert!(columns.column(&key).is_some());
        }
        let beyond = DnsKey::try_from(target("beyond", "10.96.0.10:53")).unwrap();
        assert_eq!(columns.column(&beyond), None);
        assert_eq!(columns.column(&first), column);
    }

    #[test]
    fn a_name_is_no_server_address() {
        let error = DnsKey::try_from(target("vip", "kube-dns:53")).unwrap_err();
        assert_eq!(error, DnsTargetError::Address("kube-dns:53".to_owned()));
    }
}
