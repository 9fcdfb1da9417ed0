//! Silences: made, listed, ended.

use jiff::{SignedDuration, Timestamp};
use meshprobe_proto::v1;

use super::{Api, ApiError, page, views};
use crate::{
    incident::Incident,
    silence::{
        LONGEST, Matcher, MutedBy, Operator, Silence, SilenceError, SilenceId, SilenceKind,
        SilenceState,
    },
    store::Operation,
    wall,
};

impl Api {
    /// Keeps people from being told of something.
    pub async fn create_silence(
        &self,
        request: v1::CreateSilenceRequest,
    ) -> Result<v1::Silence, ApiError> {
        let now = wall::now();
        let silence = wanted(request, now)?;
        self.silences
            .add(silence.clone(), now)
            .map_err(|error| match error {
                SilenceError::TooMany => ApiError::Busy(error.to_string()),
                error => ApiError::Invalid(error.to_string()),
            })?;
        tracing::info!(silence = %silence.id, kind = silence.kind.as_str(), author = silence.author, until = %silence.ends_at, "Silence made");
        self.write_silence(&silence).await;
        Ok(view(&silence, &self.silenced_by(), now))
    }

    /// A page of silences, those that begin last first.
    pub fn list_silences(
        &self,
        request: &v1::ListSilencesRequest,
    ) -> Result<v1::ListSilencesResponse, ApiError> {
        let v1::ListSilencesRequest {
            include_expired,
            page_size,
            page_token,
        } = request;
        let now = wall::now();
        let (size, after) = (page::size(*page_size), page::silence(page_token)?);
        let wanted = |one: &Silence| *include_expired || one.state(now) != SilenceState::Expired;
        let is_behind = |one: &Silence| {
            let place = (one.starts_at, &one.id);
            after.as_ref().is_none_or(|(at, id)| place < (*at, id))
        };
        let mut found: Vec<Silence> = self
            .silences
            .all()
            .into_iter()
            .filter(|one| wanted(one) && is_behind(one))
            .take(size + 1)
            .collect();
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if more => page::silence_token(last.starts_at, &last.id),
            _ => String::new(),
        };
        let silenced = self.silenced_by();
        Ok(v1::ListSilencesResponse {
            silences: found.iter().map(|one| view(one, &silenced, now)).collect(),
            next_page_token,
        })
    }

    /// Ends a silence now.
    pub async fn delete_silence(&self, id: &str) -> Result<v1::Silence, ApiError> {
        let now = wall::now();
        let id = SilenceId::try_from(id.to_owned())
            .map_err(|error| ApiError::Invalid(error.to_string()))?;
        let ended = self
            .silences
            .end(&id, now)
            .ok_or_else(|| match self.silences.one(&id) {
                Some(over) => ApiError::Precondition(format!(
                    "the silence {id} is over since {}",
                    over.ends_at
                )),
                None => ApiError::NotFound(format!("no silence has the id {id}")),
            })?;
        tracing::info!(silence = %ended.id, "Silence ended");
        self.write_silence(&ended).await;
        Ok(view(&ended, &self.silenced_by(), now))
    }

    /// It is in force already; where the disk refuses, it waits in memory for it.
    async fn write_silence(&self, silence: &Silence) {
        let operation = Operation::Silence(Box::new(silence.clone()));
        self.writes.write(vec![operation]).await;
    }

    /// The open incidents that are silenced now, and by what.
    fn silenced_by(&self) -> Vec<(Incident, Vec<MutedBy>)> {
        let (snapshot, now) = (self.mesh.snapshot(), wall::now());
        let open = self.incidents.open().into_iter();
        open.filter_map(|incident| {
            let mute = self.silences.mute(&incident, &snapshot, now)?;
            Some((incident, mute.by))
        })
        .collect()
    }
}

fn view(silence: &Silence, silenced: &[(Incident, Vec<MutedBy>)], now: Timestamp) -> v1::Silence {
    let is_by_it = |by: &MutedBy| match by {
        MutedBy::Silence(id) | MutedBy::Maintenance(id) => *id == silence.id,
        MutedBy::Draining(_) => false,
    };
    let incidents = silenced.iter().filter(|(_, by)| by.iter().any(is_by_it));
    let incidents = incidents.map(|(incident, _)| incident.id.to_string());
    message(silence, incidents.collect(), now)
}

