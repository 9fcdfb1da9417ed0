//! What each prober says of itself and of its host: the newest report's self-health, and the host facts.
//!
//! Shown to people and used by the diagnosis; nothing is judged by it here. Facts are large (a thousand routes), so all of
//! them together are bounded; a prober whose facts do not fit keeps none rather than old ones.

mod changes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use changes::Changes;
use meshprobe_core::diagnosis::{HostFacts, ProberPicture, RecentHealth, SelfHealth};
use meshprobe_core::ids::NodeIndex;
use meshprobe_core::path::Plane;
use meshprobe_core::time::Moment;
use meshprobe_proto::v1;
use prost::Message as _;

use crate::ingest::session::ProberKey;

/// Most octets of one prober's facts.
const MAX_FACTS: usize = 256 << 10;
/// Most octets of all facts: 5,000 probers with a routing table of 200 lines each.
const MAX_ALL_FACTS: usize = 64 << 20;
/// Most octets of a prober's word on its own trustworthiness.
const MAX_SELF_HEALTH: usize = 4 << 10;
/// Bounds of the lists, as the contract has them, and of their texts.
const MAX_LINKS: usize = 256;
const MAX_ROUTES: usize = 1_024;
/// Two for each link, and some of the kernel as a whole.
const MAX_DROPS: usize = 1_024;
const MAX_TEXT: usize = 512;

/// Why host facts are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FactsError {
    /// Too large.
    #[error("host facts of {0} octets; {MAX_FACTS} are allowed")]
    Size(usize),
    /// A list that is too long.
    #[error("{count} {what} in host facts; {most} are allowed")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are allowed.
        most: usize,
    },
    /// A text that is too long or has control characters.
    #[error(
        "a text of the host facts' {0} is longer than {MAX_TEXT} octets or has control characters"
    )]
    Text(&'static str),
    /// Those of all probers together take too much memory.
    #[error("the host facts of all probers take {MAX_ALL_FACTS} octets; there is no room for more")]
    Full,
}

impl FactsError {
    /// As metric label.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Size(_) => "facts_size",
            Self::Count { .. } => "facts_count",
            Self::Text(_) => "facts_text",
            Self::Full => "facts_full",
        }
    }
}

/// What one prober said.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// When its newest report arrived.
    pub(super) last_report_at: Option<Moment>,
    /// In that report.
    pub(super) self_health: Option<v1::SelfHealth>,
    /// In the words of the diagnosis, with the reports shortly before.
    recent_health: RecentHealth,
    /// The facts and when they arrived.
    pub(super) facts: Option<(Arc<v1::HostFacts>, Moment)>,
    /// The same in the words of the diagnosis.
    facts_picture: Option<Arc<HostFacts>>,
    changes: Changes,
}

impl Host {
    /// As the diagnosis sees it.
    pub(super) fn picture(&self, plane: Plane) -> ProberPicture {
        ProberPicture {
            plane,
            health: self.recent_health.get(),
            facts: self.facts_picture.clone(),
            changes: self.changes.list(),
        }
    }
}

fn health_picture(health: &v1::SelfHealth) -> SelfHealth {
    let millis = |millis: u32| Duration::from_millis(millis.into());
    SelfHealth {
        local_health: health.local_health.min(7) as u8,
        worst_local_health: health.local_health.min(7) as u8,
        invalid_probes: health.invalid_probes,
        throttled: millis(health.throttled_millis),
        longest_stall: millis(health.longest_stall_millis),
        socket_overflows: health.socket_overflows,
        send_buffer_full: health.send_buffer_full,
        loopback_lost: health.loopback_lost,
        ..SelfHealth::default()
    }
}

/// What every prober said.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    hosts: HashMap<ProberKey, Host>,
    octets: usize,
}

impl Hosts {
    /// A report arrived.
    pub(super) fn handle_report(
        &mut self,
        prober: ProberKey,
        health: Option<&v1::SelfHealth>,
        now: Moment,
    ) {
        let host = self.hosts.entry(prober).or_default();
        host.last_report_at = Some(now);
        host.self_health = health
            .filter(|health| health.encoded_len() <= MAX_SELF_HEALTH)
            .copied();
        let said = host.self_health.as_ref();
        let said = said.map_or_else(SelfHealth::default, health_picture);
        host.recent_health.add(said, now);
    }

    /// Facts arrived.
    pub(super) fn handle_facts(
        &mut self,
        prober: ProberKey,
        facts: v1::HostFacts,
        now: Moment,
    ) -> Result<(), FactsError> {
        check(&facts)?;
        let before = self.facts_octets(prober);
        let after = self.octets - before + facts.encoded_len();
        let host = self.hosts.entry(prober).or_default();
        if after > MAX_ALL_FACTS {
            host.facts = None;
            host.facts_picture = None;
            self.octets -= before;
            return Err(FactsError::Full);
        }
        let picture = changes::facts(&facts);
        if let Some(known) = &host.facts_picture {
            host.changes.note(known, &picture, now);
        }
        host.facts_picture = Some(Arc::new(picture));
        host.facts = Some((Arc::new(facts), now));
        self.octets = after;
        Ok(())
    }

    /// Lifeguard's local health multiplier of a node: that of its prober that is worse off, 0 (well) to 7.
    pub(super) fn local_health(&self, node: NodeIndex) -> u8 {
        let probers = [Plane::Pod, Plane::Host].map(|plane| ProberKey { node, plane });
        let hosts = probers.iter().filter_map(|prober| self.hosts.get(prober));
        let health = hosts.filter_map(|host| host.self_health.as_ref());
        let worst = health.map(|health| health.local_health).max().unwrap_or(0);
        worst.min(7) as u8
    }

