//! Reports: columns on the wire, summaries in the domain.
//!
//! [`BlockBuilder`] writes columns in the prober. [`admit`] checks a whole report once and then gives its rows without
//! an allocation for each; nothing that it gives can be malformed.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use meshprobe_core::detail::Detail;
use meshprobe_core::ids::{Incarnation, ReportSequence, TargetNumber};
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::Layer;
use meshprobe_core::rtt::RttCode;
use meshprobe_core::window::{Failing, LostWays, Summary, Window};

use crate::convert::{self, UnknownNumber};
use crate::v1;

/// Most blocks of one report: kinds × planes × families with room to grow.
pub const MAX_BLOCKS: usize = 64;
/// Most rows of one block: the targets of one prober in one layer.
pub const MAX_ROWS: usize = 65_536;
/// Most probes of one path in one window that make sense: 1,000 a second for a day.
pub const MAX_COUNT: u32 = 86_400_000;
/// Longest window: a day, after a day without an aggregator.
pub const MAX_WINDOW_MILLIS: u32 = 86_400_000;

/// Why a report is refused. Nothing of a refused report is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A report number that cannot be.
    #[error("sequence 0; reports are numbered from 1")]
    SequenceZero,
    /// A window without length or longer than a day.
    #[error("window of {0} ms; 1 to {MAX_WINDOW_MILLIS} are allowed")]
    WindowLength(u32),
    /// More blocks than layers exist.
    #[error("{0} blocks; {MAX_BLOCKS} are allowed")]
    TooManyBlocks(usize),
    /// The same layer twice.
    #[error("layer {0} appears twice")]
    DuplicateLayer(Layer),
    /// A kind, plane, family or outcome that this version does not know.
    #[error(transparent)]
    UnknownNumber(#[from] UnknownNumber),
    /// More rows than a prober can have targets.
    #[error("{rows} rows in {layer}; {MAX_ROWS} are allowed")]
    TooManyRows {
        /// Where.
        layer: Layer,
        /// How many.
        rows: usize,
    },
    /// Columns of different lengths.
    #[error("column {column} of {layer} has {length} rows, the targets have {rows}")]
    ColumnLength {
        /// Where.
        layer: Layer,
        /// Which column.
        column: &'static str,
        /// Its rows.
        length: usize,
        /// Rows of the target column.
        rows: usize,
    },
    /// Target numbers that do not ascend or do not fit.
    #[error("target numbers of {layer} do not ascend at row {row}")]
    TargetOrder {
        /// Where.
        layer: Layer,
        /// Row.
        row: usize,
    },
    /// More replies than probes, or a count that cannot be.
    #[error("impossible count in row {row} of {layer}")]
    Count {
        /// Where.
        layer: Layer,
        /// Row.
        row: usize,
    },
    /// A sparse entry for a row that does not exist, or not ascending.
    #[error("sparse entry for row {row} of {layer}, which has {rows} rows in ascending order")]
    SparseRow {
        /// Where.
        layer: Layer,
        /// The row it names.
        row: u32,
        /// Rows of the block.
        rows: usize,
    },
    /// A detail that is none, or that no probe of this kind can find.
    #[error("the detail of row {row} does not belong to {layer}")]
    Detail {
        /// Where.
        layer: Layer,
        /// The row it names.
        row: u32,
    },
    /// A row that speaks of a target that no dictionary entry explains.
    #[error("target number {0} is in no dictionary of this incarnation")]
    UnknownTarget(u32),
    /// A target that does not belong to the layer, such as a DNS server in a UDP block.
    #[error("target number {number} cannot be a target of {layer}")]
    WrongTarget {
        /// Where.
        layer: Layer,
        /// The target.
        number: u32,
    },
    /// Another prober's or another start's report on this stream.
    #[error("incarnation {sent} on a stream of incarnation {expected}")]
    ForeignIncarnation {
        /// In the report.
        sent: u64,
        /// In the Hello.
        expected: u64,
    },
}

impl Rejection {
    /// As metric label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::SequenceZero => "sequence_zero",
            Self::WindowLength(_) => "window_length",
            Self::TooManyBlocks(_) => "too_many_blocks",
            Self::DuplicateLayer(_) => "duplicate_layer",
            Self::UnknownNumber(_) => "unknown_number",
            Self::TooManyRows { .. } => "too_many_rows",
            Self::ColumnLength { .. } => "column_length",
            Self::TargetOrder { .. } => "target_order",
            Self::Count { .. } => "count",
            Self::SparseRow { .. } => "sparse_row",
            Self::Detail { .. } => "detail",
            Self::UnknownTarget(_) => "unknown_target",
            Self::WrongTarget { .. } => "wrong_target",
            Self::ForeignIncarnation { .. } => "foreign_incarnation",
        }
    }
}

