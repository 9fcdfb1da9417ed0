//! The explanation as a sentence that somebody who was just woken up understands.

use super::{Conclusion, Ends, Measured, Rung, Step};
use crate::path::Family;
use crate::verdict::Verdict;

pub(super) fn sentence(
    ends: &Ends<'_>,
    measured: &[Measured<'_>],
    steps: &[Step],
    first_failing: Option<usize>,
    conclusion: Conclusion,
) -> String {
    let Ends { source, target, .. } = ends;
    let judged = steps
        .iter()
        .filter(|step| step.verdict == Verdict::Healthy)
        .count();
    let Some(failing) = first_failing.and_then(|index| steps.get(index)) else {
        return match conclusion {
            Conclusion::Unknown if steps.iter().any(|step| step.verdict == Verdict::NoData) => {
                format!(
                    "Nobody can say whether {source} can talk to {target}: there are no fresh measurements."
                )
            }
            Conclusion::Unknown => {
                format!(
                    "Nobody can say whether {source} can talk to {target}: nothing is measured between them."
                )
            }
            _ => format!(
                "Nothing keeps {source} from talking to {target}: all {judged} layers that are measured work."
            ),
        };
    };
    let name = layer_name(failing);
    let counts = failing.measured.and_then(|index| measured.get(index));
    let numbers = counts.map_or(String::new(), |path| {
        let lost = path.sent.saturating_sub(path.replied);
        format!(" ({lost} of {} probes lost)", path.sent)
    });
    let way = format!("{} → {}", failing.source, failing.target);
    let below = steps
        .iter()
        .take_while(|step| step.rung != failing.rung)
        .filter(|step| step.verdict == Verdict::Healthy)
        .map(|step| step.rung.as_str())
        .collect::<Vec<_>>();
    let mut text = match conclusion {
        Conclusion::Fails => {
            format!("{source} cannot talk to {target}: {name} fails first, {way}{numbers}.")
        }
        Conclusion::Partly => format!(
            "{source} reaches {target}, but not by everything: {name} fails, {way}{numbers}."
        ),
        _ => format!(
            "{source} reaches {target}, but {name} is {}, {way}{numbers}.",
            failing.verdict
        ),
    };
    if let (true, Some(last)) = (conclusion == Conclusion::Fails, below.last()) {
        text.extend([" Below it, the ", last, " works."]);
    }
    if let Some(leg) = counts.and_then(leg) {
        text.push_str(match leg {
            Leg::Out => " The probes do not arrive.",
            Leg::Back => " The probes arrive; their answers do not come back.",
        });
    }
    text
}

/// "the pod network over IPv4", "quic over IPv6"
fn layer_name(step: &Step) -> String {
    let family = match step.family {
        Some(Family::V4) => " over IPv4",
        Some(Family::V6) => " over IPv6",
        None => "",
    };
    match (step.rung, step.kind) {
        (Rung::Protocol, Some(kind)) => {
            let plane = step
                .plane
                .map_or(String::new(), |plane| format!(" on the {plane} plane"));
            format!("{kind}{plane}{family}")
        }
        (Rung::PacketSize, _) => format!("the largest packet{family}"),
        (Rung::Name, _) => "the name".to_owned(),
        (rung, _) => format!("the {}{family}", rung.as_str()),
    }
}

/// Which half of a round trip loses the probes.
#[derive(Clone, Copy)]
enum Leg {
    Out,
    Back,
}

/// Known where the target says what arrived, and nine tenths of the loss are on one half: the two ends' windows do not
/// meet exactly.
fn leg(path: &Measured<'_>) -> Option<Leg> {
    let lost = path.sent.saturating_sub(path.replied);
    let received = path.received?.min(path.sent);
    if lost < 4 {
        return None;
    }
    let (out, back) = (path.sent - received, received.saturating_sub(path.replied));
    if 10 * out >= 9 * lost {
        Some(Leg::Out)
    } else if 10 * back >= 9 * lost {
        Some(Leg::Back)
    } else {
        None
    }
}
