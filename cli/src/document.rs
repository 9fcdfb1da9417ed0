//! An answer as a document for programs: the message in protobuf's JSON mapping, the same as under `/api/v1`, as JSON or
//! as YAML.
//!
//! Fields are written also when they have their default value, so that a script finds `openIncidents: 0` and not
//! nothing; what was never set (a time, a received count) is left out. See [`meshprobe_proto::json`].

use meshprobe_proto::json::{JsonWriter, SchemaError};
use prost::Name;

/// Writes messages as documents.
#[derive(Debug)]
pub struct Documents {
    mapping: JsonWriter,
}

impl Documents {
    /// Reads what the contract says about its messages.
    pub fn new() -> Result<Self, SchemaError> {
        Ok(Self {
            mapping: JsonWriter::new()?,
        })
    }

    /// JSON over several lines, as people look at it too.
    pub fn json(&self, message: &impl Name) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(&self.mapping.write(message)?)? + "\n")
    }

    /// JSON on one line.
    pub fn json_line(&self, message: &impl Name) -> anyhow::Result<String> {
        Ok(serde_json::to_string(&self.mapping.write(message)?)? + "\n")
    }

    /// YAML that says the same as the JSON.
    pub fn yaml(&self, message: &impl Name) -> anyhow::Result<String> {
        Ok(serde_saphyr::to_string(&self.mapping.write(message)?)?)
    }
}

#[cfg(test)]
mod tests {
    //! One message of each type, with 64-bit numbers, bytes, missing times and defaults in it.

    use meshprobe_proto::v1;
    use serde_json::Value;

    use super::*;
    use crate::samples;

    fn json(message: &impl Name) -> String {
        Documents::new().unwrap().json(message).unwrap()
    }

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_status_has_names_for_enumerations_and_strings_for_64_bits() {
        insta::assert_snapshot!(json(&samples::status()));
    }

    #[test]
    fn a_matrix_has_its_bytes_in_base64() {
        insta::assert_snapshot!(json(&samples::mesh(2, 1).build()));
    }

    #[test]
    fn an_incident_that_is_open_has_no_time_of_resolution() {
        let text = json(&v1::ListIncidentsResponse {
            incidents: vec![samples::node_dark("mesh-3")],
            next_page_token: String::new(),
        });
        let json = parsed(&text);
        assert_eq!(json["incidents"][0]["state"], "INCIDENT_STATE_OPEN");
        assert_eq!(json["incidents"][0].get("resolvedAt"), None);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_node_lists_its_labels_in_a_stable_order() {
        insta::assert_snapshot!(json(&v1::ListNodesResponse {
            nodes: samples::nodes(),
            window: None,
        }));
    }

    #[test]
    fn a_path_tells_an_unknown_received_count_from_zero() {
        let text = json(&samples::path());
        let json = parsed(&text);
        assert_eq!(json["forward"][0]["received"], 0);
        assert_eq!(json["reverse"][0].get("received"), None);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_line_of_a_stream_is_one_line() {
        let documents = Documents::new().unwrap();
        let incident = samples::node_dark("mesh-3");
        let line = documents.json_line(&incident).unwrap();
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
        assert_eq!(parsed(&line), parsed(&documents.json(&incident).unwrap()));
    }

    #[test]
    fn yaml_keeps_strings_that_look_like_something_else() {
        let documents = Documents::new().unwrap();
        let mut status = samples::status();
        status.notifications_pending = u64::MAX;
        status.version = "1.10".to_owned();
        status.not_judging_reason = "no: # really".to_owned();
        let yaml = documents.yaml(&status).unwrap();
        let read: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read, parsed(&documents.json(&status).unwrap()), "{yaml}");
        insta::assert_snapshot!(yaml);
    }

    #[test]
    fn a_time_outside_of_the_calendar_is_an_error_that_says_so() {
        let mut incident = samples::node_dark("mesh-3");
        incident.opened_at = Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        });
        let error = Documents::new().unwrap().json(&incident).unwrap_err();
        assert!(error.to_string().contains("9223372036854775807"), "{error}");
    }
}
