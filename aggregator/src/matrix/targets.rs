//! The columns of targets that are no nodes: DNS servers with a name, names as applications ask them, virtual IPs, targets
//! outside the mesh.
//!
//! A target belongs to one [`Group`]: those that share a layer, so that the rows of a layer have room for its own targets
//! and for no others. Columns come from the plan, and from the dictionaries of probers with target files of their own. A
//! target that leaves the plan is not shown any more; what spools still bring about it does no harm.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;

use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_proto::{convert, v1};

use crate::plan::PlanConfig;

/// Most targets of the whole mesh that are no nodes. Probers with target files of their own can name any.
pub(super) const MAX_TARGETS: usize = 4_096;

/// Longest text of a target, octets.
const MAX_TEXT: usize = 254;

/// What tells targets apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TargetKey {
    /// A name that is asked of a DNS server.
    Dns {
        server: String,
        address: SocketAddr,
        name: String,
        plane: Plane,
    },
    /// A name as an application asks it.
    Search { name: String },
    /// A virtual IP in front of the responders.
    Service { name: String, address: SocketAddr },
    /// A target outside the mesh.
    External {
        name: String,
        kind: ProbeKind,
        family: Family,
    },
}

/// As the heading of its column, and as the command line and the API name it.
impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns { server, name, .. } => write!(f, "{server}/{name}"),
            Self::Search { name } | Self::Service { name, .. } | Self::External { name, .. } => {
                f.write_str(name)
            }
        }
    }
}

/// Why a target is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("{0:?} is no address literal with a port")]
    Address(String),
    #[error(transparent)]
    Number(#[from] convert::UnknownNumber),
    #[error("{0} is no kind for targets outside the mesh")]
    Kind(ProbeKind),
    #[error("a name that is empty, has more than {MAX_TEXT} characters, or has control characters")]
    Text,
}

fn text(text: String) -> Result<String, TargetError> {
    let is_strange = text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control);
    if is_strange {
        return Err(TargetError::Text);
    }
    Ok(text)
}

fn address(text: &str) -> Result<SocketAddr, TargetError> {
    text.parse()
        .map_err(|_| TargetError::Address(text.chars().take(64).collect()))
}

impl TryFrom<v1::DnsTarget> for TargetKey {
    type Error = TargetError;

    fn try_from(target: v1::DnsTarget) -> Result<Self, TargetError> {
        Ok(Self::Dns {
            plane: convert::plane(target.plane)?,
            address: address(&target.address)?,
            server: text(target.server)?,
            name: text(target.name)?,
        })
    }
}

impl TryFrom<v1::SearchTarget> for TargetKey {
    type Error = TargetError;

    fn try_from(target: v1::SearchTarget) -> Result<Self, TargetError> {
        Ok(Self::Search {
            name: text(target.name)?,
        })
    }
}

impl TryFrom<v1::ServiceTarget> for TargetKey {
    type Error = TargetError;

    fn try_from(target: v1::ServiceTarget) -> Result<Self, TargetError> {
        Ok(Self::Service {
            address: address(&target.address)?,
            name: text(target.name)?,
        })
    }
}

impl TryFrom<v1::ExternalTarget> for TargetKey {
    type Error = TargetError;

    fn try_from(target: v1::ExternalTarget) -> Result<Self, TargetError> {
        let kind = convert::probe_kind(target.kind)?;
        if !matches!(
            kind,
            ProbeKind::TcpConnect | ProbeKind::Tls | ProbeKind::Http
        ) {
            return Err(TargetError::Kind(kind));
        }
        Ok(Self::External {
            name: text(target.name)?,
            kind,
            family: convert::family(target.family)?,
        })
    }
}

/// Targets that share their layers, by a small number. Zero is that of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Group(u8);

impl Group {
    /// The nodes.
    pub(super) const NODES: Self = Self(0);
    /// How many there are: nodes, 3 planes × 2 families of DNS, names, 2 families of services, 3 kinds × 2 families
    /// outside.
    const COUNT: usize = 16;

