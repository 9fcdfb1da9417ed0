//! The end of a scenario: one JSON object.

use serde::Serialize;

use super::expected::What;

/// What a run came to. The last line of standard output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub scenario: String,
    pub passed: bool,
    /// Incidents that had to open, each as its pattern and its scope.
    pub expected: Vec<What>,
    /// Incidents that opened.
    pub found: Vec<What>,
    /// From the last thing that was broken to the first byte of the webhook about the last expected incident; `null`: none was
    /// expected, or not all were found.
    pub seconds_to_find: Option<f64>,
    /// From the repair to the end of the last incident.
    pub seconds_to_clear: Option<f64>,
    pub nodes: u8,
    pub zones: u8,
    pub seed: u64,
    /// Why it did not pass, one sentence each.
    pub failures: Vec<String>,
}

impl Outcome {
    /// The line.
    pub fn json(&self) -> String {
        // Strings, numbers and lists of them: there is nothing that has no JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Milliseconds are what the numbers are good for.
pub(super) fn to_millis(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_line_has_the_fields_that_tools_read() {
        let outcome = Outcome {
            scenario: "node-dark".to_owned(),
            passed: true,
            expected: vec![What {
                pattern: "node-dark".to_owned(),
                scope: "mesh-3".to_owned(),
            }],
            found: Vec::new(),
            seconds_to_find: Some(to_millis(1.234_567)),
            seconds_to_clear: None,
            nodes: 6,
            zones: 2,
            seed: 1,
            failures: Vec::new(),
        };
        let line: Value = serde_json::from_str(&outcome.json()).expect("JSON");
        assert_eq!(
            line,
            json!({
                "scenario": "node-dark", "passed": true, "expected": ["node-dark mesh-3"], "found": [],
                "seconds_to_find": 1.235, "seconds_to_clear": null,
                "nodes": 6, "zones": 2, "seed": 1, "failures": [],
            })
        );
    }
}
