//! What STAMP sees of a path beside loss and time: order, doubles, hops.
//!
//! Counted for the open window of the book. A healthy path has nothing to tell, and a report pays for each detail; so one
//! is made only when there is something new.

use std::time::Duration;

use meshprobe_core::detail::{FlowLoss, UdpDetail};
use meshprobe_core::ids::Ssid;
use meshprobe_core::rtt::RttCode;
use meshprobe_core::time::Moment;

/// The DSCP with which probes leave: best effort, as most of what applications send.
const SENT_DSCP: u8 = 0;

/// The window's counts of one path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight {
    /// When the window began that the counts belong to.
    window: Moment,
    reordered: u32,
    duplicated: u32,
    rtt_min: RttCode,
    rtt_max: RttCode,
    ttl: Option<u8>,
    ttl_changed: bool,
    /// What probes arrived with that left with [`SENT_DSCP`]; `None`: that, or nobody said.
    dscp_changed_to: Option<u8>,
    /// Who answered instead of the peer, as it names itself.
    answered_by: Option<Ssid>,
    /// There is something to tell.
    is_news: bool,
}

impl Sight {
    /// Begins a window, unless it is the one that is open already.
    #[inline]
    pub fn begin(&mut self, window: Moment) {
        if self.window != window {
            *self = Self {
                window,
                ttl: self.ttl,
                dscp_changed_to: self.dscp_changed_to,
                ..Self::default()
            };
        }
    }

    /// A reply was measured.
    #[inline]
    pub fn handle_rtt(&mut self, code: RttCode) {
        self.rtt_min = if self.rtt_min.is_none() {
            code
        } else {
            self.rtt_min.min(code)
        };
        self.rtt_max = self.rtt_max.max(code);
    }

    /// A reply was overtaken by a later one.
    pub fn handle_reordered(&mut self) {
        self.reordered = self.reordered.saturating_add(1);
        self.is_news = true;
    }

    /// A reply came once more.
    pub fn handle_duplicate(&mut self) {
        self.duplicated = self.duplicated.saturating_add(1);
        self.is_news = true;
    }

    /// The peer told with which TTL a probe arrived.
    #[inline]
    pub fn handle_ttl(&mut self, ttl: Option<u8>) {
        if ttl.is_none() || ttl == self.ttl {
            return;
        }
        self.ttl_changed |= self.ttl.is_some();
        self.ttl = ttl;
        self.is_news = true;
    }

    /// The peer told with which DSCP a probe arrived.
    #[inline]
    pub fn handle_dscp(&mut self, dscp: Option<u8>) {
        let Some(dscp) = dscp else { return };
        let changed_to = (dscp != SENT_DSCP).then_some(dscp);
        if changed_to != self.dscp_changed_to {
            self.dscp_changed_to = changed_to;
            self.is_news = true;
        }
    }

    /// Somebody else answered instead of the peer. Told anew in each window: what is old tells nobody who answers now.
    pub fn handle_other(&mut self, named: Option<Ssid>) {
        self.is_news |= named != self.answered_by;
        self.answered_by = named;
    }

    /// Who answered instead of the peer in this window, as it named itself last.
    pub const fn answered_by(&self) -> Option<Ssid> {
        self.answered_by
    }

    /// Something else changed.
    pub fn handle_news(&mut self) {
        self.is_news = true;
    }

    /// Is there something to tell? Asking makes it old.
    #[inline]
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// What a report says.
    pub fn detail(&self, flows: Option<FlowLoss>) -> UdpDetail {
        let spread = |(min, max): (_, _)| Duration::saturating_sub(max, min);
        UdpDetail {
            reordered: self.reordered,
            duplicated: self.duplicated,
            ttl: self.ttl,
            ttl_changed: self.ttl_changed,
            dscp_changed_to: self.dscp_changed_to,
            delay_variation: self
                .rtt_min
                .rtt()
                .zip(self.rtt_max.rtt())
                .map(|(min, max)| (min.as_duration(), max.as_duration()))
                .map_or(Duration::ZERO, spread),
            flows,
            answered_by: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::rtt::Rtt;

    use super::*;

    #[test]
    fn a_healthy_path_tells_its_hops_once_and_then_nothing() {
        let mut sight = Sight::default();
        let mut told = 0;
        for window in 0..5 {
            sight.begin(Moment::from_millis(window * 1_000));
            for micros in [300, 500, 400] {
                sight.handle_rtt(Rtt::from_nanos(micros * 1_000).code());
                sight.handle_ttl(Some(63));
            }
            told += u32::from(sight.take_news());
        }
        assert_eq!(told, 1);
        let detail = sight.detail(None);
        assert_eq!((detail.ttl, detail.ttl_changed), (Some(63), false));
        let variation = detail.delay_variation.as_micros();
        assert!((180..=220).contains(&variation), "{variation}");
    }

    #[test]
    fn a_code_point_that_somebody_changes_is_told_once_and_its_end_too() {
        let mut sight = Sight::default();
        let mut told = Vec::new();
        for (window, dscp) in [Some(0), Some(46), None, Some(46), Some(0)]
            .into_iter()
            .enumerate()
        {
            sight.begin(Moment::from_millis(window as u64 * 1_000));
            sight.handle_dscp(dscp);
            if sight.take_news() {
                told.push(sight.detail(None).dscp_changed_to);
            }
        }
        assert_eq!(told, [Some(46), None]);
    }

    #[test]
    fn another_route_doubles_and_overtaking_are_news_of_their_window() {
        let mut sight = Sight::default();
        sight.handle_ttl(Some(63));
        sight.take_news();
        sight.begin(Moment::from_millis(1_000));
        sight.handle_ttl(Some(62));
        sight.handle_duplicate();
        sight.handle_reordered();
        assert!(sight.take_news());
        let detail = sight.detail(None);
        assert!(detail.ttl_changed);
        assert_eq!((detail.reordered, detail.duplicated), (1, 1));
        sight.begin(Moment::from_millis(2_000));
        let detail = sight.detail(None);
        assert_eq!((detail.ttl_changed, detail.reordered), (false, 0));
    }
}
