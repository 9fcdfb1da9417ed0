//! Incidents: pages of them, and one with what became of it.

use meshprobe_proto::v1;

use super::{Api, ApiError, page, views};
use crate::{
    incident::{Incident, IncidentId, IncidentState, Transition},
    notify::Place,
    receiver::Links,
    silence::{Mute, MutedBy},
    store::{StoreError, Timeline, TimelineEvent, Told},
    wall,
};

impl Api {
    /// A page of incidents, newest first.
    pub fn list_incidents(
        &self,
        request: &v1::ListIncidentsRequest,
    ) -> Result<v1::ListIncidentsResponse, ApiError> {
        let v1::ListIncidentsRequest {
            include_resolved,
            page_size,
            page_token,
        } = request;
        let (size, after) = (page::size(*page_size), page::place(page_token)?);
        // One more than asked for tells whether there is a next page.
        let mut found = self
            .incidents
            .page(after.as_ref(), *include_resolved, size + 1);
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if more => page::token(&Place {
                opened_at: last.opened_at,
                id: last.id.clone(),
            }),
            _ => String::new(),
        };
        let links = self.audience.borrow().links.clone();
        Ok(v1::ListIncidentsResponse {
            incidents: found
                .iter()
                .map(|incident| self.incident_view(incident, &links))
                .collect(),
            next_page_token,
        })
    }

    /// One incident, with what became of it.
    pub async fn incident(&self, id: &str) -> Result<v1::IncidentDetail, ApiError> {
        let id = IncidentId::try_from(id.to_owned())
            .map_err(|error| ApiError::Invalid(error.to_string()))?;
        let found = self
            .incidents
            .one(&id)
            .ok_or_else(|| ApiError::NotFound(format!("no incident has the id {id}")))?;
        let timeline = self.reader.timeline(&id).await;
        let waits = self.store.borrow().backlog > 0;
        let links = self.audience.borrow().links.clone();
        Ok(incident_detail(
            self.incident_view(&found, &links),
            timeline,
            waits,
        ))
    }

    /// An incident as people see it: with the word that it is silenced.
    pub(super) fn incident_view(&self, incident: &Incident, links: &Links) -> v1::Incident {
        let mut view = views::incident(incident, links);
        if incident.state == IncidentState::Open {
            let snapshot = self.mesh.snapshot();
            let muted = self.silences.mute(incident, &snapshot, wall::now());
            view.mute = muted.as_ref().map(mute);
        }
        view
    }
}

/// An incident with what the store knows of it. `waits`: some of that is not on disk yet.
fn incident_detail(
    incident: v1::Incident,
    timeline: Result<Timeline, StoreError>,
    waits: bool,
) -> v1::IncidentDetail {
    let (timeline, incomplete_reason) = match timeline {
        Ok(timeline) if waits => (
            timeline,
            "the store cannot be written now; the newest changes are missing".to_owned(),
        ),
        Ok(timeline) => (timeline, String::new()),
        Err(error) => (
            Timeline::default(),
            format!("the store cannot be read: {error}"),
        ),
    };
    let event = |event: &TimelineEvent| v1::IncidentEvent {
        at: Some(views::timestamp(event.at)),
        transition: transition(event.transition).into(),
        summary: event.summary.clone(),
        evidence: event.evidence.clone(),
    };
    let told = |told: &Told| v1::IncidentNotification {
        receiver: told.receiver.clone(),
        transition: transition(told.transition).into(),
        state: views::notification_state(told.state).into(),
        created_at: Some(views::timestamp(told.created_at)),
        finished_at: told.finished_at.map(views::timestamp),
        attempts: told.attempts,
        last_error: told.last_error.clone().unwrap_or_default(),
    };
    v1::IncidentDetail {
        incident: Some(incident),
        timeline: timeline.events.iter().map(event).collect(),
        notifications: timeline.told.iter().map(told).collect(),
        incomplete_reason,
    }
}

fn transition(transition: Transition) -> v1::IncidentTransition {
    match transition {
        Transition::Opened => v1::IncidentTransition::Opened,
        Transition::Reopened => v1::IncidentTransition::Reopened,
        // What is only known better is in no timeline.
        Transition::Updated | Transition::Refined => v1::IncidentTransition::Updated,
        Transition::Resolved => v1::IncidentTransition::Resolved,
    }
}

pub(super) fn mute(mute: &Mute) -> v1::Mute {
    let (mut silences, mut draining) = (Vec::new(), Vec::new());
    for by in &mute.by {
        match by {
            MutedBy::Silence(id) | MutedBy::Maintenance(id) => silences.push(id.to_string()),
            MutedBy::Draining(node) => draining.push(node.to_string()),
        }
    }
    v1::Mute {
        silences,
        draining,
        until: Some(views::timestamp(mute.until)),
    }
}
