//! What the heat table looks like at 5, 12, 100 and 400 nodes, and what must hold at any size.

use jiff::Timestamp;
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;

use super::*;
use crate::samples::{self, MeshBuilder, NOW};

fn around(width: Option<usize>, open: &[v1::Incident]) -> Surroundings<'_> {
    Surroundings {
        width,
        open_incidents: open,
        layers: &[],
        not_judging: None,
        now: Timestamp::from_second(NOW).unwrap(),
    }
}

fn heat(mesh: &MeshBuilder) -> HeatTable {
    HeatTable::try_from(&mesh.build()).unwrap()
}

/// What is seen where there are no colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn drawn(mesh: &MeshBuilder, width: Option<usize>, open: &[v1::Incident]) -> String {
    plain(&render(&heat(mesh), &around(width, open)))
}

/// A dark node, a lossy path, a slow one, a suspect one, one without data, one that is not sampled.
fn troubled(nodes: usize, zones: usize) -> MeshBuilder {
    let mut mesh = samples::mesh(nodes, zones);
    mesh.dark(2)
        .set_cell(0, 1, Verdict::Lossy, Some(300), Some(30))
        .set_cell(0, 3, Verdict::Slow, Some(12_000), Some(0))
        .set_cell(1, 0, Verdict::Suspect, Some(300), Some(20))
        .set_cell(3, 0, Verdict::NoData, None, None)
        .set_cell(3, 1, Verdict::NotSampled, None, None);
    mesh
}

#[test]
fn five_healthy_nodes() {
    insta::assert_snapshot!(drawn(&samples::mesh(5, 2), Some(100), &[]));
}

#[test]
fn five_nodes_with_every_verdict() {
    insta::assert_snapshot!(drawn(
        &troubled(5, 2),
        Some(100),
        &[samples::node_dark("mesh-3")]
    ));
}

#[test]
fn twelve_nodes_on_a_wide_terminal_have_round_trip_times() {
    insta::assert_snapshot!(drawn(
        &troubled(12, 3),
        Some(160),
        &[samples::node_dark("mesh-3")]
    ));
}

#[test]
fn twelve_nodes_on_a_narrow_terminal_have_a_glyph_each() {
    insta::assert_snapshot!(drawn(
        &troubled(12, 3),
        Some(80),
        &[samples::node_dark("mesh-3")]
    ));
}

#[test]
fn a_hundred_nodes() {
    insta::assert_snapshot!(drawn(
        &troubled(100, 4),
        Some(220),
        &[samples::node_dark("mesh-3")]
    ));
}

#[test]
fn four_hundred_nodes_are_shown_by_zone() {
    insta::assert_snapshot!(drawn(
        &troubled(400, 4),
        Some(220),
        &[samples::node_dark("mesh-3")]
    ));
}

fn dns() -> HeatTable {
    let mut matrix = samples::mesh(3, 1).build();
    matrix.layer = Some(samples::layer(v1::ProbeKind::DnsUdp, v1::Plane::Service));
    matrix.targets = vec![
        "vip www.internal.".to_owned(),
        "vip absent.internal.".to_owned(),
        "mesh-1".to_owned(),
    ];
    matrix.target_zones = vec![String::new(); 3];
    HeatTable::try_from(&matrix).unwrap()
}

#[test]
fn dns_targets_are_numbered_and_named_below() {
    let heat = dns();
    insta::assert_snapshot!("dns_full", plain(&render(&heat, &around(Some(120), &[]))));
    insta::assert_snapshot!("dns_compact", plain(&render(&heat, &around(Some(40), &[]))));
}

#[test]
fn a_mesh_without_nodes_or_before_the_first_judgement_says_so() {
    let empty = HeatTable::try_from(&v1::Matrix {
        layer: Some(samples::layer(v1::ProbeKind::Udp, v1::Plane::Pod)),
        ..v1::Matrix::default()
    })
    .unwrap();
    let mut around = around(Some(80), &[]);
    around.not_judging = Some("2 of 6 probers have reported");
    let layers = samples::status().layers;
    around.layers = &layers;
    insta::assert_snapshot!(plain(&render(&empty, &around)));
    assert_eq!(health(&empty, &around), Health::Unhealthy);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for (nodes, zones) in [
        (1, 1),
        (2, 1),
        (5, 2),
        (12, 3),
        (40, 2),
        (100, 4),
        (190, 4),
        (400, 7),
    ] {
        for width in [80, 100, 132, 220] {
            let text = drawn(&troubled_if_possible(nodes, zones), Some(width), &[]);
            // The conclusion and the legend are sentences, which a terminal may wrap; a margin may be long.
            let lines = text.lines().skip(2).filter(|line| !line.contains("itself"));
            for line in lines.map(|line| line.split("  <").next().unwrap_or(line)) {
                assert!(
                    line.chars().count() <= width,
                    "{nodes} nodes in {width} columns:\n{line}"
                );
            }
        }
    }
}

