//! What a reload takes over, and what has to wait for a restart.

use serde_json::Value;

use super::Config;

/// Sections that a running aggregator takes over.
pub(super) const RELOADABLE: [&str; 15] = [
    "aggregators",
    "detection",
    "dns",
    "dns_search",
    "external",
    "external_url",
    "membership",
    "nodes",
    "notifications",
    "probing",
    "receivers",
    "runbook_url",
    "services",
    "stamp",
    "zones",
];

/// The difference between the configuration in force and the one in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadPlan {
    /// Sections that change now.
    pub now: Vec<String>,
    /// Sections that differ in the file but stay as they are until a restart.
    pub at_restart: Vec<String>,
}

impl ReloadPlan {
    /// Compares by content, so that a comment or a moved line is no change. Secret files are read again in any case.
    pub fn between(current: &Config, new: &Config) -> Self {
        let mut plan = Self::default();
        let (Ok(Value::Object(current)), Ok(Value::Object(new))) =
            (serde_json::to_value(current), serde_json::to_value(new))
        else {
            return plan;
        };
        for (section, value) in &new {
            if current.get(section) == Some(value) {
                continue;
            }
            let list = if RELOADABLE.contains(&section.as_str()) {
                &mut plan.now
            } else {
                &mut plan.at_restart
            };
            list.push(section.clone());
        }
        plan
    }

    /// For the answer to whoever asked, in one sentence.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        if self.now.is_empty() {
            parts.push("no section changed, secrets and certificates were read again".to_owned());
        } else {
            parts.push(format!("changed: {}", self.now.join(", ")));
        }
        if !self.at_restart.is_empty() {
            parts.push(format!("needs a restart: {}", self.at_restart.join(", ")));
        }
        parts.join("; ")
    }
}

impl Config {
    /// This configuration with the sections of `new` that can change while running.
    #[must_use]
    pub fn reloaded(self, new: Self) -> Self {
        let Self {
            listen,
            store,
            history,
            tls,
            limits,
            log,
            drain,
            ..
        } = self;
        Self {
            listen,
            store,
            history,
            tls,
            limits,
            log,
            drain,
            ..new
        }
    }
}
