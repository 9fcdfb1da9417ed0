//! What a prober says of itself when it calls, checked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use meshprobe_core::ids::{Incarnation, NodeName, NodeNameError};
use meshprobe_core::path::Plane;
use meshprobe_proto::convert::{self, UnknownNumber};
use meshprobe_proto::v1;

use super::record::{NodeAddress, WayHome};

/// Most labels of a node.
pub(super) const MAX_LABELS: usize = 64;
/// Most addresses of a node.
pub(super) const MAX_ADDRESSES: usize = 8;
/// Longest zone, region, version, label name and label value.
pub(super) const MAX_TEXT: usize = 253;

/// A Hello that passed every check that needs no state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The node.
    pub node: NodeName,
    /// The plane that the prober runs in.
    pub plane: Plane,
    /// The start of its process.
    pub incarnation: Incarnation,
    /// Its version.
    pub version: String,
    /// Failure domain, empty if unknown.
    pub zone: String,
    /// Larger failure domain, empty if unknown.
    pub region: String,
    /// Labels of the node.
    pub labels: BTreeMap<String, String>,
    /// Where its node can be probed.
    pub addresses: Vec<NodeAddress>,
    /// Which way the stream took.
    pub way: Option<WayHome>,
}

/// Why a Hello makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnouncementError {
    /// No usable node name.
    #[error("node name {name:?}: {error}")]
    Node {
        /// What was sent, shortened.
        name: String,
        /// What is wrong with it.
        error: NodeNameError,
    },
    /// An unknown plane.
    #[error(transparent)]
    Plane(#[from] UnknownNumber),
    /// A prober runs on nodes, not behind virtual addresses.
    #[error("a prober runs in the pod or the host plane")]
    ServicePlane,
    /// No start time.
    #[error("incarnation 0; it is the start of the process in microseconds since the Unix epoch")]
    Incarnation,
    /// A text that is too long or has control characters.
    #[error("{field} is longer than {MAX_TEXT} characters or has control characters")]
    Text {
        /// Which one.
        field: &'static str,
    },
    /// Too many labels.
    #[error("{0} labels; {MAX_LABELS} are allowed")]
    Labels(usize),
    /// Too many addresses.
    #[error("{0} addresses; {MAX_ADDRESSES} are allowed")]
    Addresses(usize),
    /// Something that is no address of a node.
    #[error("{0:?} is no unicast IP address of a node")]
    Ip(String),
    /// A port that does not exist.
    #[error("port {0}; 0 to 65535 are allowed")]
    Port(u32),
}

impl TryFrom<v1::Hello> for Announcement {
    type Error = AnnouncementError;

    fn try_from(hello: v1::Hello) -> Result<Self, Self::Error> {
        let v1::Hello {
            node,
            plane,
            incarnation,
            version,
            zone,
            region,
            labels,
            addresses,
            way,
        } = hello;
        let name = node.chars().take(64).collect();
        let node =
            NodeName::try_from(node).map_err(|error| AnnouncementError::Node { name, error })?;
        let plane = convert::plane(plane)?;
        if plane == Plane::Service {
            return Err(AnnouncementError::ServicePlane);
        }
        if incarnation == 0 {
            return Err(AnnouncementError::Incarnation);
        }
        if labels.len() > MAX_LABELS {
            return Err(AnnouncementError::Labels(labels.len()));
        }
        if addresses.len() > MAX_ADDRESSES {
            return Err(AnnouncementError::Addresses(addresses.len()));
        }
        for (field, text) in [("version", &version), ("zone", &zone), ("region", &region)] {
            check_text(field, text)?;
        }
        for (key, value) in &labels {
            check_text("a label's name", key)?;
            check_text("a label's value", value)?;
        }
        let mut checked = addresses
            .iter()
            .map(address)
            .collect::<Result<Vec<_>, _>>()?;
        checked.sort_unstable();
        checked.dedup();
        Ok(Self {
            node,
            plane,
            incarnation: Incarnation(incarnation),
            version,
            zone,
            region,
            labels: labels.into_iter().collect(),
            addresses: checked,
            way: match v1::WayHome::try_from(way) {
                Ok(v1::WayHome::Overlay) => Some(WayHome::Overlay),
                Ok(v1::WayHome::Underlay) => Some(WayHome::Underlay),
                Ok(v1::WayHome::Unspecified) | Err(_) => None,
            },
        })
    }
}

