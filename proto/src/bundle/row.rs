//! A row of the mesh in few octets, without loss: the diagnosis of what is read is that of what was written.

use std::{sync::Arc, time::Duration};

use meshprobe_core::{
    detail::Detail,
    diagnosis::{Arrived, CellPicture, RowPicture},
    outcome::OutcomeClass,
    time::Mark,
    verdict::Verdict,
};

use crate::pack::{self, Damaged, Packer, Unpacker};

/// Cells that a row may have. Also what bounds a row's size in memory while it is read.
const MOST_CELLS: usize = 1 << 17;
/// Octets of an expanded row: each cell's columns, and details.
const MOST_OCTETS: usize = MOST_CELLS * 64;
/// Rows are packed while the mesh is watched, so the fastest level.
const LEVEL: i32 = 1;

/// Packs a row.
pub(super) fn pack(row: &RowPicture) -> Vec<u8> {
    let RowPicture {
        columns,
        cells,
        details,
    } = row;
    let mut packer = Packer::new();
    packer.number(cells.len() as u64);
    packer.octet(columns.is_some().into());
    if let Some(columns) = columns {
        // Ascending, so the steps between them are small.
        let before = [0].into_iter().chain(columns.iter().copied());
        packer.numbers(
            columns
                .iter()
                .zip(before)
                .map(|(column, before)| column.saturating_sub(before).into()),
        );
    }
    packer.octets(cells.iter().map(|cell| cell.verdict as u8));
    packer.octets(
        cells
            .iter()
            .map(|cell| cell.failure.map_or(0, |class| class as u8)),
    );
    packer.octets(cells.iter().map(|cell| cell.consecutive_losses));
    packer.octets(cells.iter().map(|cell| cell.consecutive_replies));
    packer.octets(
        cells
            .iter()
            .map(|cell| cell.failing_for.as_secs().min(255) as u8),
    );
    packer.octets(cells.iter().map(|cell| match cell.arrived_in_row {
        None => 0,
        Some(Arrived::Nothing) => 1,
        Some(Arrived::Few) => 2,
        Some(Arrived::Most) => 3,
    }));
    packer.numbers(cells.iter().map(|cell| cell.sent.into()));
    packer.numbers(cells.iter().map(|cell| cell.lost.into()));
    packer.numbers(cells.iter().map(|cell| cell.slot_sent[0].into()));
    packer.numbers(cells.iter().map(|cell| cell.slot_sent[1].into()));
    packer.numbers(cells.iter().map(|cell| cell.slot_lost[0].into()));
    packer.numbers(cells.iter().map(|cell| cell.slot_lost[1].into()));
    packer.numbers(cells.iter().map(|cell| plus_one(cell.received)));
    packer.numbers(cells.iter().map(|cell| nanos(cell.rtt)));
    packer.numbers(cells.iter().map(|cell| nanos(cell.rtt_baseline)));
    let floats = |of: fn(&CellPicture) -> f32| cells.iter().map(of).collect::<Vec<f32>>();
    packer.floats(&floats(|cell| cell.long_sent));
    packer.floats(&floats(|cell| cell.long_lost));
    packer.octets(cells.iter().map(|cell| cell.long_received.is_some().into()));
    packer.floats(&floats(|cell| cell.long_received.unwrap_or_default()));
    packer.numbers(cells.iter().map(|cell| number(cell.reported_at)));
    packer.numbers(cells.iter().map(|cell| number(cell.lost_at)));
    packer.octets(cells.iter().map(|cell| cell.lost_in_row));
    let details = if details.is_empty() {
        Vec::new()
    } else {
        // Numbers, texts and lists of them: there is nothing that JSON does not have.
        serde_json::to_vec(details).unwrap_or_default()
    };
    packer.block(&details);
    pack::compress(&packer.finish(), LEVEL)
}

