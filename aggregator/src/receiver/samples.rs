//! Messages as they can come, with everything in them that a careless format breaks at: what templates are checked with
//! before the first incident, and what the formats' own tests use.

use jiff::Timestamp;
use meshprobe_core::{
    finding::{Pattern, Scope},
    ids::NodeName,
    path::Plane,
};

use super::{Digest, Links, Message, News, Test, labels};
use crate::incident::{Incident, IncidentChange, IncidentState, Transition};

/// Every kind of message, with a word for it.
pub(super) fn all() -> [(&'static str, Message); 5] {
    [
        ("an incident that opens", opened()),
        ("an incident that flaps", flapping()),
        ("an incident that ends", resolved()),
        ("several messages put together", digest()),
        ("a test", test()),
    ]
}

pub(super) fn links() -> Links {
    Links {
        external_url: "https://ui.example/mesh/".parse().ok(),
        runbook_url: None,
    }
}

fn incident_of(node: &str) -> Incident {
    let nodes: Vec<NodeName> = NodeName::try_from(node).into_iter().collect();
    let at = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1_767_225_600);
    Incident {
        zones: vec!["z1".to_owned()],
        plane: Some(Plane::Pod),
        summary: "mesh-3 is \"dark\": <9 of 9> peers\nof R&D cannot reach it".to_owned(),
        evidence: vec![
            "9 of 9 peers lost 4 probes in a row \\ more".to_owned(),
            "its \"reports\" stopped".to_owned(),
        ],
        ..Incident::new(Pattern::NodeDark, Scope::nodes(nodes), at)
    }
}

fn incident() -> Incident {
    incident_of("mesh-3")
}

fn news(transition: Transition, incident: Incident) -> News {
    News {
        labels: labels(&incident),
        change: IncidentChange {
            transition,
            incident,
        },
        flapping: None,
    }
}

pub(super) fn opened() -> Message {
    Message::Change(news(Transition::Opened, incident()))
}

fn flapping() -> Message {
    let mut incident = incident();
    incident.reopened = 7;
    let mut news = news(Transition::Reopened, incident);
    news.flapping = Some(7);
    Message::Change(news)
}

/// With as little in it as an incident can have.
pub(super) fn resolved() -> Message {
    let mut incident = incident();
    incident.state = IncidentState::Resolved;
    incident.resolved_at = Some(incident.updated_at);
    incident.scope = Scope::everywhere();
    incident.nodes.clear();
    incident.zones.clear();
    incident.plane = None;
    incident.evidence.clear();
    Message::Change(news(Transition::Resolved, incident))
}

pub(super) fn digest() -> Message {
    let incidents = ["mesh-1", "mesh-2", "mesh-4"]
        .into_iter()
        .map(|name| news(Transition::Opened, incident_of(name)));
    Message::Digest(Digest::of(&incidents.collect::<Vec<_>>()))
}

pub(super) fn test() -> Message {
    Message::Test(Test {
        at: Timestamp::UNIX_EPOCH,
    })
}