    /// What this prober said.
    pub(super) fn get(&self, prober: ProberKey) -> Option<&Host> {
        self.hosts.get(&prober)
    }

    /// Nothing of this node stays behind.
    pub(super) fn forget_node(&mut self, node: NodeIndex) {
        let gone: Vec<ProberKey> = self
            .hosts
            .keys()
            .filter(|prober| prober.node == node)
            .copied()
            .collect();
        for prober in gone {
            self.octets -= self.facts_octets(prober);
            self.hosts.remove(&prober);
        }
    }

    fn facts_octets(&self, prober: ProberKey) -> usize {
        let facts = self.hosts.get(&prober).and_then(|host| host.facts.as_ref());
        facts.map_or(0, |(facts, _)| facts.encoded_len())
    }
}

fn check(facts: &v1::HostFacts) -> Result<(), FactsError> {
    let octets = facts.encoded_len();
    if octets > MAX_FACTS {
        return Err(FactsError::Size(octets));
    }
    for (what, count, most) in [
        ("links", facts.link_mtu.len(), MAX_LINKS),
        ("routes", facts.routes.len(), MAX_ROUTES),
        ("name servers", facts.nameservers.len(), MAX_LINKS),
        ("search domains", facts.search.len(), MAX_LINKS),
        ("resolver options", facts.resolver_options.len(), MAX_LINKS),
        ("places of drops", facts.kernel_drops.len(), MAX_DROPS),
    ] {
        if count > most {
            return Err(FactsError::Count { what, count, most });
        }
    }
    let is_bad = |text: &String| text.len() > MAX_TEXT || text.chars().any(char::is_control);
    for (what, is_bad) in [
        ("kernel", is_bad(&facts.kernel)),
        ("links", facts.link_mtu.keys().any(is_bad)),
        ("routes", facts.routes.iter().any(is_bad)),
        ("name servers", facts.nameservers.iter().any(is_bad)),
        ("search domains", facts.search.iter().any(is_bad)),
        (
            "resolver options",
            facts.resolver_options.iter().any(is_bad),
        ),
        ("places of drops", facts.kernel_drops.keys().any(is_bad)),
    ] {
        if is_bad {
            return Err(FactsError::Text(what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prober(node: u32) -> ProberKey {
        ProberKey {
            node: NodeIndex(node),
            plane: Plane::Pod,
        }
    }

    fn facts(routes: usize, length: usize) -> v1::HostFacts {
        v1::HostFacts {
            kernel: "6.1.0".to_owned(),
            routes: vec!["r".repeat(length); routes],
            ..v1::HostFacts::default()
        }
    }

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn the_newest_word_of_a_prober_is_kept() {
        let mut hosts = Hosts::default();
        let health = v1::SelfHealth {
            invalid_probes: 3,
            ..v1::SelfHealth::default()
        };
        hosts.handle_report(prober(1), Some(&health), at(5));
        hosts.handle_facts(prober(1), facts(2, 10), at(6)).unwrap();
        hosts.handle_facts(prober(1), facts(1, 12), at(7)).unwrap();
        let host = hosts.get(prober(1)).unwrap();
        let picture = host.picture(Plane::Pod);
        assert_eq!(picture.health.invalid_probes, 3);
        assert_eq!(picture.facts.unwrap().routes, ["r".repeat(12)]);
        assert_eq!(picture.changes.len(), 2, "{:?}", picture.changes);
        assert_eq!(host.last_report_at, Some(at(5)));
        assert_eq!(host.self_health.as_ref().unwrap().invalid_probes, 3);
        let (facts, when) = host.facts.as_ref().unwrap();
        assert_eq!((facts.routes.len(), *when), (1, at(7)));
        assert_eq!(hosts.octets, facts.encoded_len());
        hosts.forget_node(NodeIndex(1));
        assert!(hosts.get(prober(1)).is_none());
        assert_eq!(hosts.octets, 0);
    }

    #[test]
    fn facts_that_are_no_facts_are_refused_and_the_known_ones_stay() {
        let mut hosts = Hosts::default();
        hosts.handle_facts(prober(1), facts(2, 10), at(1)).unwrap();
        let mut odd = facts(0, 0);
        odd.search = vec!["a\nb".to_owned()];
        for (bad, reason) in [
            (facts(1_025, 1), "facts_count"),
            (facts(1, 513), "facts_text"),
            (facts(1_024, 300), "facts_size"),
            (odd, "facts_text"),
        ] {
            let error = hosts.handle_facts(prober(1), bad, at(2)).unwrap_err();
            assert_eq!(error.reason(), reason);
        }
        let (known, _) = hosts.get(prober(1)).unwrap().facts.as_ref().unwrap();
        assert_eq!(known.routes.len(), 2);
    }

    #[test]
    fn all_facts_together_are_bounded() {
        let mut hosts = Hosts::default();
        let large = facts(1_000, 250);
        let fit = MAX_ALL_FACTS / large.encoded_len();
        for node in 0..fit {
            hosts
                .handle_facts(prober(node as u32), large.clone(), at(1))
                .unwrap();
        }
        let beyond = hosts.handle_facts(prober(u32::MAX), large.clone(), at(2));
        assert_eq!(beyond, Err(FactsError::Full));
        hosts.forget_node(NodeIndex(0));
        hosts.handle_facts(prober(u32::MAX), large, at(3)).unwrap();
    }
}
