//! From an assignment to paths: the prober's own numbers for targets, and who probes what.
//!
//! Applying an assignment is a set difference. A path that is in the old and in the new one keeps its identity, its
//! tracker and its open window; only what disappeared is retired and only what is new is opened.

mod targets;

pub use targets::{
    AnsweredPeer, DnsQueryTarget, Expectation, ExternalProbe, PeerTarget, Plan, SearchProbe,
    ServiceProbe, TcpTarget, Transport, UdpTarget,
};

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::ids::{NodeName, Ssid, TargetNumber};
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_proto::v1;

use crate::assignment::external::ExternalTarget;
use crate::assignment::file::spread;
use crate::assignment::{DnsTarget, Peer, PeerAddress, SearchTarget, ServiceTarget, TargetSet};
use crate::book::Book;
use crate::path_id::PathId;
use crate::schedule::Cadence;

/// A target as the dictionary knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum TargetKey {
    Node(NodeName),
    Dns(Arc<DnsTarget>),
    Search(SearchTarget),
    Service(ServiceTarget),
    External(Arc<ExternalTarget>),
}

impl TargetKey {
    /// Is this the name that the aggregator's matrix has for it?
    fn is_named(&self, name: &str) -> bool {
        match self {
            Self::Node(node) => node.as_str() == name,
            Self::Dns(dns) => name
                .strip_prefix(dns.server.as_str())
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|rest| rest == dns.name),
            Self::Search(search) => search.name == name,
            Self::Service(service) => service.name == name,
            Self::External(external) => external.name == name,
        }
    }
}

/// The prober's own numbers, and the paths that are open.
#[derive(Debug)]
pub struct Registry {
    own_node: NodeName,
    own_plane: Plane,
    own_port: u16,
    numbers: HashMap<TargetKey, TargetNumber>,
    dictionary: Vec<v1::DictionaryEntry>,
    paths: BTreeMap<(Layer, TargetNumber), PathId>,
    target_by_ssid: HashMap<Ssid, TargetNumber>,
}

impl Registry {
    /// For the prober of `own_node` in `own_plane` whose responder listens on `own_port`.
    pub fn new(own_node: NodeName, own_plane: Plane, own_port: u16) -> Self {
        Self {
            own_node,
            own_plane,
            own_port,
            numbers: HashMap::new(),
            dictionary: Vec::new(),
            paths: BTreeMap::new(),
            target_by_ssid: HashMap::new(),
        }
    }

    /// All numbers and their meaning, in the order of their first use. It only grows.
    pub fn dictionary(&self) -> &[v1::DictionaryEntry] {
        &self.dictionary
    }

    /// The peer with this session identifier.
    pub fn target_of(&self, ssid: Ssid) -> Option<TargetNumber> {
        self.target_by_ssid.get(&ssid).copied()
    }

    /// The path to a target by its name in the matrix.
    pub fn path(&self, layer: Layer, target: &str) -> Option<PathId> {
        let named = self.numbers.iter().filter(|(key, _)| key.is_named(target));
        named
            .filter_map(|(_, number)| self.paths.get(&(layer, *number)))
            .copied()
            .next()
    }

    /// Number of open paths.
    pub fn path_count(&self) -> usize {
        self.paths.len()
    }

    /// Puts an assignment in force: opens and retires paths in the book, and says what to do.
    pub fn apply(&mut self, set: &TargetSet, book: &mut Book) -> Plan {
        let mut plan = Plan {
            generation: set.generation,
            ssid: Some(set.ssid),
            keys: set.stamp_keys.clone(),
            responder_ports: vec![self.own_port],
            ..Plan::default()
        };
        let mut opening = Opening {
            before: std::mem::take(&mut self.paths),
            after: BTreeMap::new(),
            book,
        };
        self.target_by_ssid.clear();
        for peer in &set.peers {
            let target = self.number(TargetKey::Node(peer.node.clone()));
            self.target_by_ssid.insert(peer.ssid, target);
            plan.names.push((peer.ssid, peer.node.clone()));
            plan_peer(&mut plan, &mut opening, set, peer, target, self.own_plane);
        }
        for question in &set.dns {
            let question = Arc::new(question.clone());
            let target = self.number(TargetKey::Dns(Arc::clone(&question)));
            let phase = self.phase(&format!("{}{}", question.address, question.name));
            plan_dns(&mut plan, &mut opening, set, &question, target, phase);
        }
        self.apply_servers(set, &mut plan, &mut opening);
        for gone in opening.before.into_values() {
            opening.book.retire_path(gone);
        }
        self.paths = opening.after;
        plan.responder_ports.sort_unstable();
        plan.responder_ports.dedup();
        plan
    }

