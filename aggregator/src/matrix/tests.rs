use std::collections::{BTreeMap, HashMap};

use meshprobe_core::cell::PathCell;
use meshprobe_core::ids::{NodeName, TargetNumber};
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::Family;
use meshprobe_core::rtt::RttCode;
use meshprobe_core::verdict::Verdict;
use meshprobe_core::window::{Failing, Summary};
use meshprobe_proto::report::{self, BlockBuilder};
use meshprobe_proto::v1;
use proptest::prelude::*;

use super::*;
use crate::membership::{Announcement, Membership, MembershipConfig, NodeAddress};
use crate::snapshot::LOSS_NO_DATA;

pub(super) const NODES: u32 = 5;

pub(super) const UDP: Layer = Layer {
    kind: ProbeKind::Udp,
    plane: Plane::Pod,
    family: Family::V4,
};

fn rhythm() -> Rhythm {
    Rhythm {
        intervals: vec![
            (ProbeKind::Udp, Plane::Pod, Duration::from_secs(1)),
            (ProbeKind::Tcp, Plane::Pod, Duration::from_secs(5)),
            (ProbeKind::Mtu, Plane::Pod, Duration::from_secs(60)),
            (ProbeKind::Quic, Plane::Pod, Duration::from_secs(30)),
            (ProbeKind::Http, Plane::Pod, Duration::from_secs(10)),
        ],
        report_interval: Duration::from_secs(10),
        quic_sample: 2,
    }
}

pub(super) fn matrix() -> Matrix {
    let mut matrix = Matrix::new(rhythm());
    matrix.grow(NODES as usize);
    matrix.set_nodes(NODES as usize);
    matrix
}

fn name(node: u32) -> String {
    format!("n{node}")
}

/// Every prober numbers the targets as the mesh numbers the nodes.
fn dictionary() -> Dictionary {
    let entry = |number| v1::DictionaryEntry {
        number,
        target: Some(v1::dictionary_entry::Target::Node(name(number))),
    };
    let known: HashMap<NodeName, NodeIndex> = (0..NODES)
        .map(|n| (NodeName::try_from(name(n)).unwrap(), NodeIndex(n)))
        .collect();
    let mut dictionary = Dictionary::default();
    let entries = (0..NODES).map(entry).collect();
    let nodes = |name: &NodeName| known.get(name).copied();
    dictionary
        .extend(entries, nodes, |_, _| {}, &mut Targets::default())
        .unwrap();
    dictionary
}

fn membership() -> Membership {
    let config = MembershipConfig::default();
    let mut membership =
        Membership::restore(config, Vec::new(), jiff::Timestamp::UNIX_EPOCH).unwrap();
    for node in 0..NODES {
        let hello = Announcement {
            node: NodeName::try_from(name(node)).unwrap(),
            plane: Plane::Pod,
            incarnation: meshprobe_core::ids::Incarnation(1),
            version: String::new(),
            zone: String::new(),
            region: String::new(),
            labels: BTreeMap::new(),
            addresses: vec![NodeAddress {
                plane: Plane::Pod,
                ip: [10, 0, 0, node as u8 + 1].into(),
                udp_port: 1,
                tcp_port: 1,
                quic_port: 1,
            }],
            way: None,
        };
        membership.handle_hello(&hello).unwrap();
    }
    membership
}

pub(super) fn summary(sent: u32, replied: u32, received: u32) -> Summary {
    let code = if replied > 0 {
        RttCode::from_nanos(250_000)
    } else {
        RttCode::NONE
    };
    Summary {
        window_millis: 1_000,
        sent,
        replied,
        received,
        rtt_min: code,
        rtt_median: code,
        rtt_max: code,
        last_failure: (replied < sent).then_some(OutcomeClass::Timeout),
        ..Summary::default()
    }
}