/// Writes one block, row by row.
#[derive(Debug)]
pub struct BlockBuilder {
    block: v1::Block,
    rtt_min: BytesMut,
    rtt_median: BytesMut,
    rtt_max: BytesMut,
    previous_target: u32,
    any_received: bool,
}

impl BlockBuilder {
    /// An empty block of a layer.
    pub fn new(layer: Layer) -> Self {
        let wire = v1::Layer::from(layer);
        Self {
            block: v1::Block {
                kind: wire.kind,
                plane: wire.plane,
                family: wire.family,
                ..v1::Block::default()
            },
            rtt_min: BytesMut::new(),
            rtt_median: BytesMut::new(),
            rtt_max: BytesMut::new(),
            previous_target: 0,
            any_received: false,
        }
    }

    /// Adds a row. Targets must come in ascending order. `outcomes` are the classes other than reply and plain
    /// timeout, each at most once.
    pub fn push(
        &mut self,
        target: TargetNumber,
        summary: &Summary,
        outcomes: &[(OutcomeClass, u32)],
        failing: Option<Failing>,
    ) {
        let row = self.block.target_delta.len() as u32;
        debug_assert!(
            row == 0 || target.0 > self.previous_target,
            "targets ascend"
        );
        self.block
            .target_delta
            .push(target.0.wrapping_sub(self.previous_target));
        self.previous_target = target.0;
        self.block.sent.push(summary.sent);
        self.block.replied.push(summary.replied);
        self.block.received.push(summary.received);
        self.any_received |= summary.received > 0;
        self.rtt_min.put_u8(summary.rtt_min.as_octet());
        self.rtt_median.put_u8(summary.rtt_median.as_octet());
        self.rtt_max.put_u8(summary.rtt_max.as_octet());
        self.block
            .outcomes
            .extend(outcomes.iter().map(|(class, count)| v1::OutcomeCount {
                row,
                class: v1::OutcomeClass::from(*class).into(),
                count: *count,
            }));
        if !summary.lost_ways.is_empty() {
            let LostWays { out, back } = summary.lost_ways;
            self.block.lost_ways.push(v1::LostWays { row, out, back });
        }
        if let Some(failing) = failing {
            self.block.failing.push(failing_to_wire(row, failing));
        }
    }

    /// Adds what the newest probe of the row that was pushed last found. At most once for a row.
    pub fn attach(&mut self, detail: &Detail) {
        let Some(row) = self.block.target_delta.len().checked_sub(1) else {
            debug_assert!(false, "a detail belongs to a row");
            return;
        };
        self.block.details.push(v1::RowDetail {
            row: row as u32,
            detail: Some(detail.into()),
        });
    }

    /// Are there no rows?
    pub fn is_empty(&self) -> bool {
        self.block.target_delta.is_empty()
    }

    /// The finished block.
    pub fn finish(mut self) -> v1::Block {
        if !self.any_received {
            self.block.received.clear();
        }
        self.block.rtt_min = self.rtt_min.freeze();
        self.block.rtt_median = self.rtt_median.freeze();
        self.block.rtt_max = self.rtt_max.freeze();
        self.block
    }
}

fn millis(age: Duration) -> u32 {
    u32::try_from(age.as_millis()).unwrap_or(u32::MAX)
}

fn failing_to_wire(row: u32, failing: Failing) -> v1::Failing {
    v1::Failing {
        row,
        consecutive_losses: failing.consecutive_losses,
        first_loss_age_millis: millis(failing.first_loss_age),
        last_reply_age_millis: failing.last_reply_age.map(millis),
        last_heard_age_millis: failing.last_heard_age.map(millis),
        last_outcome: v1::OutcomeClass::from(failing.last_outcome).into(),
    }
}

/// A report that passed every check that needs no state.
#[derive(Debug)]
pub struct AdmittedReport<'a> {
    /// Which start of the prober.
    pub incarnation: Incarnation,
    /// Which report of it.
    pub sequence: ReportSequence,
    /// The time it covers, on the prober's wall clock.
    pub window: Window,
    /// How long ago the window ended when it was sent.
    pub age: Duration,
    /// The prober on itself.
    pub self_health: Option<&'a v1::SelfHealth>,
    /// How many windows were merged into it.
    pub merged_windows: u32,
    blocks: &'a [v1::Block],
}

