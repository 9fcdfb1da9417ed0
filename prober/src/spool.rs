//! What is not acknowledged yet, bounded in octets.
//!
//! Two stages, so that (node, plane, incarnation, sequence) names the same content for ever:
//!
//! 1. **Drafts** were never sent and have no number. When the spool is full, neighbouring drafts are merged: counts
//!    stay exact, time gets coarser, and the number of merged windows travels with the report. Nothing is dropped.
//! 2. **Sent** reports have their number, given at the first transmission, gap-free. They never change again and are
//!    sent as often as it takes, by either way, until they are acknowledged.
//!
//! How many may be in the second stage is limited, so a prober that cannot reach its aggregator keeps drafts.

use std::collections::VecDeque;
use std::time::Duration;

use meshprobe_core::ids::{Incarnation, ReportSequence};
use meshprobe_core::time::Moment;
use meshprobe_proto::report::MAX_WINDOW_MILLIS;
use meshprobe_proto::v1;

use crate::report::ClosedWindow;

/// Reports that may be sent and not acknowledged. Enough for a flush every 10 ms during a slow half second.
const MAX_SENT: usize = 64;

/// Of them, kept free for urgent reports that jump a backlog.
const RESERVED: usize = 16;

/// More drafts than this are a backlog. Fewer leave in order, so that none of them comes too late to count.
const BACKLOG: usize = 8;

/// An unacknowledged report is sent by the other way as well after this time.
pub const OTHER_WAY_AFTER: Duration = Duration::from_millis(500);

/// An unacknowledged report is sent once more by the same way after this time: the connection lives, the
/// acknowledgement does not come (a full store). The aggregator takes it once.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The two ways home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// By the aggregator's service or pod address.
    Overlay,
    /// By a node's address and node port.
    Underlay,
}

impl Way {
    /// Both, the preferred one first.
    pub const ALL: [Self; 2] = [Self::Overlay, Self::Underlay];

    /// As label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Underlay => "underlay",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which ways have an open stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenWays([bool; 2]);

impl OpenWays {
    /// Opens or closes a way.
    pub fn set(&mut self, way: Way, open: bool) {
        self.0[way.index()] = open;
    }

    /// Is it open?
    pub const fn contains(self, way: Way) -> bool {
        self.0[way.index()]
    }

    /// The one that is used when all is well: the overlay while it works.
    pub fn primary(self) -> Option<Way> {
        Way::ALL.into_iter().find(|way| self.contains(*way))
    }
}

/// One report to send.
#[derive(Clone, Debug)]
pub struct Transmission {
    /// Which way.
    pub way: Way,
    /// What.
    pub report: v1::Report,
    /// It was sent before.
    pub repeated: bool,
}

#[derive(Debug)]
struct Sent {
    report: v1::Report,
    ended_at: Moment,
    urgent: bool,
    octets: usize,
    windows: u32,
    first_sent_at: Moment,
    /// The last transmission by each way whose stream is still the same.
    by_way: [Option<Moment>; 2],
}

/// How full the spool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Memory, about.
    pub octets: usize,
    /// Reports that were sent and not acknowledged.
    pub sent: usize,
    /// Reports that were not sent yet.
    pub drafts: usize,
    /// Windows that were merged away since the start.
    pub merged: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Spool {
    incarnation: Incarnation,
    budget: usize,
    next_sequence: u64,
    drafts: VecDeque<ClosedWindow>,
    draft_octets: usize,
    sent: VecDeque<Sent>,
    sent_octets: usize,
    merged: u64,
}

impl Spool {
    /// An empty spool that keeps about `budget` octets.
    pub fn new(incarnation: Incarnation, budget: usize) -> Self {
        Self {
            incarnation,
            budget,
            next_sequence: 1,
            drafts: VecDeque::new(),
            draft_octets: 0,
            sent: VecDeque::new(),
            sent_octets: 0,
            merged: 0,
        }
    }

    /// Takes a closed window.
    pub fn push(&mut self, window: ClosedWindow) {
        self.draft_octets += window.octets();
        self.drafts.push_back(window);
        while self.sent_octets + self.draft_octets > self.budget {
            if !self.merge_neighbours() {
                break;
            }
        }
    }

    /// The next report to send, if there is one.
    pub fn poll_transmit(&mut self, open: OpenWays, now: Moment) -> Option<Transmission> {
        let primary = open.primary()?;
        self.poll_repeat(open, primary, now)
            .or_else(|| self.poll_draft(primary, now))
    }