    /// Names, services and targets outside the mesh.
    fn apply_servers(&mut self, set: &TargetSet, plan: &mut Plan, opening: &mut Opening<'_>) {
        let plane = self.own_plane;
        for name in &set.search {
            let target = self.number(TargetKey::Search(name.clone()));
            let layer = Layer {
                kind: ProbeKind::DnsSearch,
                plane,
                // Which server answers, and in which family, is the node's own choice; one matrix holds them all.
                family: Family::V4,
            };
            let phase = self.phase(&name.name);
            let opened = open_server(opening, set, layer, target, phase);
            plan.search
                .extend(opened.map(|(path, cadence, timeout)| SearchProbe {
                    path,
                    target,
                    name: name.clone(),
                    cadence,
                    timeout,
                }));
        }
        for service in &set.services {
            let target = self.number(TargetKey::Service(service.clone()));
            let layer = Layer {
                kind: ProbeKind::Service,
                plane: Plane::Service,
                family: Family::of(service.address.ip()),
            };
            let phase = self.phase(&service.name);
            let opened = open_server(opening, set, layer, target, phase);
            plan.services
                .extend(opened.map(|(path, cadence, timeout)| ServiceProbe {
                    path,
                    target,
                    service: service.clone(),
                    cadence,
                    timeout,
                }));
        }
        for external in &set.external {
            let external = Arc::new(external.clone());
            let target = self.number(TargetKey::External(Arc::clone(&external)));
            let layer = Layer {
                kind: external.ask.kind(),
                plane,
                family: external.family,
            };
            let phase = self.phase(&external.name);
            let opened = open_server(opening, set, layer, target, phase);
            plan.external
                .extend(opened.map(|(path, cadence, timeout)| ExternalProbe {
                    path,
                    target,
                    external,
                    cadence,
                    timeout,
                }));
        }
    }

    fn phase(&self, what: &str) -> u16 {
        spread(self.own_node.as_str(), what)
    }

    fn number(&mut self, key: TargetKey) -> TargetNumber {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = TargetNumber(self.dictionary.len() as u32);
        self.dictionary.push(v1::DictionaryEntry {
            number: number.0,
            target: Some(entry(&key)),
        });
        self.numbers.insert(key, number);
        number
    }
}

/// The set difference of paths.
struct Opening<'a> {
    before: BTreeMap<(Layer, TargetNumber), PathId>,
    after: BTreeMap<(Layer, TargetNumber), PathId>,
    book: &'a mut Book,
}

impl Opening<'_> {
    /// `None`: the path is in this assignment already (a peer with two addresses in one plane and family).
    fn open(&mut self, layer: Layer, target: TargetNumber) -> Option<PathId> {
        let key = (layer, target);
        if self.after.contains_key(&key) {
            return None;
        }
        let path = match self.before.remove(&key) {
            Some(path) => path,
            None => self.book.open_path(layer, target),
        };
        self.after.insert(key, path);
        Some(path)
    }
}

fn plan_peer(
    plan: &mut Plan,
    opening: &mut Opening<'_>,
    set: &TargetSet,
    peer: &Peer,
    target: TargetNumber,
    own_plane: Plane,
) {
    let mut answered = AnsweredPeer {
        ssid: peer.ssid,
        target,
        heard_v4: None,
        heard_v6: None,
        addresses: peer.addresses.iter().map(|address| address.ip).collect(),
    };
    for address in &peer.addresses {
        plan_udp(
            plan,
            opening,
            set,
            peer,
            address,
            target,
            own_plane,
            &mut answered,
        );
        if peer.answer_only {
            continue;
        }
        plan_tcp(plan, opening, set, peer, address, target);
        // These measure the own plane: what a peer's other planes carry, its prober there says.
        if address.plane != own_plane {
            continue;
        }
        let mut plan_kind = |kind, port: Option<NonZeroU16>| {
            let address = SocketAddr::new(address.ip, port?.get());
            peer_path(opening, set, peer, kind, own_plane, target, address)
        };
        plan.mtu.extend(plan_kind(ProbeKind::Mtu, address.udp_port));
        // Echo requests have no port; any will do.
        plan.icmp
            .extend(plan_kind(ProbeKind::Icmp, NonZeroU16::new(7)));
        if peer.quic {
            plan.quic
                .extend(plan_kind(ProbeKind::Quic, address.quic_port));
        }
    }
    plan.answered.push(answered);
}

