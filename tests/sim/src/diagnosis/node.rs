//! What is known of one node beside its paths: its reports, its prober's word on itself, its host's facts, and what the
//! dark-node detector says.

use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::dark::{Declaration, NodeState};
use meshprobe_core::diagnosis::{
    ClusterEvent, FactChange, HostFacts, NodePicture, ProberPicture, RecentHealth, SelfHealth,
};
use meshprobe_core::finding::Pattern;
use meshprobe_core::ids::NodeIndex;
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::path::{Family, Plane};

use super::cell::moment;
use super::rule::{Drop, End, Protocol, Rule, Way};
use super::wire::Wire;
use super::world::{REPORT_SECONDS, World, host_ip, pod_cidr};

/// How long the detector takes, seconds; and how long until it sees that a failure is over.
const DECLARED_AFTER: u32 = 3;
const CLEARED_AFTER: u32 = 4;
/// A prober looks at its host so often.
const FACTS_AFTER: u32 = 10;
/// No report for so long: it is not heard of.
const SILENT: u32 = 25;
/// Nodes of the largest mesh whose routes are listed. Facts of larger ones would fill the memory.
const MOST_ROUTES: usize = 200;
/// The worst that a prober says of itself: each bad second is a step towards it, each good one a step back.
const WORST: u8 = 7;
/// What counts as everything: the detector wants rows of losses from nine of ten observers.
const ALL: f64 = 0.99;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// End of the newest window that was reported, seconds.
    pub(super) window_start: u32,
    phase: u32,
    pub(super) watched_until: u32,
    /// Something happened that is told at once.
    pub(super) is_hurried: bool,
    pub(super) is_probing: bool,
    pub(super) is_starved: bool,
    pub(super) invalid: u32,
    /// How probable it is that a report arrives in a second.
    pub(super) delivery: f64,
    planes: &'static [Plane],
    facts: Arc<HostFacts>,
    usual: Arc<HostFacts>,
    /// Facts that are on their way, and when they are there.
    coming: Option<(u32, Arc<HostFacts>, Option<String>)>,
    changes: Vec<FactChange>,
    events: Vec<ClusterEvent>,
    health: RecentHealth,
    local_health: u8,
    declared: Option<(u32, Arc<Declaration>)>,
    cleared_at: u32,
    pub(super) lifecycle: Lifecycle,
}

impl Node {
    pub(super) fn new(world: &World, node: usize) -> Self {
        let facts = Arc::new(healthy_facts(world, node));
        Self {
            window_start: 0,
            phase: (node * 7 % REPORT_SECONDS as usize) as u32,
            watched_until: 0,
            is_hurried: false,
            is_probing: true,
            is_starved: false,
            invalid: 0,
            delivery: 1.0,
            planes: if world.spec.host_probers {
                &[Plane::Pod, Plane::Host]
            } else {
                &[Plane::Pod]
            },
            usual: Arc::clone(&facts),
            facts,
            coming: None,
            changes: Vec::new(),
            events: Vec::new(),
            health: RecentHealth::default(),
            local_health: 0,
            declared: None,
            cleared_at: 0,
            lifecycle: Lifecycle::Active,
        }
    }

    /// Other rules are in force.
    pub(super) fn handle_rules(&mut self, wire: &Wire<'_>, node: usize, now: u32) {
        let mut facts = HostFacts::clone(&self.usual);
        let mut change = None;
        (self.is_probing, self.is_starved, self.delivery) = (true, false, 1.0);
        self.lifecycle = Lifecycle::Active;
        self.events.clear();
        for rule in wire.rules {
            match rule {
                Rule::Dark(at) | Rule::ProberGone(at) if *at == node => {
                    self.is_probing = false;
                    self.delivery = 0.0;
                }
                Rule::ReportsCut(at) if *at == node => self.delivery = 0.0,
                Rule::Starved(at) if *at == node => self.is_starved = true,
                Rule::TableFull(at) if *at == node => facts.conntrack = Some((262_144, 262_144)),
                Rule::Drift(at) if *at == node => {
                    facts.search = vec!["example.internal".to_owned()];
                    change = Some("search list of resolv.conf changed".to_owned());
                }
                Rule::NoRoutes { node: at, to } if *at == node => {
                    let gone: Vec<String> = to.iter().map(|to| pod_cidr(*to)).collect();
                    facts
                        .routes
                        .retain(|route| !gone.iter().any(|prefix| route.starts_with(prefix)));
                    change = gone
                        .first()
                        .map(|prefix| format!("route {prefix} dev flannel.1 disappeared"));
                }
                Rule::Event {
                    node: at,
                    reason,
                    message,
                } if *at == node => self.events.push(ClusterEvent {
                    at: moment(now),
                    reason: (*reason).to_owned(),
                    message: message.clone(),
                }),
                Rule::Life { node: at, stage } if *at == node => {
                    self.lifecycle = *stage;
                    if matches!(stage, Lifecycle::Leaving | Lifecycle::Gone) {
                        self.is_probing = false;
                        self.delivery = 0.0;
                    }
                }
                _ => {}
            }
        }
        if self.delivery > 0.0 {
            self.delivery = delivery(wire, node);
        }
        if facts.search != self.facts.search && change.is_none() {
            change = Some("search list of resolv.conf changed".to_owned());
        }
        if facts != *self.facts {
            self.coming = Some((now + FACTS_AFTER, Arc::new(facts), change));
        }
        let declared = declaration(wire, node, now);
        if declared.is_none() && self.declared.is_some() {
            self.cleared_at = self.cleared_at.min(now + CLEARED_AFTER);
            // What was over before it stood long enough was never declared.
            self.declared.take_if(|(from, _)| *from > now);
        } else if let Some(declared) = declared {
            self.declared = Some((now + DECLARED_AFTER, Arc::new(declared)));
            self.cleared_at = u32::MAX;
        }
    }