    /// Everything up to this report is stored by the aggregator. Returns how many windows that were not acknowledged
    /// before are now.
    pub fn handle_ack(&mut self, incarnation: Incarnation, sequence: ReportSequence) -> u32 {
        if incarnation != self.incarnation {
            return 0;
        }
        let mut windows = 0;
        while let Some(front) = self.sent.front()
            && front.report.sequence <= sequence.0
        {
            self.sent_octets -= front.octets;
            windows += front.windows;
            self.sent.pop_front();
        }
        windows
    }

    /// The stream of a way is gone: what it carried may be lost.
    pub fn handle_way_closed(&mut self, way: Way) {
        for sent in &mut self.sent {
            sent.by_way[way.index()] = None;
        }
    }

    /// When [`Self::poll_transmit`] may have something new without any other event.
    pub fn next_deadline(&self, open: OpenWays) -> Option<Moment> {
        open.primary()?;
        self.sent
            .iter()
            .flat_map(|sent| {
                Way::ALL
                    .into_iter()
                    .filter(|way| open.contains(*way))
                    .map(|way| sent.next_by(way))
            })
            .min()
    }

    /// Is everything acknowledged?
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty() && self.sent.is_empty()
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        Fill {
            octets: self.sent_octets + self.draft_octets,
            sent: self.sent.len(),
            drafts: self.drafts.len(),
            merged: self.merged,
        }
    }

    fn poll_repeat(&mut self, open: OpenWays, primary: Way, now: Moment) -> Option<Transmission> {
        for sent in &mut self.sent {
            let ways = [primary]
                .into_iter()
                .chain(Way::ALL.into_iter().filter(|way| *way != primary));
            for way in ways.filter(|way| open.contains(*way)) {
                let fresh_stream = way == primary && sent.by_way == [None, None];
                if fresh_stream || sent.next_by(way) <= now {
                    sent.by_way[way.index()] = Some(now);
                    return Some(Transmission {
                        way,
                        report: aged(&sent.report, sent.ended_at, now),
                        repeated: true,
                    });
                }
            }
        }
        None
    }

    fn poll_draft(&mut self, primary: Way, now: Moment) -> Option<Transmission> {
        // A failure of now is not told after an hour of history: behind a backlog the newest urgent draft goes first.
        let jumps = self.drafts.len() > BACKLOG && self.drafts.back().is_some_and(|d| d.urgent);
        let room = if jumps { MAX_SENT } else { MAX_SENT - RESERVED };
        if self.sent.len() >= room {
            return None;
        }
        let draft = if jumps {
            self.drafts.pop_back()?
        } else {
            self.drafts.pop_front()?
        };
        let sequence = ReportSequence(self.next_sequence);
        self.next_sequence += 1;
        let octets = draft.octets();
        self.draft_octets -= octets;
        self.sent_octets += octets;
        let report = draft.encode(self.incarnation, sequence, self.merged);
        let mut by_way = [None; 2];
        by_way[primary.index()] = Some(now);
        let transmission = Transmission {
            way: primary,
            report: aged(&report, draft.ended_at, now),
            repeated: false,
        };
        self.sent.push_back(Sent {
            report,
            ended_at: draft.ended_at,
            urgent: draft.urgent,
            octets,
            windows: draft.windows(),
            first_sent_at: now,
            by_way,
        });
        Some(transmission)
    }

    /// Merges the two neighbours that together cover the shortest time, the oldest of such pairs. `false`: there are
    /// none, or the window would be longer than a report can be; then a day costs one more report.
    fn merge_neighbours(&mut self) -> bool {
        let length = |i: usize| {
            self.drafts[i]
                .window
                .merge(self.drafts[i + 1].window)
                .length_millis
        };
        let Some(first) = (0..self.drafts.len().saturating_sub(1))
            .min_by_key(|i| length(*i))
            .filter(|i| length(*i) <= MAX_WINDOW_MILLIS)
        else {
            return false;
        };
        let (Some(later), Some(earlier)) =
            (self.drafts.remove(first + 1), self.drafts.remove(first))
        else {
            return false;
        };
        self.draft_octets -= earlier.octets() + later.octets();
        let merged = earlier.merge(later);
        self.draft_octets += merged.octets();
        self.drafts.insert(first, merged);
        self.merged += 1;
        true
    }
}

impl Sent {
    /// When to send it by this way (again), if the way is open.
    fn next_by(&self, way: Way) -> Moment {
        match self.by_way[way.index()] {
            Some(last) => last + AGAIN_AFTER,
            None if self.urgent => self.first_sent_at,
            None => self.first_sent_at + OTHER_WAY_AFTER,
        }
    }
}

fn aged(report: &v1::Report, ended_at: Moment, now: Moment) -> v1::Report {
    let age = now.saturating_since(ended_at).as_millis();
    v1::Report {
        age_millis: u32::try_from(age).unwrap_or(u32::MAX),
        ..report.clone()
    }
}

#[cfg(test)]
mod tests;