/// One path in an admitted report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The prober's number of the target.
    pub target: TargetNumber,
    /// What it saw.
    pub summary: Summary,
    /// Present when the path fails, or just stopped failing.
    pub failing: Option<Failing>,
}

/// Checks a report. What it returns gives rows without further errors.
pub fn admit(report: &v1::Report) -> Result<AdmittedReport<'_>, Rejection> {
    if report.sequence == 0 {
        return Err(Rejection::SequenceZero);
    }
    if !(1..=MAX_WINDOW_MILLIS).contains(&report.window_millis) {
        return Err(Rejection::WindowLength(report.window_millis));
    }
    if report.blocks.len() > MAX_BLOCKS {
        return Err(Rejection::TooManyBlocks(report.blocks.len()));
    }
    for (i, block) in report.blocks.iter().enumerate() {
        let layer = convert::layer(block.kind, block.plane, block.family)?;
        let same =
            |b: &v1::Block| (b.kind, b.plane, b.family) == (block.kind, block.plane, block.family);
        if report.blocks[..i].iter().any(same) {
            return Err(Rejection::DuplicateLayer(layer));
        }
        check_block(layer, block)?;
    }
    Ok(AdmittedReport {
        incarnation: Incarnation(report.incarnation),
        sequence: ReportSequence(report.sequence),
        window: Window {
            start_unix_millis: report.window_start_unix_millis,
            length_millis: report.window_millis,
        },
        age: Duration::from_millis(report.age_millis.into()),
        self_health: report.self_health.as_ref(),
        merged_windows: report.merged_windows,
        blocks: &report.blocks,
    })
}

fn check_block(layer: Layer, block: &v1::Block) -> Result<(), Rejection> {
    let rows = block.target_delta.len();
    if rows > MAX_ROWS {
        return Err(Rejection::TooManyRows { layer, rows });
    }
    let columns = [
        ("sent", block.sent.len()),
        ("replied", block.replied.len()),
        ("rtt_min", block.rtt_min.len()),
        ("rtt_median", block.rtt_median.len()),
        ("rtt_max", block.rtt_max.len()),
    ];
    let received = ("received", block.received.len());
    let odd = columns
        .into_iter()
        .chain((received.1 != 0).then_some(received))
        .find(|(_, length)| *length != rows);
    if let Some((column, length)) = odd {
        return Err(Rejection::ColumnLength {
            layer,
            column,
            length,
            rows,
        });
    }
    let mut target = 0_u32;
    for (row, delta) in block.target_delta.iter().enumerate() {
        let ascends = row == 0 || *delta > 0;
        target = target
            .checked_add(*delta)
            .filter(|_| ascends)
            .ok_or(Rejection::TargetOrder { layer, row })?;
    }
    let impossible = |(row, (sent, replied)): (usize, (&u32, &u32))| {
        (replied > sent || *sent > MAX_COUNT).then_some(row)
    };
    if let Some(row) = block
        .sent
        .iter()
        .zip(&block.replied)
        .enumerate()
        .find_map(impossible)
    {
        return Err(Rejection::Count { layer, row });
    }
    if let Some(row) = block.received.iter().position(|n| *n > MAX_COUNT) {
        return Err(Rejection::Count { layer, row });
    }
    check_sparse(layer, block, rows)
}

/// Sparse entries come in ascending row order, so that rows and entries are walked together once.
fn check_sparse(layer: Layer, block: &v1::Block, rows: usize) -> Result<(), Rejection> {
    let in_order = |row: u32, least: u32| {
        let is_in_order = row >= least && (row as usize) < rows;
        is_in_order
            .then_some(())
            .ok_or(Rejection::SparseRow { layer, row, rows })
    };
    let possible = |row: u32, count: u32| {
        let row = row as usize;
        (count <= MAX_COUNT)
            .then_some(())
            .ok_or(Rejection::Count { layer, row })
    };
    let mut least = 0;
    for entry in &block.outcomes {
        convert::outcome_class(entry.class)?;
        in_order(entry.row, least)?;
        possible(entry.row, entry.count)?;
        least = entry.row;
    }
    let mut next = 0;
    for entry in &block.failing {
        convert::outcome_class(entry.last_outcome)?;
        in_order(entry.row, next)?;
        next = entry.row + 1;
    }
    let mut next = 0;
    for entry in &block.details {
        in_order(entry.row, next)?;
        let detail = entry.detail.as_ref().map(Detail::try_from).transpose()?;
        if !detail.is_some_and(|detail| detail.fits(layer.kind)) {
            return Err(Rejection::Detail {
                layer,
                row: entry.row,
            });
        }
        next = entry.row + 1;
    }
    let mut next = 0;
    for entry in &block.lost_ways {
        in_order(entry.row, next)?;
        possible(entry.row, entry.out.max(entry.back))?;
        next = entry.row + 1;
    }
    Ok(())
}