#[expect(
    clippy::too_many_arguments,
    reason = "one address of one peer, and where it goes"
)]
fn plan_udp(
    plan: &mut Plan,
    opening: &mut Opening<'_>,
    set: &TargetSet,
    peer: &Peer,
    address: &PeerAddress,
    target: TargetNumber,
    own_plane: Plane,
    answered: &mut AnsweredPeer,
) {
    let Some(port) = address.udp_port else {
        return;
    };
    plan.responder_ports.push(port.get());
    let layer = Layer {
        kind: ProbeKind::Udp,
        plane: address.plane,
        family: Family::of(address.ip),
    };
    let Some(timing) = set.timing(layer.kind, layer.plane) else {
        return;
    };
    let path = opening.open(layer, target);
    if let Some(path) = path
        && !peer.answer_only
    {
        plan.udp.push(UdpTarget {
            path,
            target,
            // The identifier is that of the peer's prober in the own plane.
            peer: (address.plane == own_plane).then_some(peer.ssid),
            address: SocketAddr::new(address.ip, port.get()),
            cadence: Cadence {
                interval: timing.interval,
                phase: peer.phase,
            },
            timeout: timing.timeout,
        });
    }
    // What arrives here runs in the own plane; a peer's other planes are probed, but not heard.
    if address.plane == own_plane {
        let heard = match address.ip {
            IpAddr::V4(_) => &mut answered.heard_v4,
            IpAddr::V6(_) => &mut answered.heard_v6,
        };
        *heard = heard.or(path);
    }
}

fn plan_tcp(
    plan: &mut Plan,
    opening: &mut Opening<'_>,
    set: &TargetSet,
    peer: &Peer,
    address: &PeerAddress,
    target: TargetNumber,
) {
    let Some(port) = address.tcp_port else {
        return;
    };
    let to = SocketAddr::new(address.ip, port.get());
    let found = peer_path(
        opening,
        set,
        peer,
        ProbeKind::Tcp,
        address.plane,
        target,
        to,
    );
    plan.tcp.extend(found.map(|path| TcpTarget {
        path: path.path,
        target,
        address: to,
        // Where a STAMP responder is, our echo responder is beside it.
        expectation: if address.udp_port.is_some() {
            Expectation::Echo
        } else {
            Expectation::Contact
        },
        cadence: path.cadence,
        timeout: path.timeout,
    }));
}

/// Opens the path to a peer by one kind, unless that kind is off.
fn peer_path(
    opening: &mut Opening<'_>,
    set: &TargetSet,
    peer: &Peer,
    kind: ProbeKind,
    plane: Plane,
    target: TargetNumber,
    address: SocketAddr,
) -> Option<PeerTarget> {
    let timing = set.timing(kind, plane)?;
    let layer = Layer {
        kind,
        plane,
        family: Family::of(address.ip()),
    };
    Some(PeerTarget {
        path: opening.open(layer, target)?,
        target,
        address,
        peer: peer.ssid,
        own: set.ssid,
        keys: set.stamp_keys.clone(),
        cadence: Cadence {
            interval: timing.interval,
            phase: peer.phase,
        },
        timeout: timing.timeout,
    })
}

/// Opens the path to something that is no node, unless that kind is off.
fn open_server(
    opening: &mut Opening<'_>,
    set: &TargetSet,
    layer: Layer,
    target: TargetNumber,
    phase: u16,
) -> Option<(PathId, Cadence, Duration)> {
    let timing = set.timing(layer.kind, layer.plane)?;
    let cadence = Cadence {
        interval: timing.interval,
        phase,
    };
    Some((opening.open(layer, target)?, cadence, timing.timeout))
}

fn plan_dns(
    plan: &mut Plan,
    opening: &mut Opening<'_>,
    set: &TargetSet,
    question: &Arc<DnsTarget>,
    target: TargetNumber,
    phase: u16,
) {
    for (kind, transport) in [
        (ProbeKind::DnsUdp, Transport::Udp),
        (ProbeKind::DnsTcp, Transport::Tcp),
    ] {
        let layer = Layer {
            kind,
            plane: question.plane,
            family: Family::of(question.address.ip()),
        };
        let opened = open_server(opening, set, layer, target, phase);
        plan.dns
            .extend(opened.map(|(path, cadence, timeout)| DnsQueryTarget {
                path,
                target,
                question: Arc::clone(question),
                transport,
                cadence,
                timeout,
            }));
    }
}