fn troubled_if_possible(nodes: usize, zones: usize) -> MeshBuilder {
    if nodes >= 4 {
        troubled(nodes, zones)
    } else {
        samples::mesh(nodes, zones)
    }
}

#[test]
fn verdicts_are_told_apart_without_colours() {
    let mut glyphs: Vec<char> = Verdict::ALL.into_iter().map(glyph).collect();
    glyphs.push(OWN_GLYPH);
    glyphs.sort_unstable();
    glyphs.dedup();
    assert_eq!(glyphs.len(), Verdict::ALL.len() + 1);
}

#[test]
fn a_hundred_nodes_lose_no_path() {
    let mesh = troubled(100, 4);
    let text = drawn(&mesh, Some(220), &[]);
    let downs = text
        .lines()
        .filter(|line| line.starts_with("  "))
        .map(|line| line.matches('X').count())
        .sum::<usize>();
    assert_eq!(downs, 99, "{text}");
    assert!(
        text.contains("to mesh-3 (zone-a): 99 down of 99 paths"),
        "{text}"
    );
}

#[test]
fn wide_output_shows_every_cell_of_any_mesh() {
    let text = drawn(&troubled(100, 4), None, &[]);
    assert!(text.lines().any(|line| line.chars().count() > 700));
    assert_eq!(
        text.matches("| ").count() / 3,
        102,
        "zones are apart in the two headings and each of the 100 rows"
    );
}

#[test]
fn rows_and_columns_are_ordered_by_zone_and_number_whatever_the_aggregator_sends() {
    let mut matrix = samples::mesh(3, 1).build();
    // mesh-1 → mesh-3 is the only path that is down.
    let mut verdicts = matrix.verdicts.to_vec();
    verdicts[2] = Verdict::Down as u8;
    matrix.verdicts = verdicts.into();
    matrix.sources = vec![
        "mesh-10".to_owned(),
        "mesh-9".to_owned(),
        "mesh-1".to_owned(),
    ];
    matrix.targets = matrix.sources.clone();
    let heat = HeatTable::try_from(&matrix).unwrap();
    let names: Vec<&str> = heat.sources.iter().map(|axis| axis.name.as_str()).collect();
    assert_eq!(names, ["mesh-1", "mesh-9", "mesh-10"]);
    assert_eq!(heat.spot(2, 0).verdict(), Some(Verdict::Down));
    assert_eq!(heat.counts().of(Verdict::Down), 1);
    assert!(heat.is_square);
}

#[test]
fn a_matrix_whose_sizes_disagree_is_refused() {
    let mut matrix = samples::mesh(3, 1).build();
    matrix.verdicts = vec![3; 8].into();
    let error = HeatTable::try_from(&matrix).unwrap_err().to_string();
    assert_eq!(
        error,
        "the aggregator sent a malformed matrix: 8 verdicts where 9 belong"
    );
    matrix.layer = None;
    assert!(HeatTable::try_from(&matrix).is_err());
}

#[test]
fn health_needs_a_healthy_path_and_nothing_that_fails() {
    let healthy = heat(&samples::mesh(5, 2));
    let open = [samples::node_dark("mesh-3")];
    assert_eq!(health(&healthy, &around(None, &[])), Health::Healthy);
    assert_eq!(health(&healthy, &around(None, &open)), Health::Unhealthy);
    assert_eq!(
        health(&heat(&troubled(5, 2)), &around(None, &[])),
        Health::Unhealthy
    );
    let mut silent = samples::mesh(2, 1);
    silent
        .set_cell(0, 1, Verdict::NoData, None, None)
        .set_cell(1, 0, Verdict::NoData, None, None);
    assert_eq!(
        health(&heat(&silent), &around(None, &[])),
        Health::Unhealthy
    );
}
