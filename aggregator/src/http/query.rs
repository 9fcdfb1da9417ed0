//! Query parameters: each is taken by name, and what nobody took is refused, so that a misspelt filter cannot pass for none.

use std::{collections::BTreeMap, convert::Infallible};

use axum::{extract::FromRequestParts, http::request::Parts};
use jiff::Timestamp;
use url::form_urlencoded;

use crate::api::ApiError;

/// The parameters that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Query {
    values: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let text = parts.uri.query().unwrap_or_default();
        Ok(Self {
            values: form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
            known: Vec::new(),
        })
    }
}

impl Query {
    /// The text of a parameter; empty without it.
    pub(super) fn text(&mut self, name: &'static str) -> String {
        self.known.push(name);
        self.values.remove(name).unwrap_or_default()
    }

    /// A number; 0 without it.
    pub(super) fn count(&mut self, name: &'static str) -> Result<u32, ApiError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(0);
        }
        text.parse()
            .map_err(|_| ApiError::Invalid(format!("{name}={text:?} is no number")))
    }

    /// Yes or no; no without it.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, ApiError> {
        match self.text(name).as_str() {
            "" | "false" => Ok(false),
            "true" => Ok(true),
            other => Err(ApiError::Invalid(format!(
                "{name}={other:?} is neither true nor false"
            ))),
        }
    }

    /// A moment as RFC 3339 writes it; `None` without it.
    pub(super) fn moment(&mut self, name: &'static str) -> Result<Option<Timestamp>, ApiError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            ApiError::Invalid(format!(
                "{name}={text:?} is no moment; write it as 2026-11-29T03:10:00Z"
            ))
        })
    }

    /// An enumeration by its short name (`dns-udp`) or its full one (`PROBE_KIND_DNS_UDP`); 0 without it.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        prefix: &str,
        find: impl Fn(&str) -> Option<i32>,
    ) -> Result<i32, ApiError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(0);
        }
        named(&text, prefix, find)
            .ok_or_else(|| ApiError::Invalid(format!("{name}={text:?} is unknown")))
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        let Some(unknown) = self.values.keys().next() else {
            return Ok(());
        };
        let known = if self.known.is_empty() {
            "none".to_owned()
        } else {
            self.known.join(", ")
        };
        Err(ApiError::Invalid(format!(
            "unknown parameter {unknown:?}; there are: {known}"
        )))
    }
}

/// The number of an enumeration's value by its short name (`dns-udp`) or its full one (`PROBE_KIND_DNS_UDP`).
pub(super) fn named(text: &str, prefix: &str, find: impl Fn(&str) -> Option<i32>) -> Option<i32> {
    let upper = text.to_ascii_uppercase().replace('-', "_");
    find(&upper)
        .or_else(|| find(&format!("{prefix}{upper}")))
        .filter(|number| *number != 0)
}