    /// Is there something to report in this second?
    pub(super) fn wants_to_report(&mut self, now: u32) -> bool {
        if !self.is_probing {
            return false;
        }
        let is_overdue = now >= self.window_start + REPORT_SECONDS;
        self.is_hurried
            || self.watched_until > now
            || is_overdue
            || (now + self.phase).is_multiple_of(REPORT_SECONDS)
    }

    /// A report arrived.
    pub(super) fn handle_reported(&mut self, now: u32) {
        let seconds = now - self.window_start;
        self.window_start = now;
        self.is_hurried = false;
        let invalid = std::mem::take(&mut self.invalid);
        let step = u8::try_from(seconds).unwrap_or(u8::MAX);
        self.local_health = if self.is_starved {
            self.local_health.saturating_add(step).min(WORST)
        } else {
            self.local_health.saturating_sub(step)
        };
        let said = SelfHealth {
            local_health: self.local_health,
            worst_local_health: self.local_health,
            invalid_probes: invalid,
            throttled: Duration::from_millis(if self.is_starved {
                u64::from(seconds) * 500
            } else {
                0
            }),
            longest_stall: Duration::from_millis(if self.is_starved { 400 } else { 3 }),
            ..SelfHealth::default()
        };
        self.health.add(said, moment(now));
        if let Some((at, facts, change)) = self.coming.take() {
            if at > now {
                self.coming = Some((at, facts, change));
                return;
            }
            self.facts = facts;
            self.changes.extend(change.map(|what| FactChange {
                at: moment(now),
                what,
            }));
        }
    }

    /// What a picture shows.
    pub(super) fn picture(&self, now: u32) -> NodePicture {
        let declared = self.declared.as_ref();
        let declared = declared.filter(|(from, _)| *from <= now && now < self.cleared_at);
        let is_leaving = !self.lifecycle.is_judged();
        let state = match declared {
            _ if is_leaving => NodeState::Leaving,
            Some((_, declaration)) => NodeState::Failed(declaration.pattern),
            None if !self.is_probing && !self.events.is_empty() => NodeState::Unknown,
            None => NodeState::Ok,
        };
        let probers = self.planes.iter().map(|plane| ProberPicture {
            plane: *plane,
            health: self.health.get(),
            facts: Some(Arc::clone(&self.facts)),
            changes: self.changes.clone(),
        });
        NodePicture {
            state,
            declaration: declared
                .filter(|_| !is_leaving)
                .map(|(_, declaration)| Arc::clone(declaration)),
            is_reporting: now.saturating_sub(self.window_start) <= SILENT,
            probers: probers.collect(),
            events: self.events.clone(),
        }
    }
}

/// How probable it is that a report gets through in a second: losses of everything on the underlay slow it down. Total ones
/// spare the management way, but for what is sent to a node: acknowledgements too.
fn delivery(wire: &Wire<'_>, node: usize) -> f64 {
    let drops = wire.rules.iter().filter_map(|rule| match rule {
        Rule::Drop(drop) if !drop.overlay && drop.protocol.is_none() && !drop.dns => Some(drop),
        _ => None,
    });
    let (mut there, mut back) = (1.0, 1.0);
    for drop in drops {
        let (out, into) = (
            hits(drop, wire.world, node, true),
            hits(drop, wire.world, node, false),
        );
        if out && drop.loss < 1.0 {
            there *= 1.0 - drop.loss;
        }
        if into {
            back *= 1.0 - drop.loss;
        }
    }
    let is_cut_both_ways = is_cut(wire, node, false).0 && is_cut(wire, node, false).1;
    if is_cut_both_ways { 1.0 } else { there * back }
}