    /// The targets of this layer.
    pub(super) const fn of_layer(layer: Layer) -> Self {
        let family = layer.family as u8;
        match layer.kind {
            ProbeKind::Udp
            | ProbeKind::Tcp
            | ProbeKind::Mtu
            | ProbeKind::Quic
            | ProbeKind::Icmp => Self::NODES,
            ProbeKind::DnsUdp | ProbeKind::DnsTcp => Self(1 + 2 * layer.plane as u8 + family),
            // The node's own resolver chooses the family.
            ProbeKind::DnsSearch => Self(7),
            ProbeKind::Service => Self(8 + family),
            ProbeKind::TcpConnect => Self(10 + family),
            ProbeKind::Tls => Self(12 + family),
            ProbeKind::Http => Self(14 + family),
        }
    }

    /// The group of a target.
    pub(super) fn of_key(key: &TargetKey) -> Self {
        let (kind, plane, family) = match key {
            TargetKey::Dns { address, plane, .. } => {
                (ProbeKind::DnsUdp, *plane, Family::of(address.ip()))
            }
            TargetKey::Search { .. } => (ProbeKind::DnsSearch, Plane::Pod, Family::V4),
            TargetKey::Service { address, .. } => {
                (ProbeKind::Service, Plane::Service, Family::of(address.ip()))
            }
            TargetKey::External { kind, family, .. } => (*kind, Plane::Pod, *family),
        };
        Self::of_layer(Layer {
            kind,
            plane,
            family,
        })
    }

    pub(super) const fn number(self) -> u8 {
        self.0
    }

    pub(super) const fn from_number(number: u8) -> Self {
        Self(number)
    }
}

/// Where a target's cells are: in the rows of its group's layers, at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TargetColumn {
    pub(crate) group: Group,
    pub(crate) index: u32,
}

#[derive(Clone, Debug)]
struct Target {
    key: TargetKey,
    /// It is in the plan now.
    is_planned: bool,
    /// It was in the plan, and is no longer.
    is_retired: bool,
    /// Somebody reported about it.
    is_seen: bool,
}

/// Every target that was ever planned or named while this process runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets {
    groups: [Vec<Target>; Group::COUNT],
    columns: HashMap<TargetKey, TargetColumn>,
}

impl Targets {
    /// The column of a target, a new one if it is new; `None`: there are too many.
    pub(crate) fn column(&mut self, key: &TargetKey) -> Option<TargetColumn> {
        if let Some(column) = self.columns.get(key) {
            return Some(*column);
        }
        if self.columns.len() >= MAX_TARGETS {
            return None;
        }
        let group = Group::of_key(key);
        let targets = &mut self.groups[usize::from(group.0)];
        let column = TargetColumn {
            group,
            index: targets.len() as u32,
        };
        targets.push(Target {
            key: key.clone(),
            is_planned: false,
            is_retired: false,
            is_seen: false,
        });
        self.columns.insert(key.clone(), column);
        Some(column)
    }

    /// The plan is another one: its targets have columns, and those that it does not have any more are given back, to be
    /// emptied.
    pub(crate) fn follow(&mut self, plan: &PlanConfig) -> Vec<TargetColumn> {
        let planned: HashSet<TargetColumn> = keys(plan)
            .into_iter()
            .filter_map(|key| self.column(&key))
            .collect();
        let mut gone = Vec::new();
        for column in self.columns.values() {
            let target = &mut self.groups[usize::from(column.group.0)][column.index as usize];
            let is_planned = planned.contains(column);
            if target.is_planned && !is_planned {
                target.is_retired = true;
                gone.push(*column);
            }
            target.is_planned = is_planned;
            target.is_retired &= !is_planned;
        }
        gone
    }

    /// Somebody reported about the targets of this group at these places.
    #[inline]
    pub(super) fn see(&mut self, group: Group, index: usize) {
        if let Some(target) = self.groups[usize::from(group.0)].get_mut(index) {
            target.is_seen = true;
        }
    }

    /// What is to be shown of a layer: planned targets and those that somebody reports about.
    pub(crate) fn of_layer(&self, layer: Layer) -> impl Iterator<Item = (usize, &TargetKey)> {
        let targets = &self.groups[usize::from(Group::of_layer(layer).0)];
        let shown = |target: &Target| !target.is_retired && (target.is_planned || target.is_seen);
        targets
            .iter()
            .enumerate()
            .filter(move |(_, target)| shown(target))
            .map(|(index, target)| (index, &target.key))
    }

