//! `meshprobe probe A B`.

use jiff::Timestamp;
use meshprobe_core::path::Layer;
use meshprobe_proto::v1;

use super::style::{BAD, GOOD, paint};
use super::{detail, outcome, time, trace};
use crate::exit::Health;

/// Healthy: the probe was answered as expected.
pub fn health(response: &v1::RunProbeResponse) -> Health {
    Health::unless(response.outcome() != v1::OutcomeClass::Reply)
}

/// "mesh-1 -> mesh-3 by mtu/pod/v4: reply in 0.31ms", what was seen beside it, and the trace if there is one.
pub fn render(
    response: &v1::RunProbeResponse,
    source: &str,
    target: &str,
    layer: Layer,
    now: Timestamp,
) -> String {
    let number = match response.outcome_number {
        0 => String::new(),
        number => format!(" {number}"),
    };
    let ended = match (response.outcome(), response.rtt_seconds) {
        (v1::OutcomeClass::Reply, Some(rtt)) => {
            paint(GOOD, &format!("reply in {}", time::rtt(rtt)))
        }
        (v1::OutcomeClass::Reply, None) => paint(GOOD, "reply"),
        (class, _) => paint(BAD, &format!("{}{number}", outcome::words(class))),
    };
    let mut text = format!("{source} -> {target} by {layer}: {ended}\n");
    if let Some(found) = &response.detail {
        let sentence = detail::sentence(found, now);
        if !sentence.is_empty() {
            text.extend(["  ", &sentence, "\n"]);
        }
    }
    if let Some(route) = &response.trace {
        text.push_str(&trace::render(route));
    }
    text
}