pub(super) fn apply(
    matrix: &mut Matrix,
    source: u32,
    rows: &[(u32, Summary)],
    end: Moment,
) -> Applied {
    let window_millis = rows.first().map_or(1_000, |(_, one)| one.window_millis);
    let mut block = BlockBuilder::new(UDP);
    for (target, summary) in rows {
        let failing = (summary.consecutive_losses > 0).then(|| Failing {
            consecutive_losses: summary.consecutive_losses.into(),
            first_loss_age: Duration::ZERO,
            last_reply_age: None,
            last_heard_age: None,
            last_outcome: OutcomeClass::Timeout,
        });
        block.push(TargetNumber(*target), summary, &[], failing);
    }
    let report = v1::Report {
        incarnation: 1,
        sequence: 1,
        window_millis,
        blocks: vec![block.finish()],
        ..v1::Report::default()
    };
    let window = Duration::from_millis(window_millis.into());
    let admitted = report::admit(&report).unwrap();
    let (layer, rows) = admitted.blocks().next().unwrap();
    let dictionary = dictionary();
    matrix.apply(
        NodeIndex(source),
        layer,
        rows,
        dictionary.columns(),
        Span { window, end },
        |_, _| {},
    )
}

fn span(end: Moment) -> Span {
    Span {
        window: Duration::from_secs(1),
        end,
    }
}

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

proptest! {
    /// The dense matrix is a map from (source, target) to cells that each saw their own summaries.
    #[test]
    fn the_matrix_is_a_map_of_cells(
        reports in proptest::collection::vec(
            (0..NODES, proptest::collection::btree_map(0..NODES, (1_u32..5, 0_u32..5, 0_u32..5), 0..5)),
            1..60,
        )
    ) {
        let mut matrix = matrix();
        let mut model: HashMap<(u32, u32), PathCell> = HashMap::new();
        let thresholds = rhythm().thresholds(UDP, NODES as usize);
        let mut end = at(1_000);
        for (source, rows) in reports {
            end = end + Duration::from_millis(700);
            let rows: Vec<(u32, Summary)> = rows
                .into_iter()
                .map(|(target, (sent, replied, received))| (target, summary(sent, replied.min(sent), received)))
                .collect();
            let applied = apply(&mut matrix, source, &rows, end);
            let own = rows.iter().filter(|(target, _)| *target == source).count() as u64;
            prop_assert_eq!(applied, Applied { paths: rows.len() as u64 - own, skipped: own });
            for (target, summary) in rows.into_iter().filter(|(target, _)| *target != source) {
                let cell = model.entry((source, target)).or_insert(PathCell::EMPTY);
                cell.apply(&summary, end, &thresholds);
                if summary.received > 0 {
                    cell.apply_received(
                        summary.received,
                        end,
                        &thresholds,
                    );
                }
            }
        }
        let listing = Listing::new(UDP, &membership(), &matrix);
        let cells = matrix.layer(UDP);
        let mut reading = Reading::new(listing);
        while !reading.step(cells, end, 3) {}
        let snapshot = reading.finish(jiff::Timestamp::UNIX_EPOCH, 1);
        for source in 0..NODES {
            for target in 0..NODES {
                let position = (source * NODES + target) as usize;
                let expected = match model.get(&(source, target)) {
                    _ if source == target => Verdict::NotSampled,
                    Some(cell) => cell.verdict(end, &thresholds),
                    None => Verdict::NoData,
                };
                prop_assert_eq!(snapshot.verdicts[position], expected as u8);
                let found = cells.and_then(|c| c.cell(source as usize, target as usize));
                if let Some(cell) = model.get(&(source, target)) {
                    prop_assert_eq!(found, Some(cell));
                }
                let has_loss = snapshot.loss_percent[position] != LOSS_NO_DATA;
                // A verdict outlives the fast window by half a report interval; the loss does not.
                prop_assert!(!has_loss || expected > Verdict::NoData);
            }
        }
        // The census walks the same cells in steps of another size and must come to the same counts.
        let mut census = Census::default();
        census.start(&matrix, &membership());
        let result = loop {
            if let Some(result) = census.step(&matrix, end, 7) {
                break result;
            }
        };
        let mut in_snapshot = crate::snapshot::VerdictCounts::default();
        for verdict in &snapshot.verdicts {
            in_snapshot.add(Verdict::from_number(*verdict).unwrap());
        }
        prop_assert_eq!(result.layers[0].paths, in_snapshot);
        let failing: u64 = (0..NODES).map(|n| u64::from(result.failing_in(NodeIndex(n)))).sum();
        let out: u64 = (0..NODES).map(|n| u64::from(result.failing_out(NodeIndex(n)))).sum();
        prop_assert_eq!(failing, out);
    }
}

