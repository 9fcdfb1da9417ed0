//! The mapping of one message of each type, with 64-bit numbers, bytes, missing times and defaults in it.

use meshprobe_proto::v1;

use super::*;
use crate::samples;

#[test]
fn a_status_has_names_for_enumerations_and_strings_for_64_bits() {
    let status = samples::status();
    insta::assert_json_snapshot!(StatusView::from(&status));
}

#[test]
fn a_matrix_has_its_bytes_in_base64() {
    let matrix = samples::mesh(2, 1).build();
    insta::assert_json_snapshot!(MatrixView::from(&matrix));
}

#[test]
fn an_incident_that_is_open_has_no_time_of_resolution() {
    let incidents = [samples::node_dark("mesh-3")];
    let json = serde_json::to_value(IncidentsView::from(incidents.as_slice())).unwrap();
    assert_eq!(json["incidents"][0]["state"], "INCIDENT_STATE_OPEN");
    assert_eq!(json["incidents"][0].get("resolvedAt"), None);
    insta::assert_json_snapshot!(json);
}

#[test]
fn a_node_lists_its_labels_in_a_stable_order() {
    let response = v1::ListNodesResponse {
        nodes: samples::nodes(),
    };
    insta::assert_json_snapshot!(NodesView::from(&response));
}

#[test]
fn a_path_tells_an_unknown_received_count_from_zero() {
    let detail = samples::path();
    let json = serde_json::to_value(PathView::from(&detail)).unwrap();
    assert_eq!(json["forward"][0]["received"], 0);
    assert_eq!(json["reverse"][0].get("received"), None);
    insta::assert_json_snapshot!(json);
}
