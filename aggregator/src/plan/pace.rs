//! How often STAMP probes leave where nobody configured it: twice as often in a mesh so small that few look at each node.
//!
//! A dark node is noticed by the next turn of one of its N − 1 observers, whose phases are spread over the interval. One
//! that looked right before the cut looks again an interval later, and what the others found has to come together before
//! the hold begins. With many observers that is a matter of milliseconds, with two of them it is most of the interval.
//! What cuts at random moments took in virtual time with the default hold of one second (`meshprobe-sim cuts`; 2,000 cuts,
//! with 4 nodes the worst of four times 300):
//!
//! | Nodes | p99 at an interval of 1 s | at 500 ms |
//! |---|---|---|
//! | 2 | 2.30 s | 1.80 s |
//! | 3 | 2.06 s | 1.68 s |
//! | 4 | 1.95 s | – |
//! | 5 | 1.71 s | – |
//! | 6 | 1.68 s | – |
//!
//! The promise is 2 s. So three nodes need the shorter interval and four do not; and three nodes can afford it: each
//! sends four probes a second instead of two.

use std::time::Duration;

use meshprobe_core::path::ProbeKind;

use super::PlanConfig;

/// The largest mesh that needs the shorter interval.
const SMALL_MESH: usize = 3;
const SMALL_MESH_INTERVAL: Duration = Duration::from_millis(500);
const INTERVAL: Duration = Duration::from_secs(1);

/// Who says how often STAMP probes leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Nobody: it follows the size of the mesh ([`default_udp_interval`]).
    #[default]
    BySize,
    /// The schedules of the configuration.
    Configured,
}

/// Time between two STAMP probes of one path in a mesh of so many nodes, where nobody configured it.
pub fn default_udp_interval(nodes: usize) -> Duration {
    if nodes <= SMALL_MESH {
        SMALL_MESH_INTERVAL
    } else {
        INTERVAL
    }
}

impl PlanConfig {
    /// The plan that is in force in a mesh of so many nodes: what assignments say, and what thresholds follow.
    #[must_use]
    pub fn in_force(&self, nodes: usize) -> Self {
        let mut plan = self.clone();
        if plan.udp_pace == Pace::BySize {
            let udp = plan.schedules.iter_mut();
            for schedule in udp.filter(|schedule| schedule.kind == ProbeKind::Udp) {
                schedule.interval = default_udp_interval(nodes);
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::path::Plane;

    use super::*;

    fn udp(plan: &PlanConfig, nodes: usize) -> Option<Duration> {
        let plan = plan.in_force(nodes);
        assert_eq!(
            plan.interval(ProbeKind::Udp, Plane::Pod),
            plan.interval(ProbeKind::Udp, Plane::Host)
        );
        plan.interval(ProbeKind::Udp, Plane::Pod)
    }

    #[test]
    fn up_to_three_nodes_probe_twice_a_second_and_more_once() {
        let plan = PlanConfig::default();
        for (nodes, millis) in [(1, 500), (2, 500), (3, 500), (4, 1_000), (512, 1_000)] {
            assert_eq!(
                udp(&plan, nodes),
                Some(Duration::from_millis(millis)),
                "{nodes} nodes"
            );
        }
        let tcp = |plan: &PlanConfig| plan.interval(ProbeKind::Tcp, Plane::Pod);
        assert_eq!(
            tcp(&plan.in_force(2)),
            tcp(&plan),
            "other kinds keep theirs"
        );
    }

    #[test]
    fn an_interval_that_somebody_configured_stays_whatever_the_size() {
        let plan = PlanConfig {
            udp_pace: Pace::Configured,
            ..PlanConfig::default()
        };
        for nodes in [2, 3, 4, 100] {
            assert_eq!(
                udp(&plan, nodes),
                Some(Duration::from_secs(1)),
                "{nodes} nodes"
            );
        }
    }
}