#[test]
fn what_a_target_received_is_shown_with_the_path_that_it_came_by() {
    let mut matrix = matrix();
    let now = crate::pipeline::Now {
        moment: at(20_000),
        wall: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
    };
    apply(&mut matrix, 0, &[(1, summary(10, 4, 0))], at(19_000));
    apply(&mut matrix, 1, &[(0, summary(10, 4, 9))], at(19_500));
    let forward = cell_details(&matrix, NodeIndex(0), NodeIndex(1), now);
    assert_eq!((forward[0].sent, forward[0].replied), (10, 4));
    assert_eq!(
        forward[0].received,
        Some(9),
        "one-way: the loss is on the way back"
    );
    let reverse = cell_details(&matrix, NodeIndex(1), NodeIndex(0), now);
    assert_eq!(
        reverse[0].received, None,
        "node 0 received nothing and did not say otherwise"
    );
}

#[test]
fn a_forgotten_nodes_number_starts_empty() {
    let mut matrix = matrix();
    apply(&mut matrix, 0, &[(1, summary(10, 0, 0))], at(10_000));
    apply(&mut matrix, 1, &[(0, summary(10, 10, 0))], at(10_000));
    matrix.clear_node(NodeIndex(1));
    let layer = matrix.layer(UDP).unwrap();
    assert_eq!(layer.cell(0, 1), Some(&PathCell::EMPTY));
    assert_eq!(layer.cell(1, 0), None);
}

#[test]
fn a_path_costs_at_most_forty_octets() {
    let mut matrix = Matrix::new(rhythm());
    for node in 0..200 {
        matrix.layer_mut(UDP).row_mut(NodeIndex(node), 199);
    }
    assert_eq!(matrix.cell_bytes(), 200 * 199 * 40);
}

#[test]
fn a_kind_that_is_sent_every_five_seconds_needs_two_samples_for_a_verdict() {
    let layer = |kind| Layer { kind, ..UDP };
    let rhythm = rhythm();
    assert_eq!(rhythm.thresholds(layer(ProbeKind::Udp), 100).min_samples, 4);
    assert_eq!(rhythm.thresholds(layer(ProbeKind::Tcp), 100).min_samples, 2);
}

#[test]
fn slow_kinds_wait_for_one_sample_and_an_mtu_run_is_a_confirmation_of_its_own() {
    let rhythm = rhythm();
    let thresholds = |kind| rhythm.thresholds(Layer { kind, ..UDP }, 100);
    for kind in [ProbeKind::Mtu, ProbeKind::Quic, ProbeKind::Http] {
        assert_eq!(thresholds(kind).min_samples, 1, "{kind}");
        assert!(thresholds(kind).window_seconds >= 30, "{kind}");
    }
    assert_eq!(thresholds(ProbeKind::Mtu).down_after, 1);
    assert!(thresholds(ProbeKind::Mtu).stale_after_seconds >= 120.0);
    for kind in [ProbeKind::Quic, ProbeKind::Http, ProbeKind::Udp] {
        assert_eq!(thresholds(kind).down_after, 4, "{kind}");
    }
}

#[test]
fn what_the_plan_does_not_send_is_not_sampled_and_never_healthy() {
    let mut matrix = matrix();
    matrix.targets.follow(&PlanConfig::default());
    let verdicts = |matrix: &Matrix, kind, plane| {
        let layer = Layer { kind, plane, ..UDP };
        let mut reading = Reading::new(Listing::new(layer, &membership(), matrix));
        assert!(reading.step(matrix.layer(layer), at(1_000), usize::MAX));
        reading.finish(jiff::Timestamp::UNIX_EPOCH, 1).verdicts
    };
    let not_sampled = |verdicts: &[u8]| {
        let is = |verdict: &&u8| **verdict == Verdict::NotSampled as u8;
        verdicts.iter().filter(is).count()
    };
    let nodes = NODES as usize;
    let all = nodes * nodes;
    let icmp = verdicts(&matrix, ProbeKind::Icmp, Plane::Pod);
    assert_eq!(not_sampled(&icmp), all, "it is off");
    let udp = verdicts(&matrix, ProbeKind::Udp, Plane::Pod);
    assert_eq!(not_sampled(&udp), nodes, "each node itself");
    // Two peers of each node are in its sample.
    let quic = verdicts(&matrix, ProbeKind::Quic, Plane::Pod);
    assert_eq!(not_sampled(&quic), all - 2 * nodes);
}