fn check_text(field: &'static str, text: &str) -> Result<(), AnnouncementError> {
    if text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(AnnouncementError::Text { field });
    }
    Ok(())
}

fn address(wire: &v1::Address) -> Result<NodeAddress, AnnouncementError> {
    let no_address = || AnnouncementError::Ip(wire.ip.chars().take(64).collect());
    let ip: IpAddr = wire.ip.parse().map_err(|_| no_address())?;
    // Anybody who may report could otherwise make the whole mesh send to a group or to this host.
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Err(no_address());
    }
    let port = |port: u32| u16::try_from(port).map_err(|_| AnnouncementError::Port(port));
    Ok(NodeAddress {
        plane: convert::plane(wire.plane)?,
        ip,
        udp_port: port(wire.udp_port)?,
        tcp_port: port(wire.tcp_port)?,
        quic_port: port(wire.quic_port)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> v1::Hello {
        v1::Hello {
            node: "mesh-1".to_owned(),
            plane: v1::Plane::Pod.into(),
            incarnation: 7,
            addresses: vec![v1::Address {
                plane: v1::Plane::Pod.into(),
                ip: "10.244.1.2".to_owned(),
                udp_port: 4862,
                tcp_port: 4862,
                quic_port: 4863,
            }],
            ..v1::Hello::default()
        }
    }

    fn refused(change: impl FnOnce(&mut v1::Hello)) -> AnnouncementError {
        let mut wrong = hello();
        change(&mut wrong);
        Announcement::try_from(wrong).unwrap_err()
    }

    #[test]
    fn a_sound_hello_is_taken_as_it_is() {
        let taken = Announcement::try_from(hello()).unwrap();
        assert_eq!(taken.node.as_str(), "mesh-1");
        assert_eq!(taken.addresses[0].ip.to_string(), "10.244.1.2");
        assert_eq!(taken.addresses[0].quic_port, 4863);
        assert_eq!(taken.way, None);
    }

    #[test]
    fn each_fault_of_a_hello_is_named() {
        use AnnouncementError as E;
        assert!(matches!(refused(|h| h.node = "A B".into()), E::Node { .. }));
        assert!(matches!(refused(|h| h.plane = 9), E::Plane(_)));
        assert_eq!(refused(|h| h.plane = 3), E::ServicePlane);
        assert_eq!(refused(|h| h.incarnation = 0), E::Incarnation);
        assert_eq!(
            refused(|h| h.zone = "a\nb".into()),
            E::Text { field: "zone" }
        );
        let labels = |h: &mut v1::Hello| {
            h.labels = (0..65).map(|n| (n.to_string(), String::new())).collect();
        };
        assert_eq!(refused(labels), E::Labels(65));
        let many = |h: &mut v1::Hello| h.addresses = vec![h.addresses[0].clone(); 9];
        assert_eq!(refused(many), E::Addresses(9));
        for ip in [
            "",
            "mesh-1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert_eq!(
                refused(|h| h.addresses[0].ip = ip.into()),
                E::Ip(ip.to_owned())
            );
        }
        for port in [
            |h: &mut v1::Hello| h.addresses[0].udp_port = 65_536,
            |h: &mut v1::Hello| h.addresses[0].tcp_port = 65_536,
            |h: &mut v1::Hello| h.addresses[0].quic_port = 65_536,
        ] {
            assert_eq!(refused(port), E::Port(65_536));
        }
    }
}