/// The silence that a request means.
fn wanted(request: v1::CreateSilenceRequest, now: Timestamp) -> Result<Silence, ApiError> {
    let invalid = |error: &dyn std::fmt::Display| ApiError::Invalid(error.to_string());
    let kind = match request.kind() {
        v1::SilenceKind::Unspecified if request.kind != 0 => {
            return Err(ApiError::Invalid(format!(
                "unknown kind number {}",
                request.kind
            )));
        }
        v1::SilenceKind::Unspecified | v1::SilenceKind::Silence => SilenceKind::Silence,
        v1::SilenceKind::Maintenance => SilenceKind::Maintenance,
    };
    let v1::CreateSilenceRequest {
        kind: _,
        matchers,
        starts_at,
        ends_at,
        duration_seconds,
        author,
        comment,
    } = request;
    let starts_at = given("starts_at", starts_at)?.unwrap_or(now);
    let ends_at = match (given("ends_at", ends_at)?, duration_seconds) {
        (Some(_), 1..) => {
            return Err(ApiError::Invalid(
                "ends_at and duration_seconds are both given; write one of them".to_owned(),
            ));
        }
        (Some(ends_at), 0) => ends_at,
        (None, 0) => {
            return Err(ApiError::Invalid(
                "the end is missing: write ends_at or duration_seconds".to_owned(),
            ));
        }
        // Longer than allowed is refused below; the sum must only not overflow.
        (None, seconds) => {
            let longest = LONGEST.as_secs().unsigned_abs() + 1;
            let duration = SignedDuration::from_secs(seconds.min(longest).cast_signed());
            starts_at
                .checked_add(duration)
                .map_err(|error| invalid(&error))?
        }
    };
    Ok(Silence {
        id: SilenceId::from_number(rand::random()),
        kind,
        matchers: matchers
            .iter()
            .map(|one| {
                let operator = match v1::MatchOperator::try_from(one.operator) {
                    Ok(v1::MatchOperator::Unspecified | v1::MatchOperator::Equal) => {
                        Operator::Equal
                    }
                    Ok(v1::MatchOperator::NotEqual) => Operator::NotEqual,
                    Ok(v1::MatchOperator::Matches) => Operator::Matches,
                    Ok(v1::MatchOperator::NotMatches) => Operator::NotMatches,
                    Err(_) => {
                        let number = one.operator;
                        return Err(ApiError::Invalid(format!(
                            "unknown operator number {number}"
                        )));
                    }
                };
                Matcher::new(&one.name, operator, &one.value).map_err(|error| invalid(&error))
            })
            .collect::<Result<_, _>>()?,
        starts_at,
        ends_at,
        author,
        comment,
        created_at: now,
    })
}

fn given(field: &str, time: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, ApiError> {
    let Some(prost_types::Timestamp { seconds, nanos }) = time else {
        return Ok(None);
    };
    Timestamp::new(seconds, nanos)
        .map(Some)
        .map_err(|_| ApiError::Invalid(format!("{field} is no time of the calendar")))
}

fn message(silence: &Silence, incidents: Vec<String>, now: Timestamp) -> v1::Silence {
    let Silence {
        id,
        kind,
        matchers,
        starts_at,
        ends_at,
        author,
        comment,
        created_at,
    } = silence;
    let matcher = |matcher: &Matcher| v1::Matcher {
        name: matcher.name(),
        operator: match matcher.operator() {
            Operator::Equal => v1::MatchOperator::Equal,
            Operator::NotEqual => v1::MatchOperator::NotEqual,
            Operator::Matches => v1::MatchOperator::Matches,
            Operator::NotMatches => v1::MatchOperator::NotMatches,
        }
        .into(),
        value: matcher.value().to_owned(),
    };
    v1::Silence {
        id: id.to_string(),
        kind: match kind {
            SilenceKind::Silence => v1::SilenceKind::Silence,
            SilenceKind::Maintenance => v1::SilenceKind::Maintenance,
        }
        .into(),
        matchers: matchers.iter().map(matcher).collect(),
        starts_at: Some(views::timestamp(*starts_at)),
        ends_at: Some(views::timestamp(*ends_at)),
        author: author.clone(),
        comment: comment.clone(),
        state: match silence.state(now) {
            SilenceState::Pending => v1::SilenceState::Pending,
            SilenceState::Active => v1::SilenceState::Active,
            SilenceState::Expired => v1::SilenceState::Expired,
        }
        .into(),
        created_at: Some(views::timestamp(*created_at)),
        incidents,
    }
}
