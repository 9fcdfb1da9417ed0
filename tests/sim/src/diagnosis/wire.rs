//! What the rules do to packets: the share of the probes of each path that gets lost, and on which leg.

use std::net::IpAddr;

use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};

use super::rule::{DnsWrong, End, Protocol, Rule, Vip, Way, Wrong, is_overlay};
use super::world::{BACKENDS, EXTERNAL_NAME, Goal, LayerSpec, NAMES, World};
use crate::chance::Chance;

/// Loss of a healthy network, each leg on its own.
pub(super) const HEALTHY_LOSS: f64 = 1e-3;
/// Why a target by name was not tried.
pub(super) const NO_ADDRESS: &str = "the name has no address";
/// Tries of an application's resolver inside the time of a probe.
const RESOLVER_TRIES: i32 = 2;
/// Tries of a DNS server at what it forwards to.
const UPSTREAM_TRIES: i32 = 3;

/// Which flows of a path die, in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DeadFlows {
    /// These buckets of so many, by a hash.
    Buckets { failing: u32, of: u32 },
    /// Those that began after this second.
    NewerThan(u32),
}

/// A limit of the packet size, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizeLimit {
    pub(super) above: u16,
    pub(super) signalled_by: Option<IpAddr>,
}

/// What the rules do to one path between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Condition {
    /// Share that is lost from source to target, on top of what is lost anyway.
    pub(super) forward: f64,
    /// Share of the answers that is lost.
    pub(super) back: f64,
    /// How a failed probe ends; `None`: nothing is heard.
    pub(super) ends: Option<OutcomeClass>,
    /// Who answers instead of the target.
    pub(super) answers: Option<usize>,
    /// Time that it takes longer.
    pub(super) micros: u64,
    pub(super) forward_flows: Option<DeadFlows>,
    pub(super) back_flows: Option<DeadFlows>,
    pub(super) forward_size: Option<SizeLimit>,
    pub(super) back_size: Option<SizeLimit>,
    /// Share of the source's own probes that it throws away.
    pub(super) invalid: f64,
}

/// All rules that are in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire<'a> {
    pub(super) world: &'a World,
    pub(super) rules: &'a [Rule],
    /// When they came into force, seconds.
    pub(super) since: u32,
}

/// What became of a probe of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) class: OutcomeClass,
    /// Response code of DNS, status of HTTP.
    pub(super) code: Option<u16>,
    /// Who answered behind a virtual IP.
    pub(super) backend: Option<usize>,
    /// Why it failed, for people.
    pub(super) failure: &'static str,
}

impl Answer {
    const GOOD: Self = Self::of(OutcomeClass::Reply);

    const fn of(class: OutcomeClass) -> Self {
        Self {
            class,
            code: None,
            backend: None,
            failure: "",
        }
    }

    const fn timeout(failure: &'static str) -> Self {
        Self {
            failure,
            ..Self::of(OutcomeClass::Timeout)
        }
    }
}