    /// Columns with this heading.
    pub(crate) fn named(&self, text: &str) -> Vec<TargetColumn> {
        let named = self.columns.iter().filter(|(key, column)| {
            let target = &self.groups[usize::from(column.group.0)][column.index as usize];
            !target.is_retired && key.to_string() == text
        });
        let mut named: Vec<TargetColumn> = named.map(|(_, column)| *column).collect();
        named.sort_unstable_by_key(|column| (column.group, column.index));
        named
    }

    /// The layers in which a target with this heading is probed by this kind.
    pub(crate) fn layers_named(&self, text: &str, kind: ProbeKind) -> Vec<Layer> {
        let mut layers = Vec::new();
        for (key, column) in &self.columns {
            let target = &self.groups[usize::from(column.group.0)][column.index as usize];
            if target.is_retired || key.to_string() != text {
                continue;
            }
            let own = |plane, family| Layer {
                kind,
                plane,
                family,
            };
            let candidates = match key {
                TargetKey::Dns { address, plane, .. } => {
                    vec![own(*plane, Family::of(address.ip()))]
                }
                TargetKey::Service { address, .. } => {
                    vec![own(Plane::Service, Family::of(address.ip()))]
                }
                TargetKey::Search { .. } => {
                    vec![own(Plane::Pod, Family::V4), own(Plane::Host, Family::V4)]
                }
                TargetKey::External { family, .. } => {
                    vec![own(Plane::Pod, *family), own(Plane::Host, *family)]
                }
            };
            let fits = |layer: &Layer| Group::of_layer(*layer) == column.group;
            layers.extend(candidates.into_iter().filter(fits));
        }
        layers.sort_unstable();
        layers
    }

    /// How many columns the rows of a group have.
    pub(super) fn width(&self, group: Group) -> usize {
        self.groups[usize::from(group.0)].len()
    }
}

