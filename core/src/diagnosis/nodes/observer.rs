//! Probers that are starved: what they measure is their own doing.
//!
//! A prober throws away what it cannot vouch for, and says so. It is unhealthy when its own score, which rises with each bad
//! second and falls with each good one, stays near its top and it gives a reason: one stall is no illness. It is as well when
//! its control group holds it up all the time, if only in every other second: its limit is too small.

use std::time::Duration;

use super::judged;
use crate::diagnosis::{Picture, ProberPicture, SelfHealth};
use crate::finding::{Confidence, Finding, Pattern, Scope};

/// Local health that several bad seconds make, of 7.
const ILL: u8 = 5;
/// Time, of ten to twenty seconds, for which the control group kept it from running.
const THROTTLED: Duration = Duration::from_secs(1);
/// The same in each of the last two spans of ten seconds; a start takes less than one.
const THROTTLED_ALWAYS: Duration = Duration::from_millis(500);
/// A pause that no busy machine makes by chance.
const STALL: Duration = Duration::from_millis(500);
/// Of ten to twenty seconds.
const INVALID_PROBES: u32 = 20;
const DROPPED_PACKETS: u32 = 10;
const LOOPBACK_LOST: u32 = 3;

/// May what this prober says, and what others say of its answers, be its own doing? Also some seconds after it was ill: what
/// was lost then is in counts still.
pub(in crate::diagnosis) fn is_doubtful(prober: &ProberPicture) -> bool {
    let health = &prober.health;
    health.local_health.max(health.worst_local_health) >= ILL || is_ill(health)
}

fn is_ill(health: &SelfHealth) -> bool {
    let is_bad = health.local_health >= ILL || health.throttled_always >= THROTTLED_ALWAYS;
    is_bad && !reasons(health).is_empty()
}

fn reasons(health: &SelfHealth) -> Vec<String> {
    let mut reasons = Vec::new();
    if health.throttled >= THROTTLED {
        reasons.push(format!(
            "its control group kept it from running for {:.1} s lately",
            health.throttled.as_secs_f64()
        ));
    }
    if health.longest_stall >= STALL {
        reasons.push(format!(
            "it did not run for {:.1} s although it wanted to",
            health.longest_stall.as_secs_f64()
        ));
    }
    let mut counted = |count: u32, least: u32, what: &str| {
        if count >= least {
            reasons.push(format!("{count} {what}"));
        }
    };
    counted(
        health.invalid_probes,
        INVALID_PROBES,
        "of its probes are invalid: it was late itself",
    );
    counted(
        health.socket_overflows,
        DROPPED_PACKETS,
        "packets were dropped at its own sockets",
    );
    counted(
        health.send_buffer_full,
        DROPPED_PACKETS,
        "packets could not be sent for want of buffers",
    );
    counted(
        health.loopback_lost,
        LOOPBACK_LOST,
        "probes to itself over loopback were lost",
    );
    reasons
}

pub(super) fn findings(picture: &Picture) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (node, known) in judged(picture) {
        let Some(state) = picture.nodes.get(node.index()).filter(|n| n.is_reporting) else {
            continue;
        };
        let ill: Vec<&ProberPicture> = state.probers.iter().filter(|p| is_ill(&p.health)).collect();
        let Some(worst) = ill.iter().max_by_key(|p| p.health.local_health) else {
            continue;
        };
        let name = &known.name;
        let mut finding = Finding::new(
            Pattern::ObserverUnhealthy,
            Scope::node(name.clone()),
            format!(
                "The prober of {name} is starved: what it measures says nothing about the network"
            ),
        );
        finding.confidence = Confidence::Certain;
        finding.evidence = ill.iter().flat_map(|p| reasons(&p.health)).collect();
        finding.evidence.push(format!(
            "its local health is {} (0 is well, 7 the worst)",
            worst.health.local_health
        ));
        findings.push(finding);
    }
    findings
}
