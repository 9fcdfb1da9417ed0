//! Page tokens: an opaque form of the last place of a page, so that a page stays right while incidents come and go.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;

use super::ApiError;
use crate::{incident::IncidentId, notify::Place, silence::SilenceId};

/// Without a wish.
const DEFAULT_SIZE: u32 = 100;
/// At most; a larger wish gets this.
const MAX_SIZE: u32 = 1_000;

pub(super) fn size(wished: u32) -> usize {
    (if wished == 0 {
        DEFAULT_SIZE
    } else {
        wished.min(MAX_SIZE)
    }) as usize
}

pub(super) fn token(place: &Place) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}/{}", place.opened_at.as_nanosecond(), place.id))
}

pub(super) fn place(token: &str) -> Result<Option<Place>, ApiError> {
    let found = parse(token, |id| IncidentId::try_from(id).ok())?;
    Ok(found.map(|(opened_at, id)| Place { opened_at, id }))
}

/// The last place of a page of silences: its start and its identity.
pub(super) fn silence_token(starts_at: Timestamp, id: &SilenceId) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}/{id}", starts_at.as_nanosecond()))
}

pub(super) fn silence(token: &str) -> Result<Option<(Timestamp, SilenceId)>, ApiError> {
    parse(token, |id| SilenceId::try_from(id).ok())
}

/// The last place of a page that is ordered by number.
pub(super) fn number_token(number: u64) -> String {
    URL_SAFE_NO_PAD.encode(format!("#{number}"))
}

pub(super) fn number(token: &str) -> Result<Option<u64>, ApiError> {
    if token.is_empty() {
        return Ok(None);
    }
    let parsed = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        text.strip_prefix('#')?.parse().ok()
    };
    parsed().map(Some).ok_or_else(not_ours)
}

/// How many were on the pages before.
pub(super) fn offset_token(offset: usize) -> String {
    URL_SAFE_NO_PAD.encode(format!("+{offset}"))
}

pub(super) fn offset(token: &str) -> Result<usize, ApiError> {
    if token.is_empty() {
        return Ok(0);
    }
    let text = URL_SAFE_NO_PAD.decode(token).ok();
    let text = text.and_then(|octets| String::from_utf8(octets).ok());
    let offset = text.and_then(|text| text.strip_prefix('+')?.parse().ok());
    offset.ok_or_else(not_ours)
}

fn not_ours() -> ApiError {
    ApiError::Invalid(
        "page_token is not one that this API gave; leave it empty for the first page".to_owned(),
    )
}

fn parse<T>(
    token: &str,
    identity: impl FnOnce(String) -> Option<T>,
) -> Result<Option<(Timestamp, T)>, ApiError> {
    if token.is_empty() {
        return Ok(None);
    }
    let parsed = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (nanos, id) = text.split_once('/')?;
        let at = Timestamp::from_nanosecond(nanos.parse().ok()?).ok()?;
        Some((at, identity(id.to_owned())?))
    };
    parsed().map(Some).ok_or_else(not_ours)
}

#[cfg(test)]
mod tests {
    use meshprobe_core::finding::Pattern;

    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place() {
        let there = Place {
            opened_at: "2026-01-01T00:00:00.123456789Z".parse().unwrap(),
            id: IncidentId::of_mesh(Pattern::NodeDark),
        };
        assert_eq!(place(&token(&there)), Ok(Some(there.clone())));
        assert_eq!(place(""), Ok(None));
        assert_eq!(offset(&offset_token(17)), Ok(17));
        assert_eq!(offset(""), Ok(0));
        assert!(offset(&token(&there)).is_err());
        for bad in ["x", "!!!!", "AAAA"] {
            assert!(matches!(place(bad), Err(ApiError::Invalid(_))), "{bad}");
        }
    }

    #[test]
    fn sizes_have_a_default_and_a_limit() {
        assert_eq!((size(0), size(7), size(5_000)), (100, 7, 1_000));
    }
}