impl Wire<'_> {
    /// What happens to the probes of a path between nodes; `None`: nothing.
    pub(super) fn condition(
        &self,
        layer: Layer,
        source: usize,
        target: usize,
    ) -> Option<Condition> {
        let there = way(layer, End::Node(source), End::Node(target));
        let back = way(layer, End::Node(target), End::Node(source));
        let mut found = Condition {
            forward: self.loss(&there),
            back: self.loss(&back),
            ..Condition::default()
        };
        for rule in self.rules {
            self.add(rule, layer, (source, target), &mut found);
        }
        (found != Condition::default()).then_some(found)
    }

    fn add(&self, rule: &Rule, layer: Layer, ends: (usize, usize), found: &mut Condition) {
        let (source, target) = (End::Node(ends.0), End::Node(ends.1));
        let world = self.world;
        let touches = |node: usize| ends.0 == node || ends.1 == node;
        match rule {
            Rule::Flows {
                from,
                to,
                failing,
                of,
            } => {
                let dead = DeadFlows::Buckets {
                    failing: *failing,
                    of: *of,
                };
                if from.contains(source, world) && to.contains(target, world) {
                    found.forward_flows = Some(dead);
                }
                if from.contains(target, world) && to.contains(source, world) {
                    found.back_flows = Some(dead);
                }
            }
            Rule::Size {
                from,
                to,
                above,
                signalled_by,
            } if layer.kind == ProbeKind::Mtu && is_overlay(layer.plane) => {
                let limit = SizeLimit {
                    above: *above,
                    signalled_by: *signalled_by,
                };
                if from.contains(source, world) && to.contains(target, world) {
                    found.forward_size = Some(limit);
                }
                if from.contains(target, world) && to.contains(source, world) {
                    found.back_size = Some(limit);
                }
            }
            Rule::Queue { from, to, micros } => {
                for (a, b) in [(source, target), (target, source)] {
                    if from.contains(a, world) && to.contains(b, world) {
                        found.micros += micros;
                    }
                }
            }
            Rule::TableFull(node) if touches(*node) => {
                if layer.kind == ProbeKind::Udp {
                    found.forward_flows = Some(DeadFlows::NewerThan(self.since));
                } else {
                    found.forward = 1.0;
                }
            }
            Rule::Dark(node) if touches(*node) => {
                found.forward = 1.0;
                found.back = 1.0;
            }
            Rule::ProberGone(node) if ends.1 == *node => {
                // A reset of the host proves the way as well as an answer.
                let is_reset_enough = layer.kind == ProbeKind::Tcp && layer.plane == Plane::Host;
                if !is_reset_enough {
                    found.forward = 1.0;
                    found.ends = Some(OutcomeClass::Refused);
                }
            }
            Rule::Starved(node) => {
                if ends.0 == *node {
                    found.invalid = 0.6;
                }
                // It answers when it gets the processor: often too late.
                let is_kernel = layer.kind == ProbeKind::Tcp && layer.plane == Plane::Host;
                if ends.1 == *node && !is_kernel {
                    found.back = 0.1;
                    found.ends = Some(OutcomeClass::Late);
                }
            }
            Rule::SameAddress { node, other }
                if ends.1 == *node && ends.0 != *other && is_overlay(layer.plane) =>
            {
                found.forward = 1.0;
                found.ends = Some(OutcomeClass::AnsweredByOther);
                found.answers = Some(*other);
            }
            _ => {}
        }
    }

    /// Share of the packets on a way that the rules take.
    fn loss(&self, way: &Way) -> f64 {
        let passing: f64 = self
            .rules
            .iter()
            .map(|rule| match rule {
                Rule::Drop(drop) => 1.0 - drop.loss_on(way, self.world),
                _ => 1.0,
            })
            .product();
        1.0 - passing
    }

    /// The same for a new flow.
    fn flow_loss(&self, way: &Way) -> f64 {
        let mut passing = 1.0 - self.loss(way);
        for rule in self.rules {
            match rule {
                Rule::Flows {
                    from,
                    to,
                    failing,
                    of,
                } if from.contains(way.from, self.world) && to.contains(way.to, self.world) => {
                    passing *= 1.0 - f64::from(*failing) / f64::from(*of);
                }
                Rule::TableFull(node) | Rule::Dark(node)
                    if way.from == End::Node(*node) || way.to == End::Node(*node) =>
                {
                    passing = 0.0;
                }
                _ => {}
            }
        }
        1.0 - passing * (1.0 - HEALTHY_LOSS)
    }

    /// Does an exchange between two ends come about?
    fn exchange(&self, there: Way, chance: &mut Chance) -> bool {
        let back = Way {
            from: there.to,
            to: there.from,
            dns: false,
            ..there
        };
        let (f, b) = if there.from == there.to {
            // Inside a node; a network policy holds there too.
            let policy = Way {
                overlay: false,
                ..there
            };
            let blocked = self.rules.iter().any(
                |rule| matches!(rule, Rule::Drop(d) if d.dns && d.loss_on(&policy, self.world) > 0.0),
            );
            (f64::from(u8::from(blocked)), 0.0)
        } else {
            (self.flow_loss(&there), self.flow_loss(&back))
        };
        let round = (1.0 - f) * (1.0 - b);
        let passes = match there.protocol {
            Protocol::Udp | Protocol::Icmp => round,
            Protocol::Tcp => tcp_success(round),
        };
        chance.happens(passes)
    }

    fn has_vip(&self, node: usize, wanted: Vip) -> bool {
        !self.rules.iter().any(|rule| {
            matches!(rule, Rule::NoVip { node: at, vip }
                if at.is_none_or(|at| at == node) && (*vip == Vip::All || *vip == wanted))
        })
    }

    /// One probe of a target.
    pub(super) fn probe(
        &self,
        spec: &LayerSpec,
        source: usize,
        goal: Goal,
        chance: &mut Chance,
    ) -> Answer {
        let protocol = Protocol::of(spec.layer.kind);
        match goal {
            Goal::Dns { instance, name } => self.dns(source, instance, name, protocol, chance),
            Goal::Search { name } => self.search(source, name, chance),
            Goal::Service => self.service(source, chance),
            Goal::Server { server, tls, http } => self.server(source, server, (tls, http), chance),
            Goal::Api => {
                if !self.has_vip(source, Vip::All) {
                    return Answer::timeout("no answer");
                }
                let way = Way {
                    from: End::Node(source),
                    to: End::Node(0),
                    overlay: false,
                    protocol,
                    family: Family::V4,
                    dns: false,
                };
                if self.patient(way, chance) {
                    Answer::GOOD
                } else {
                    Answer::timeout("no answer")
                }
            }
        }
    }

    fn dns(
        &self,
        source: usize,
        instance: Option<usize>,
        name: usize,
        protocol: Protocol,
        chance: &mut Chance,
    ) -> Answer {
        if instance.is_none() && !self.has_vip(source, Vip::Dns) {
            return Answer::timeout("");
        }
        let instance = instance.unwrap_or_else(|| chance.index(self.world.dns.len()));
        let host = self.world.dns[instance];
        let way = Way {
            from: End::Node(source),
            to: End::Node(host),
            overlay: true,
            protocol,
            family: Family::V4,
            dns: true,
        };
        if !self.exchange(way, chance) {
            return Answer::timeout("");
        }
        let right = u16::from(NAMES[name].1);
        let mut rcode = right;
        for rule in self.rules {
            let Rule::Dns {
                instance: at,
                wrong,
            } = rule
            else {
                continue;
            };
            if at.is_some_and(|at| at != instance) {
                continue;
            }
            match wrong {
                DnsWrong::Killed => return Answer::of(OutcomeClass::Refused),
                DnsWrong::Gone => return Answer::timeout(""),
                DnsWrong::Starved(share) => {
                    if chance.happens(*share) {
                        return Answer::timeout("");
                    }
                }
                DnsWrong::Rcode {
                    name: Some(wrong),
                    rcode: code,
                } if *wrong == name => rcode = u16::from(*code),
                DnsWrong::Rcode {
                    name: None,
                    rcode: code,
                } if name == EXTERNAL_NAME => rcode = u16::from(*code),
                DnsWrong::Rcode { .. } => {}
            }
        }
        if name == EXTERNAL_NAME && rcode == right && !self.upstream_answers(host, chance) {
            // It asks on until nobody waits any more.
            return Answer::timeout("");
        }
        let class = if rcode == right {
            OutcomeClass::Reply
        } else {
            OutcomeClass::Rcode
        };
        Answer {
            code: Some(rcode),
            ..Answer::of(class)
        }
    }

    fn upstream_answers(&self, host: usize, chance: &mut Chance) -> bool {
        let there = Way {
            from: End::Node(host),
            to: End::Internet,
            overlay: false,
            protocol: Protocol::Udp,
            family: Family::V4,
            dns: false,
        };
        // What a firewall keeps from the internet on one node lets its DNS servers through.
        let exempt = self.rules.iter().any(|rule| {
            matches!(rule, Rule::Drop(d)
                if d.protocol.is_none()
                    && d.to == super::rule::Ends::Internet
                    && d.from == super::rule::Ends::Node(host))
        });
        if exempt {
            return true;
        }
        let back = Way {
            from: there.to,
            to: there.from,
            ..there
        };
        let fails = 1.0 - (1.0 - self.flow_loss(&there)) * (1.0 - self.flow_loss(&back));
        !chance.happens(fails.powi(UPSTREAM_TRIES))
    }

    /// A name is asked at the virtual IP, by UDP.
    fn search(&self, source: usize, name: usize, chance: &mut Chance) -> Answer {
        if name == 0
            && self
                .rules
                .iter()
                .any(|rule| matches!(rule, Rule::Drift(node) if *node == source))
        {
            return Answer {
                code: Some(3),
                failure: "no such name",
                ..Answer::of(OutcomeClass::Rcode)
            };
        }
        let mut answer = Answer::timeout("no answer");
        for _ in 0..RESOLVER_TRIES {
            // A cluster name, or the one that is forwarded.
            answer = self.dns(source, None, name, Protocol::Udp, chance);
            if answer.class != OutcomeClass::Timeout {
                break;
            }
        }
        if answer.class.is_loss() {
            answer.failure = "no answer";
        }
        answer
    }

    fn service(&self, source: usize, chance: &mut Chance) -> Answer {
        if !self.has_vip(source, Vip::Responders) {
            return Answer::timeout("");
        }
        let backends = &self.world.backends;
        let chosen = chance.index(backends.len());
        let is_stale = self
            .rules
            .iter()
            .any(|rule| matches!(rule, Rule::StaleBackend));
        if is_stale && chosen == backends.len().min(BACKENDS) - 1 {
            return Answer::timeout("");
        }
        let host = backends[chosen];
        let way = Way {
            from: End::Node(source),
            to: End::Node(host),
            overlay: true,
            protocol: Protocol::Tcp,
            family: Family::V4,
            dns: false,
        };
        if !self.exchange(way, chance) {
            return Answer::timeout("");
        }
        let is_gone = self
            .rules
            .iter()
            .any(|rule| matches!(rule, Rule::ProberGone(node) if *node == host));
        if is_gone {
            return Answer::of(OutcomeClass::Refused);
        }
        Answer {
            backend: Some(host),
            ..Answer::GOOD
        }
    }

    fn server(
        &self,
        source: usize,
        server: usize,
        (tls, http): (bool, bool),
        chance: &mut Chance,
    ) -> Answer {
        let resolved = self.search(source, EXTERNAL_NAME, chance);
        if resolved.class.is_loss() {
            return Answer::timeout(NO_ADDRESS);
        }
        let wrong = self.rules.iter().find_map(|rule| match rule {
            Rule::Server { server: at, wrong } if *at == server => Some(*wrong),
            _ => None,
        });
        if wrong == Some(Wrong::Silent) {
            return Answer::timeout("no answer");
        }
        let way = Way {
            from: End::Node(source),
            to: End::Internet,
            overlay: false,
            protocol: Protocol::Tcp,
            family: Family::V4,
            dns: false,
        };
        if !self.patient(way, chance) {
            return Answer::timeout("no answer");
        }
        match wrong {
            Some(Wrong::Refused) => Answer {
                failure: "connection refused",
                ..Answer::of(OutcomeClass::Refused)
            },
            Some(Wrong::Expired) if tls => Answer {
                failure: "certificate expired",
                ..Answer::of(OutcomeClass::TlsFailed)
            },
            Some(Wrong::Handshake) if tls => Answer {
                failure: "handshake failure",
                ..Answer::of(OutcomeClass::TlsFailed)
            },
            Some(Wrong::Status(status)) if http => Answer {
                code: Some(status),
                ..Answer::of(OutcomeClass::HttpStatus)
            },
            _ => Answer {
                code: http.then_some(200),
                ..Answer::GOOD
            },
        }
    }

    /// A connection that has seconds: its first packet is sent three times.
    fn patient(&self, way: Way, chance: &mut Chance) -> bool {
        let back = Way {
            from: way.to,
            to: way.from,
            ..way
        };
        if way.from == way.to {
            return true;
        }
        let round = (1.0 - self.flow_loss(&way)) * (1.0 - self.flow_loss(&back));
        !chance.happens((1.0 - round).powi(3))
    }
}

/// Where the probes of a path between nodes run.
fn way(layer: Layer, from: End, to: End) -> Way {
    Way {
        from,
        to,
        overlay: is_overlay(layer.plane),
        protocol: Protocol::of(layer.kind),
        family: layer.family,
        dns: false,
    }
}

/// A connection and its echo within a second: what carries the echo is sent three times, the first packet once.
pub(super) fn tcp_success(round: f64) -> f64 {
    round * (1.0 - (1.0 - round).powi(3))
}