/// The row that was packed.
pub(super) fn unpack(packed: &[u8]) -> Result<RowPicture, Damaged> {
    let octets = pack::expand(packed, MOST_OCTETS)?;
    let mut unpacker = Unpacker::new(&octets);
    let count = unpacker.count()?;
    if count > MOST_CELLS {
        return Err(Damaged("a row has too many cells"));
    }
    let columns = match unpacker.octet()? {
        0 => None,
        _ => Some(columns(&unpacker.numbers(count)?)?),
    };
    let verdicts = unpacker.octets(count)?;
    let failures = unpacker.octets(count)?;
    let losses = unpacker.octets(count)?;
    let replies = unpacker.octets(count)?;
    let failing_for = unpacker.octets(count)?;
    let arrived = unpacker.octets(count)?;
    let sent: Vec<u16> = unpacker.numbers(count)?;
    let lost: Vec<u16> = unpacker.numbers(count)?;
    let slot_sent: [Vec<u16>; 2] = [unpacker.numbers(count)?, unpacker.numbers(count)?];
    let slot_lost: [Vec<u16>; 2] = [unpacker.numbers(count)?, unpacker.numbers(count)?];
    let received: Vec<u32> = unpacker.numbers(count)?;
    let rtt: Vec<u64> = unpacker.numbers(count)?;
    let baseline: Vec<u64> = unpacker.numbers(count)?;
    let long_sent = unpacker.floats(count)?;
    let long_lost = unpacker.floats(count)?;
    let has_long_received = unpacker.octets(count)?;
    let long_received = unpacker.floats(count)?;
    let reported_at: Vec<u64> = unpacker.numbers(count)?;
    let lost_at: Vec<u64> = unpacker.numbers(count)?;
    let lost_in_row = unpacker.octets(count)?;
    let details: Vec<(u32, Detail)> = match unpacker.block()? {
        [] => Vec::new(),
        json => serde_json::from_slice(json)
            .map_err(|_| Damaged("the details of a row cannot be read"))?,
    };
    unpacker.finish()?;
    let cell = |i: usize| {
        Ok(CellPicture {
            verdict: Verdict::from_number(verdicts[i])
                .ok_or(Damaged("there is no such verdict"))?,
            failure: match failures[i] {
                0 => None,
                number => Some(
                    OutcomeClass::from_number(number)
                        .ok_or(Damaged("there is no such class of outcomes"))?,
                ),
            },
            consecutive_losses: losses[i],
            consecutive_replies: replies[i],
            failing_for: Duration::from_secs(failing_for[i].into()),
            arrived_in_row: match arrived[i] {
                0 => None,
                1 => Some(Arrived::Nothing),
                2 => Some(Arrived::Few),
                _ => Some(Arrived::Most),
            },
            sent: sent[i],
            lost: lost[i],
            slot_sent: [slot_sent[0][i], slot_sent[1][i]],
            slot_lost: [slot_lost[0][i], slot_lost[1][i]],
            received: minus_one(received[i])?,
            long_sent: long_sent[i],
            long_lost: long_lost[i],
            long_received: (has_long_received[i] != 0).then_some(long_received[i]),
            rtt: duration(rtt[i]),
            rtt_baseline: duration(baseline[i]),
            reported_at: Mark::from_number(reported_at[i]),
            lost_at: Mark::from_number(lost_at[i]),
            lost_in_row: lost_in_row[i],
        })
    };
    Ok(RowPicture {
        columns,
        cells: (0..count).map(cell).collect::<Result<_, Damaged>>()?,
        details,
    })
}

/// The columns out of the steps between them; only the first step may be zero.
fn columns(steps: &[u32]) -> Result<Arc<[u32]>, Damaged> {
    let mut column = 0_u32;
    let step = |(place, step): (usize, &u32)| {
        if place > 0 && *step == 0 {
            return Err(Damaged("a row has two cells for one column"));
        }
        column = column
            .checked_add(*step)
            .ok_or(Damaged("a number is too large"))?;
        Ok(column)
    };
    steps.iter().enumerate().map(step).collect()
}

fn plus_one(value: Option<u16>) -> u64 {
    value.map_or(0, |value| u64::from(value) + 1)
}

