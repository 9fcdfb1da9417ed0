use meshprobe_core::path::{Family, Plane, ProbeKind};
use proptest::prelude::*;
use prost::Message;

use super::*;

const UDP: Layer = Layer {
    kind: ProbeKind::Udp,
    plane: Plane::Pod,
    family: Family::V4,
};

fn healthy(received: u32) -> Summary {
    Summary {
        window_millis: 10_000,
        sent: 10,
        replied: 10,
        received,
        rtt_min: RttCode::from_octet(50),
        rtt_median: RttCode::from_octet(60),
        rtt_max: RttCode::from_octet(80),
        ..Summary::default()
    }
}

fn failing(consecutive_losses: u32) -> Failing {
    Failing {
        consecutive_losses,
        first_loss_age: Duration::from_millis(300),
        last_reply_age: Some(Duration::from_millis(900)),
        last_heard_age: None,
        last_outcome: OutcomeClass::Refused,
    }
}

fn report(blocks: Vec<v1::Block>) -> v1::Report {
    v1::Report {
        incarnation: 7,
        sequence: 1,
        window_start_unix_millis: 1_000,
        window_millis: 10_000,
        blocks,
        ..v1::Report::default()
    }
}

#[test]
fn rows_come_back_as_they_were_written() {
    let mut builder = BlockBuilder::new(UDP);
    builder.push(TargetNumber(0), &healthy(9), &[], None);
    let lossy = Summary {
        sent: 12,
        replied: 8,
        late: 1,
        invalid: 2,
        consecutive_losses: 3,
        last_failure: Some(OutcomeClass::Refused),
        // More than this window lost: some of it is of the one before.
        lost_ways: LostWays { out: 4, back: 2 },
        ..healthy(0)
    };
    let outcomes = [(OutcomeClass::Late, 1), (OutcomeClass::Invalid, 2)];
    builder.push(TargetNumber(5), &lossy, &outcomes, Some(failing(3)));
    let report = report(vec![builder.finish()]);
    let admitted = admit(&report).expect("well formed");
    let (layer, rows) = admitted.blocks().next().expect("one block");
    let rows: Vec<Row> = rows.collect();
    assert_eq!(layer, UDP);
    assert_eq!(rows[0].summary, healthy(9));
    assert_eq!(rows[1].target, TargetNumber(5));
    assert_eq!(rows[1].summary, lossy);
    assert_eq!(rows[1].failing, Some(failing(3)));
}

#[test]
fn a_healthy_path_costs_at_most_eight_bytes_a_window() {
    let mut builder = BlockBuilder::new(UDP);
    for n in 0..1_000 {
        builder.push(TargetNumber(n), &healthy(10), &[], None);
    }
    let bytes = report(vec![builder.finish()]).encoded_len();
    assert!(bytes <= 8 * 1_000, "{bytes} bytes for 1,000 paths");
}

#[test]
fn each_malformation_has_its_own_refusal() {
    let block = || {
        let mut builder = BlockBuilder::new(UDP);
        builder.push(TargetNumber(1), &healthy(1), &[], None);
        builder.push(TargetNumber(2), &healthy(1), &[], Some(failing(1)));
        builder.finish()
    };
    let refused = |change: &dyn Fn(&mut v1::Report)| {
        let mut r = report(vec![block()]);
        change(&mut r);
        admit(&r).expect_err("malformed").reason()
    };
    assert_eq!(refused(&|r| r.sequence = 0), "sequence_zero");
    assert_eq!(refused(&|r| r.window_millis = 0), "window_length");
    assert_eq!(refused(&|r| r.blocks.push(block())), "duplicate_layer");
    assert_eq!(refused(&|r| r.blocks[0].kind = 99), "unknown_number");
    assert_eq!(refused(&|r| r.blocks[0].sent = vec![1]), "column_length");
    assert_eq!(
        refused(&|r| r.blocks[0].received = vec![1]),
        "column_length"
    );
    assert_eq!(
        refused(&|r| r.blocks[0].target_delta[1] = 0),
        "target_order"
    );
    assert_eq!(
        refused(&|r| r.blocks[0].target_delta[1] = u32::MAX),
        "target_order"
    );
    assert_eq!(refused(&|r| r.blocks[0].replied[0] = 11), "count");
    assert_eq!(refused(&|r| r.blocks[0].failing[0].row = 2), "sparse_row");
    let outcome = v1::OutcomeCount {
        row: 9,
        class: 2,
        count: 1,
    };
    assert_eq!(
        refused(&|r| r.blocks[0].outcomes.push(outcome)),
        "sparse_row"
    );
    let ways = |row, out| {
        move |r: &mut v1::Report| {
            let ways = v1::LostWays { row, out, back: 0 };
            r.blocks[0].lost_ways.push(ways);
        }
    };
    assert_eq!(refused(&ways(2, 1)), "sparse_row");
    assert_eq!(refused(&ways(0, u32::MAX)), "count");
    let twice = |r: &mut v1::Report| (0..2).for_each(|_| ways(1, 1)(r));
    assert_eq!(refused(&twice), "sparse_row");
    let many = |r: &mut v1::Report| r.blocks = vec![v1::Block::default(); MAX_BLOCKS + 1];
    assert_eq!(refused(&many), "too_many_blocks");
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_never_give_an_inconsistent_row(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(report) = v1::Report::decode(bytes.as_slice())
            && let Ok(admitted) = admit(&report)
        {
            for (_, rows) in admitted.blocks() {
                for row in rows {
                    prop_assert!(row.summary.replied <= row.summary.sent);
                }
            }
        }
    }

    #[test]
    fn mutated_columns_never_panic(
        rows in 0_usize..20,
        cut in 0_usize..20,
        row in 0_u32..40,
        delta in any::<u32>(),
    ) {
        let mut builder = BlockBuilder::new(UDP);
        for n in 0..rows {
            builder.push(TargetNumber(n as u32 * 3), &healthy(1), &[], Some(failing(1)));
        }
        let mut block = builder.finish();
        block.sent.truncate(cut);
        if let Some(first) = block.target_delta.first_mut() {
            *first = delta;
        }
        if let Some(last) = block.failing.last_mut() {
            last.row = row;
        }
        let report = report(vec![block]);
        if let Ok(admitted) = admit(&report) {
            let seen: usize = admitted.blocks().map(|(_, rows)| rows.count()).sum();
            prop_assert_eq!(seen, rows);
        }
    }
}
