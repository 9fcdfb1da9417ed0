//! What the disk did not take yet, within a bound. Readers look here as well.

use std::collections::VecDeque;

use super::record::{Gap, Record};

/// Records that wait, oldest first. Without room the oldest go, and the time that they were about becomes a gap.
#[derive(Debug)]
pub(super) struct Pending {
    most_octets: usize,
    octets: usize,
    records: VecDeque<Record>,
    lost: Option<Gap>,
    dropped: u64,
}

impl Pending {
    pub(super) fn new(most_octets: usize) -> Self {
        Self {
            most_octets,
            octets: 0,
            records: VecDeque::new(),
            lost: None,
            dropped: 0,
        }
    }

    pub(super) fn push(&mut self, record: Record) {
        self.octets += record.octets();
        self.records.push_back(record);
        while self.octets > self.most_octets && self.records.len() > 1 {
            let Some(oldest) = self.records.pop_front() else {
                return;
            };
            self.octets -= oldest.octets();
            self.dropped += 1;
            let (from, to) = oldest.span();
            let gap = self.lost.get_or_insert_with(|| Gap {
                from,
                to,
                reason: "the disk could not be written, and there was no room in memory".to_owned(),
            });
            gap.from = gap.from.min(from);
            gap.to = gap.to.max(to);
        }
    }

    /// All of them, and the gap of what went.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// What went for want of room.
    pub(super) fn lost(&self) -> Option<&Gap> {
        self.lost.as_ref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.lost.is_none()
    }

    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// Records that went for want of room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// They are on disk now.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.lost = None;
        self.octets = 0;
    }
}