fn minus_one(value: u32) -> Result<Option<u16>, Damaged> {
    match value.checked_sub(1) {
        None => Ok(None),
        Some(value) => u16::try_from(value)
            .map(Some)
            .map_err(|_| Damaged("a number is too large")),
    }
}

/// Zero is none.
fn number(mark: Option<Mark>) -> u64 {
    mark.map_or(0, Mark::number)
}

/// One more than the nanoseconds; 0 is none.
fn nanos(value: Option<Duration>) -> u64 {
    value.map_or(0, |value| {
        u64::try_from(value.as_nanos())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    })
}

fn duration(nanos: u64) -> Option<Duration> {
    nanos.checked_sub(1).map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use meshprobe_core::detail::UdpDetail;
    use proptest::prelude::*;

    use super::*;

    fn any_cell() -> impl Strategy<Value = CellPicture> {
        let numbers = (
            any::<u16>(),
            any::<u16>(),
            any::<Option<u16>>(),
            any::<u8>(),
            any::<u8>(),
        );
        let long = (any::<f32>(), any::<f32>(), any::<Option<f32>>());
        let times = (
            any::<Option<u32>>(),
            any::<Option<u32>>(),
            any::<u32>(),
            any::<u32>(),
        );
        (1..=7_u8, 0..=14_u8, numbers, long, times).prop_map(|(verdict, failure, n, l, t)| {
            CellPicture {
                verdict: Verdict::from_number(verdict).unwrap(),
                failure: OutcomeClass::from_number(failure),
                consecutive_losses: n.3,
                consecutive_replies: n.4,
                failing_for: Duration::from_secs(n.4.into()),
                arrived_in_row: [
                    None,
                    Some(Arrived::Nothing),
                    Some(Arrived::Few),
                    Some(Arrived::Most),
                ][usize::from(n.4 % 4)],
                sent: n.0,
                lost: n.1,
                slot_sent: [n.0, n.1],
                slot_lost: [n.1 / 2, n.0],
                received: n.2,
                long_sent: l.0,
                long_lost: l.1,
                long_received: l.2,
                rtt: t.0.map(|n| Duration::from_nanos(n.into())),
                rtt_baseline: t.1.map(|n| Duration::from_nanos(n.into())),
                reported_at: Mark::from_number(t.2.into()),
                lost_at: Mark::from_number(t.3.into()),
                lost_in_row: n.3 % 16,
            }
        })
    }

    proptest! {
        #[test]
        fn a_row_comes_back_to_the_bit(
            cells in prop::collection::vec(any_cell(), 0..40),
            columns: Option<std::collections::BTreeSet<u32>>,
        ) {
            let columns: Option<Arc<[u32]>> = columns.map(|columns| columns.into_iter().collect());
            let most = columns.as_ref().map_or(cells.len(), |columns| columns.len());
            let cells: Vec<_> = cells.into_iter().cycle().take(most).collect();
            let columns = columns.filter(|columns| columns.len() == cells.len());
            let details = vec![(3, Detail::Udp(UdpDetail { reordered: 5, ..UdpDetail::default() }))];
            let row = RowPicture { columns, cells, details };
            let back = unpack(&pack(&row))?;
            prop_assert_eq!(format!("{row:?}"), format!("{back:?}"));
        }

        #[test]
        fn a_damaged_row_is_refused_or_read(octets: Vec<u8>) {
            unpack(&octets).ok();
            unpack(&pack::compress(&octets, 1)).ok();
        }
    }

    #[test]
    fn a_healthy_row_of_five_hundred_costs_few_octets() {
        let cell = |i: usize| CellPicture {
            verdict: Verdict::Healthy,
            sent: 20,
            received: Some(20),
            long_sent: 80.0,
            long_received: Some(80.0),
            rtt: Some(Duration::from_micros(400 + 20 * (i as u64 % 7))),
            rtt_baseline: Some(Duration::from_micros(400)),
            ..CellPicture::NOT_SAMPLED
        };
        let row = RowPicture::dense((0..500).map(cell).collect(), Vec::new());
        let octets = pack(&row).len();
        assert!(octets < 1000, "{octets}");
    }
}