/// Is this rule about all that a node sends, or about all that is sent to it?
fn hits(drop: &Drop, world: &World, node: usize, out: bool) -> bool {
    use super::rule::Ends;
    let (own, other) = if out {
        (drop.from, drop.to)
    } else {
        (drop.to, drop.from)
    };
    let is_own = own.contains(End::Node(node), world);
    is_own && matches!(other, Ends::Any | Ends::AnyNode) && drop.family.is_none()
}

/// Does everything get lost that is sent to a node, that it sends; inside the overlay, or on the host network?
fn is_cut(wire: &Wire<'_>, node: usize, overlay: bool) -> (bool, bool) {
    let nodes = wire.world.nodes();
    // A few others stand for all: rules that concern a single pair or zone are not about the node.
    let others: Vec<usize> = (0..nodes).filter(|other| *other != node).collect();
    let lost = |from: usize, to: usize| {
        [Protocol::Udp, Protocol::Tcp].into_iter().all(|protocol| {
            let way = Way {
                from: End::Node(from),
                to: End::Node(to),
                overlay,
                protocol,
                family: Family::V4,
                dns: false,
            };
            let passing: f64 = wire
                .rules
                .iter()
                .map(|rule| match rule {
                    Rule::Drop(drop) => 1.0 - drop.loss_on(&way, wire.world),
                    _ => 1.0,
                })
                .product();
            1.0 - passing >= ALL
        })
    };
    (
        others.iter().all(|other| lost(*other, node)),
        others.iter().all(|other| lost(node, *other)),
    )
}

/// What the detector declares about a node as long as these rules are in force.
fn declaration(wire: &Wire<'_>, node: usize, now: u32) -> Option<Declaration> {
    let own = wire.rules.iter().find_map(|rule| match rule {
        Rule::Dark(at) if *at == node => Some((Pattern::NodeDark, None)),
        Rule::ProberGone(at) if *at == node => Some((Pattern::ProberDown, None)),
        Rule::ReportsCut(at) if *at == node => Some((Pattern::ReportsCut, None)),
        _ => None,
    });
    // Nor is a prober that never ran declared to be down.
    let is_leaving = wire.rules.iter().any(|rule| {
        matches!(rule, Rule::Life { node: at, .. } | Rule::Event { node: at, .. } if *at == node)
    });
    if is_leaving || wire.rules.is_empty() {
        return None;
    }
    let found = own.or_else(|| {
        // Where nobody reaches anybody, no observer has a word.
        let other = (node + 1) % wire.world.nodes();
        let is_everywhere = |overlay| {
            let (this, next) = (is_cut(wire, node, overlay), is_cut(wire, other, overlay));
            (this.0 && next.0) || (this.1 && next.1)
        };
        if is_everywhere(true) {
            return None;
        }
        let (ingress, egress) = is_cut(wire, node, true);
        let pattern = match (ingress, egress) {
            (true, true) => Pattern::Isolated,
            (true, false) => Pattern::IngressDead,
            (false, true) => Pattern::EgressDead,
            (false, false) => return None,
        };
        let (host_in, host_out) = is_cut(wire, node, false);
        let plane = (!host_in && !host_out).then_some(Plane::Pod);
        Some((pattern, plane))
    })?;
    let observers = wire.world.nodes() as u32 - 1;
    Some(Declaration {
        pattern: found.0,
        nodes: vec![NodeIndex(node as u32)],
        zone: None,
        plane: found.1,
        since: moment(now),
        accusers: observers,
        observers,
        few_observers: observers < 3,
        evidence: Vec::new(),
    })
}

fn healthy_facts(world: &World, node: usize) -> HostFacts {
    let nodes = world.nodes();
    let mut routes = vec!["default via 172.30.0.1 dev eth0".to_owned()];
    if nodes <= MOST_ROUTES {
        routes.extend((0..nodes).map(|to| {
            let prefix = pod_cidr(to);
            if to == node {
                format!("{prefix} dev cni0")
            } else {
                format!("{prefix} via {} dev flannel.1", host_ip(to))
            }
        }));
    }
    HostFacts {
        links: vec![("eth0".to_owned(), 1_500), ("flannel.1".to_owned(), 1_450)],
        routes,
        nameservers: vec!["10.96.0.10".to_owned()],
        search: [
            "default.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local",
        ]
        .map(str::to_owned)
        .to_vec(),
        resolver_options: vec!["ndots:5".to_owned()],
        conntrack: Some((2_000 + node as u32, 262_144)),
        neighbours: Some((nodes as u32, 1_024)),
        kernel_drops: Vec::new(),
    }
}
