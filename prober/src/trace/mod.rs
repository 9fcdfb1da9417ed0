//! Where the packets of a failing path end: packets with ascending hop limits, and who sends them back.
//!
//! | Module | Role |
//! |---|---|
//! | [`sweep`] | which hop limits to send, and what the answers mean. Pure |
//! | [`trigger`] | which failing paths are traced, and how often. Pure |
//! | [`mod@run`] | one trace on a socket |
//! | [`tracer`] | the task that traces what fails |
//!
//! Packets are UDP, also for paths that are probed by TCP: one socket sends them all and its error queue has every answer,
//! without privileges, where TCP would need a connection for each hop. Where the two are routed or filtered differently,
//! that shows as a trace that reaches the target of a TCP path that fails. They go to the port that fails; all of one
//! trace have the same source port, so that they take one member of an ECMP group. It is the failing flow's own port:
//! the socket of the trace shares it with the one that probes, and being connected it takes what comes from the traced
//! target for this port, as long as the trace lasts; a flow that loses everything misses nothing by that. The target's
//! responder answers them, for they are STAMP requests of our session; being requests about size, they do not count in it.

pub mod run;
pub mod sweep;
pub mod tracer;
pub mod trigger;

use std::time::Duration;

use meshprobe_core::ids::{Incarnation, TargetNumber};
use meshprobe_core::path::Layer;
use meshprobe_core::time::Moment;
use meshprobe_proto::v1;

pub use run::{TraceRequest, run};
pub use sweep::Hop;
pub use tracer::find;
pub use trigger::Wanted;

/// A finished trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Of the packets.
    pub source_port: u16,
    /// Of the packets.
    pub destination_port: u16,
    /// By hop limit, ascending, up to the last one that was answered.
    pub hops: Vec<Hop>,
    /// The target itself answered.
    pub reached: bool,
}

impl Route {
    /// As it travels, as a trace of a path in `layer`.
    pub fn message(&self, layer: Layer) -> v1::TraceRoute {
        v1::TraceRoute {
            kind: v1::ProbeKind::from(layer.kind).into(),
            plane: v1::Plane::from(layer.plane).into(),
            family: v1::Family::from(layer.family).into(),
            source_port: self.source_port.into(),
            destination_port: self.destination_port.into(),
            hops: self.hops.iter().map(hop_message).collect(),
            reached: self.reached,
        }
    }
}

fn hop_message(hop: &Hop) -> v1::Hop {
    let answer = hop.answer;
    let icmp = answer.and_then(|answer| answer.icmp);
    v1::Hop {
        ttl: hop.ttl.into(),
        address: answer.map_or_else(String::new, |answer| answer.address.to_string()),
        rtt_micros: answer.map_or(0, |answer| micros(answer.rtt)),
        icmp_type: icmp.map(|(kind, _)| kind.into()),
        icmp_code: icmp.map(|(_, code)| code.into()),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A trace that the aggregator is to know of.
#[derive(Clone, Debug, PartialEq)]
pub struct Traced {
    /// Of the path to whom.
    pub target: TargetNumber,
    /// When it was finished.
    pub at: Moment,
    /// What was seen.
    pub route: v1::TraceRoute,
}

impl Traced {
    /// The message of this start of the prober, sent at `now`.
    pub fn message(&self, incarnation: Incarnation, now: Moment) -> v1::Trace {
        let age = now.saturating_since(self.at);
        v1::Trace {
            incarnation: incarnation.0,
            target: self.target.0,
            age_millis: u32::try_from(age.as_millis()).unwrap_or(u32::MAX),
            route: Some(self.route.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::path::{Family, Plane, ProbeKind};

    use super::sweep::Answer;
    use super::*;

    #[test]
    fn a_route_travels_with_silent_hops_and_without_icmp_of_the_target() {
        let answer = |ip: &str, icmp| Answer {
            address: ip.parse().unwrap(),
            rtt: Duration::from_micros(250),
            icmp,
        };
        let hops = [
            None,
            Some(answer("10.0.0.1", Some((11, 0)))),
            Some(answer("10.0.0.9", None)),
        ];
        let route = Route {
            source_port: 40_000,
            destination_port: 4862,
            hops: (1..)
                .zip(hops)
                .map(|(ttl, answer)| Hop { ttl, answer })
                .collect(),
            reached: true,
        };
        let layer = Layer {
            kind: ProbeKind::Udp,
            plane: Plane::Pod,
            family: Family::V4,
        };
        let message = route.message(layer);
        let seen: Vec<_> = message
            .hops
            .iter()
            .map(|hop| (hop.ttl, hop.address.as_str(), hop.icmp_type))
            .collect();
        assert_eq!(
            seen,
            [
                (1, "", None),
                (2, "10.0.0.1", Some(11)),
                (3, "10.0.0.9", None)
            ]
        );
        let traced = Traced {
            target: TargetNumber(7),
            at: Moment::from_millis(1_000),
            route: message,
        };
        let told = traced.message(Incarnation(5), Moment::from_millis(1_250));
        assert_eq!(
            (told.target, told.age_millis, told.incarnation),
            (7, 250, 5)
        );
    }
}