impl<'a> AdmittedReport<'a> {
    /// The blocks with their layers.
    pub fn blocks(&self) -> impl Iterator<Item = (Layer, Rows<'a>)> + use<'a> {
        let window_millis = self.window.length_millis;
        self.blocks.iter().filter_map(move |block| {
            let layer = convert::layer(block.kind, block.plane, block.family).ok()?;
            Some((layer, Rows::new(block, window_millis)))
        })
    }

    /// The details with their layers and targets.
    pub fn details(&self) -> impl Iterator<Item = (Layer, TargetNumber, Detail)> + use<'a> {
        self.blocks.iter().flat_map(|block| {
            let layer = convert::layer(block.kind, block.plane, block.family).ok();
            let mut walk = (0_usize, 0_u32);
            block.details.iter().filter_map(move |entry| {
                while walk.0 <= entry.row as usize {
                    walk.1 = walk.1.wrapping_add(*block.target_delta.get(walk.0)?);
                    walk.0 += 1;
                }
                let detail = Detail::try_from(entry.detail.as_ref()?).ok()?;
                Some((layer?, TargetNumber(walk.1), detail))
            })
        })
    }
}

/// The rows of one admitted block.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    block: &'a v1::Block,
    window_millis: u32,
    row: usize,
    target: u32,
    outcome: usize,
    failing: usize,
    lost_ways: usize,
}

impl<'a> Rows<'a> {
    fn new(block: &'a v1::Block, window_millis: u32) -> Self {
        Self {
            block,
            window_millis,
            row: 0,
            target: 0,
            outcome: 0,
            failing: 0,
            lost_ways: 0,
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Row;

    #[inline]
    fn next(&mut self) -> Option<Row> {
        let (block, row) = (self.block, self.row);
        self.target = self.target.wrapping_add(*block.target_delta.get(row)?);
        self.row += 1;
        let mut summary = Summary {
            window_millis: self.window_millis,
            sent: block.sent[row],
            replied: block.replied[row],
            received: block.received.get(row).copied().unwrap_or(0),
            rtt_min: RttCode::from_octet(block.rtt_min[row]),
            rtt_median: RttCode::from_octet(block.rtt_median[row]),
            rtt_max: RttCode::from_octet(block.rtt_max[row]),
            ..Summary::default()
        };
        if summary.replied < summary.sent {
            summary.last_failure = Some(OutcomeClass::Timeout);
        }
        while let Some(entry) = block
            .outcomes
            .get(self.outcome)
            .filter(|entry| entry.row as usize == row)
        {
            self.outcome += 1;
            match convert::outcome_class(entry.class) {
                Ok(OutcomeClass::Late) => summary.late += entry.count,
                Ok(OutcomeClass::Invalid) => summary.invalid += entry.count,
                Ok(class) if class.is_loss() => summary.last_failure = Some(class),
                _ => {}
            }
        }
        if let Some(entry) = block
            .lost_ways
            .get(self.lost_ways)
            .filter(|entry| entry.row as usize == row)
        {
            self.lost_ways += 1;
            summary.lost_ways = LostWays {
                out: entry.out,
                back: entry.back,
            };
        }
        let failing = block
            .failing
            .get(self.failing)
            .filter(|entry| entry.row as usize == row)
            .and_then(|entry| {
                let last_outcome = convert::outcome_class(entry.last_outcome).ok()?;
                let age = |ms: u32| Duration::from_millis(ms.into());
                Some(Failing {
                    consecutive_losses: entry.consecutive_losses,
                    first_loss_age: age(entry.first_loss_age_millis),
                    last_reply_age: entry.last_reply_age_millis.map(age),
                    last_heard_age: entry.last_heard_age_millis.map(age),
                    last_outcome,
                })
            });
        if let Some(failing) = &failing {
            self.failing += 1;
            summary.consecutive_losses = failing.consecutive_losses.min(255) as u8;
            if failing.consecutive_losses > 0 {
                summary.last_failure = Some(failing.last_outcome);
            }
        }
        Some(Row {
            target: TargetNumber(self.target),
            summary,
            failing,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.block.target_delta.len() - self.row;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Rows<'_> {}

#[cfg(test)]
mod tests;