/// What the plan has that is no node.
fn keys(plan: &PlanConfig) -> Vec<TargetKey> {
    let dns = plan.dns.iter().map(|probe| TargetKey::Dns {
        server: probe.server.clone(),
        address: probe.address,
        name: probe.name.clone(),
        plane: probe.plane,
    });
    let search = plan
        .search
        .iter()
        .map(|name| TargetKey::Search { name: name.clone() });
    let services = plan.services.iter().map(|service| TargetKey::Service {
        name: service.name.clone(),
        address: service.address,
    });
    let external = plan.external.iter().cloned();
    let external = external.filter_map(|target| TargetKey::try_from(target).ok());
    dns.chain(search).chain(services).chain(external).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ServiceProbe;

    fn dns(server: &str, address: &str) -> v1::DnsTarget {
        v1::DnsTarget {
            server: server.to_owned(),
            address: address.to_owned(),
            name: "kubernetes.default.svc.cluster.local.".to_owned(),
            expected_rcode: 0,
            plane: v1::Plane::Service.into(),
        }
    }

    fn external(name: &str, kind: v1::ProbeKind, family: v1::Family) -> v1::ExternalTarget {
        v1::ExternalTarget {
            name: name.to_owned(),
            kind: kind.into(),
            family: family.into(),
            ..v1::ExternalTarget::default()
        }
    }

    #[test]
    fn a_target_keeps_its_column_and_the_number_of_targets_is_bounded() {
        let mut targets = Targets::default();
        let key = |n: usize| TargetKey::Search {
            name: format!("n{n}"),
        };
        let first = targets.column(&key(0));
        for n in 1..MAX_TARGETS {
            assert!(targets.column(&key(n)).is_some());
        }
        assert_eq!(targets.column(&key(MAX_TARGETS)), None);
        assert_eq!(targets.column(&key(0)), first);
    }

    #[test]
    fn every_layer_has_its_own_group_of_targets() {
        let mut seen = HashMap::new();
        for kind in ProbeKind::ALL {
            for plane in [Plane::Pod, Plane::Host, Plane::Service] {
                for family in [Family::V4, Family::V6] {
                    let layer = Layer {
                        kind,
                        plane,
                        family,
                    };
                    let group = Group::of_layer(layer);
                    assert!(usize::from(group.number()) < Group::COUNT);
                    assert_eq!(group == Group::NODES, kind.is_between_nodes());
                    seen.entry(group).or_insert_with(Vec::new).push(layer);
                }
            }
        }
        assert_eq!(seen.len(), Group::COUNT, "no number is unused");
        let dns = |plane, family| {
            Group::of_layer(Layer {
                kind: ProbeKind::DnsTcp,
                plane,
                family,
            })
        };
        assert_ne!(dns(Plane::Pod, Family::V4), dns(Plane::Service, Family::V4));
        assert_ne!(dns(Plane::Pod, Family::V4), dns(Plane::Pod, Family::V6));
    }

    #[test]
    fn columns_are_headed_as_people_call_the_targets() {
        let heading = |key: Result<TargetKey, TargetError>| key.unwrap().to_string();
        assert_eq!(
            heading(dns("vip", "10.96.0.10:53").try_into()),
            "vip/kubernetes.default.svc.cluster.local."
        );
        let search = v1::SearchTarget {
            name: "kubernetes.default".into(),
        };
        assert_eq!(heading(search.try_into()), "kubernetes.default");
        let service = v1::ServiceTarget {
            name: "echo".into(),
            address: "10.96.0.50:4862".into(),
        };
        assert_eq!(heading(service.try_into()), "echo");
        let shop = external("shop", v1::ProbeKind::Http, v1::Family::V4);
        assert_eq!(heading(shop.try_into()), "shop");
    }

    #[test]
    fn what_is_no_target_is_refused_with_the_reason() {
        let address = TargetKey::try_from(dns("vip", "kube-dns:53")).unwrap_err();
        assert_eq!(address, TargetError::Address("kube-dns:53".to_owned()));
        let kind = external("x", v1::ProbeKind::Udp, v1::Family::V4);
        assert_eq!(
            TargetKey::try_from(kind).unwrap_err(),
            TargetError::Kind(ProbeKind::Udp)
        );
        let family = external("x", v1::ProbeKind::Tls, v1::Family::Unspecified);
        assert!(matches!(
            TargetKey::try_from(family).unwrap_err(),
            TargetError::Number(_)
        ));
        for name in ["", "a\nb", &"x".repeat(255)] {
            let search = v1::SearchTarget { name: name.into() };
            assert_eq!(TargetKey::try_from(search).unwrap_err(), TargetError::Text);
        }
    }

    #[test]
    fn a_target_that_leaves_the_plan_is_not_shown_until_it_is_back() {
        let service = |name: &str| ServiceProbe {
            name: name.to_owned(),
            address: "10.96.0.50:80".parse().unwrap(),
        };
        let plan = |services| PlanConfig {
            services,
            ..PlanConfig::default()
        };
        let layer = Layer {
            kind: ProbeKind::Service,
            plane: Plane::Service,
            family: Family::V4,
        };
        let shown = |targets: &Targets| -> Vec<String> {
            targets
                .of_layer(layer)
                .map(|(_, key)| key.to_string())
                .collect()
        };
        let mut targets = Targets::default();
        assert!(
            targets
                .follow(&plan(vec![service("a"), service("b")]))
                .is_empty()
        );
        assert_eq!(shown(&targets), ["a", "b"]);
        let gone = targets.follow(&plan(vec![service("b")]));
        assert_eq!(
            gone,
            [targets.columns[&TargetKey::Service {
                name: "a".into(),
                address: "10.96.0.50:80".parse().unwrap()
            }]]
        );
        // Its prober has not heard of it yet.
        targets.see(gone[0].group, gone[0].index as usize);
        assert_eq!(shown(&targets), ["b"]);
        assert!(targets.named("a").is_empty());
        assert!(
            targets
                .follow(&plan(vec![service("a"), service("b")]))
                .is_empty()
        );
        assert_eq!(shown(&targets), ["a", "b"]);
        // Out of a target file: it is shown once somebody reports about it.
        let own = TargetKey::Service {
            name: "own".into(),
            address: "10.96.0.9:80".parse().unwrap(),
        };
        let column = targets.column(&own).unwrap();
        assert_eq!(shown(&targets).len(), 2);
        targets.see(column.group, column.index as usize);
        assert_eq!(shown(&targets), ["a", "b", "own"]);
        assert_eq!(targets.named("own"), [column]);
    }
}