fn entry(key: &TargetKey) -> v1::dictionary_entry::Target {
    match key {
        TargetKey::Node(node) => v1::dictionary_entry::Target::Node(node.to_string()),
        TargetKey::Dns(target) => v1::dictionary_entry::Target::Dns(v1::DnsTarget {
            server: target.server.clone(),
            address: target.address.to_string(),
            name: target.name.clone(),
            expected_rcode: target.expected_rcode.into(),
            plane: v1::Plane::from(target.plane).into(),
        }),
        TargetKey::Search(target) => v1::dictionary_entry::Target::Search(v1::SearchTarget {
            name: target.name.clone(),
        }),
        TargetKey::Service(target) => v1::dictionary_entry::Target::Service(v1::ServiceTarget {
            name: target.name.clone(),
            address: target.address.to_string(),
        }),
        // What tells it from the others; the rest is the assignment's business.
        TargetKey::External(target) => v1::dictionary_entry::Target::External(v1::ExternalTarget {
            name: target.name.clone(),
            kind: v1::ProbeKind::from(target.ask.kind()).into(),
            family: v1::Family::from(target.family).into(),
            ..v1::ExternalTarget::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::time::Moment;

    use super::*;
    use crate::assignment::Timing;

    fn peer(name: &str, ssid: u16) -> Peer {
        let address = |plane, ip: &str, udp| PeerAddress {
            plane,
            ip: ip.parse().unwrap(),
            udp_port: NonZeroU16::new(udp),
            tcp_port: NonZeroU16::new(4862),
            quic_port: None,
        };
        Peer {
            node: NodeName::try_from(name).unwrap(),
            ssid: Ssid(ssid),
            addresses: vec![
                address(Plane::Pod, &format!("10.0.0.{ssid}"), 4862),
                address(Plane::Host, &format!("192.168.0.{ssid}"), 0),
            ],
            phase: 0,
            answer_only: false,
            quic: false,
        }
    }

    fn set(peers: Vec<Peer>) -> TargetSet {
        TargetSet {
            generation: 1,
            ssid: Ssid(1),
            peers,
            dns: vec![DnsTarget {
                server: "vip".into(),
                address: "10.96.0.10:53".parse().unwrap(),
                name: "kubernetes.default.svc.cluster.local.".into(),
                expected_rcode: 0,
                plane: Plane::Service,
            }],
            search: Vec::new(),
            services: Vec::new(),
            external: Vec::new(),
            timings: BTreeMap::from([(
                (ProbeKind::Tcp, Plane::Host),
                Some(Timing {
                    interval: Duration::from_secs(7),
                    timeout: Duration::from_millis(300),
                }),
            )]),
            report_interval: Duration::from_secs(10),
            stamp_keys: None,
            aggregators: Vec::new(),
        }
    }

    fn registry() -> (Registry, Book) {
        let own = NodeName::try_from("a").unwrap();
        (
            Registry::new(own, Plane::Pod, 4862),
            Book::new(Moment::ORIGIN),
        )
    }

    #[test]
    fn a_peer_is_probed_on_both_planes_and_heard_on_the_own_one() {
        let (mut registry, mut book) = registry();
        let plan = registry.apply(&set(vec![peer("b", 2)]), &mut book);
        assert_eq!(plan.udp.len(), 1);
        assert_eq!(plan.answered[0].heard_v4, Some(plan.udp[0].path));
        let tcp: Vec<_> = plan
            .tcp
            .iter()
            .map(|t| (t.expectation, t.cadence.interval.as_secs()))
            .collect();
        assert_eq!(tcp, [(Expectation::Echo, 5), (Expectation::Contact, 7)]);
        assert_eq!(plan.dns.len(), 2);
        assert_eq!(registry.dictionary().len(), 2);
        assert_eq!(plan.responder_ports, [4862]);
    }

    #[test]
    fn a_kept_target_keeps_its_paths_and_a_number_never_changes_its_meaning() {
        let (mut registry, mut book) = registry();
        let before = registry.apply(&set(vec![peer("b", 2), peer("c", 3)]), &mut book);
        let after = registry.apply(&set(vec![peer("c", 3), peer("d", 4)]), &mut book);
        assert_eq!(before.udp[1], after.udp[0]);
        assert_ne!(before.udp[0].target, after.udp[1].target);
        let again = registry.apply(&set(vec![peer("b", 2)]), &mut book);
        assert_eq!(again.udp[0].target, before.udp[0].target);
        assert_eq!(registry.target_of(Ssid(3)), None);
    }

    #[test]
    fn a_peer_that_is_only_answered_is_heard_and_not_probed() {
        let (mut registry, mut book) = registry();
        let silent = Peer {
            answer_only: true,
            ..peer("b", 2)
        };
        let plan = registry.apply(&set(vec![silent]), &mut book);
        assert!(plan.udp.is_empty() && plan.tcp.is_empty());
        assert!(plan.answered[0].heard_v4.is_some());
    }
}