#[test]
fn a_target_outside_has_cells_of_its_own_group_and_leaves_nothing_behind() {
    let http = Layer {
        kind: ProbeKind::Http,
        ..UDP
    };
    let external = |name: &str| v1::ExternalTarget {
        name: name.to_owned(),
        kind: v1::ProbeKind::Http.into(),
        family: v1::Family::V4.into(),
        ..v1::ExternalTarget::default()
    };
    let plan = |names: &[&str]| PlanConfig {
        external: names.iter().map(|name| external(name)).collect(),
        ..PlanConfig::default()
    };
    let mut matrix = matrix();
    matrix.follow_targets(&plan(&["shop", "docs"]));
    let mut dictionary = Dictionary::default();
    let entry = v1::DictionaryEntry {
        number: 0,
        target: Some(v1::dictionary_entry::Target::External(external("docs"))),
    };
    dictionary
        .extend(vec![entry], |_| None, |_, _| {}, &mut matrix.targets)
        .unwrap();
    let columns = dictionary.columns();
    assert_eq!(Matrix::check(http, &[0], columns), Ok(()));
    assert_eq!(
        Matrix::check(UDP, &[0], columns),
        Err(WrongTarget::Layer(0))
    );
    let mut block = BlockBuilder::new(http);
    block.push(TargetNumber(0), &summary(1, 0, 0), &[], None);
    let report = v1::Report {
        incarnation: 1,
        sequence: 1,
        window_millis: 1_000,
        blocks: vec![block.finish()],
        ..v1::Report::default()
    };
    let admitted = report::admit(&report).unwrap();
    let (layer, rows) = admitted.blocks().next().unwrap();
    let source = NodeIndex(0);
    matrix.apply(source, layer, rows, columns, span(at(1_000)), |_, _| {
        panic!("no vital kind")
    });
    let detail = meshprobe_core::detail::ExternalDetail {
        status: Some(502),
        ..meshprobe_core::detail::ExternalDetail::default()
    };
    let detail = Detail::External(detail);
    let kept = matrix.keep_detail(source, http, columns[0], &detail, at(1_000));
    assert_eq!(kept, Some(Keeping::Kept));
    let now = crate::pipeline::Now {
        moment: at(2_000),
        wall: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
    };
    let found = |matrix: &Matrix, name: &str| {
        let named = matrix.targets.named(name);
        let cells = named
            .iter()
            .flat_map(|target| target_cell_details(matrix, source, *target, now));
        cells.collect::<Vec<_>>()
    };
    let docs = found(&matrix, "docs");
    assert_eq!((docs.len(), docs[0].sent, docs[0].replied), (1, 1, 0));
    assert_eq!(
        docs[0].found.as_ref().unwrap().detail,
        v1::Detail::from(&detail)
    );
    assert!(found(&matrix, "shop").is_empty());
    matrix.follow_targets(&plan(&["shop"]));
    matrix.follow_targets(&plan(&["shop", "docs"]));
    assert!(found(&matrix, "docs").is_empty(), "it is a new target");
    assert_eq!(matrix.details().len(), 0);
}

#[test]
fn targets_must_be_known_and_fit_the_layer() {
    let dictionary = dictionary();
    let columns = dictionary.columns();
    assert_eq!(Matrix::check(UDP, &[0, 1, 3], columns), Ok(()));
    assert_eq!(
        Matrix::check(UDP, &[0, 5], columns),
        Err(WrongTarget::Unknown(5))
    );
    let dns = Layer {
        kind: ProbeKind::DnsUdp,
        ..UDP
    };
    assert_eq!(
        Matrix::check(dns, &[2], columns),
        Err(WrongTarget::Layer(2))
    );
}
