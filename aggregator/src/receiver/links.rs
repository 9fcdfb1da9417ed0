//! Where the links of a notification lead.

use meshprobe_core::finding::Pattern;
use url::Url;

use crate::incident::Incident;

/// Where the links of a notification lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The base of everything people open; `None`: links stay empty.
    pub external_url: Option<Url>,
    /// The folder of the pages about patterns; `None`: the ones that this process serves.
    pub runbook_url: Option<Url>,
}

impl Links {
    pub(super) fn external(&self) -> String {
        self.external_url
            .as_ref()
            .map(|url| url.as_str().trim_end_matches('/').to_owned())
            .unwrap_or_default()
    }

    /// The page about a pattern; empty if nothing is known of how people reach pages.
    pub fn runbook(&self, pattern: Pattern) -> String {
        match (&self.runbook_url, &self.external_url) {
            (Some(folder), _) => format!("{}/{pattern}", folder.as_str().trim_end_matches('/')),
            (None, Some(_)) => format!("{}/runbook/{pattern}", self.external()),
            (None, None) => String::new(),
        }
    }

    pub(super) fn incident(&self, incident: &Incident) -> String {
        match self.external_url {
            Some(_) => format!("{}/api/v1/incidents/{}", self.external(), incident.id),
            None => String::new(),
        }
    }
}
