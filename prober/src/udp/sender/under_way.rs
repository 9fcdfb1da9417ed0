//! How many probes are under way, and from which ports: a port without any needs no look.

use std::net::SocketAddr;

use meshprobe_core::path::Family;
use meshprobe_core::time::Moment;

use crate::flights::Flight;
use crate::udp::flow::{FLOWS, Flow};

/// A port's place: by family and flow.
type ByPort<T> = [[T; FLOWS as usize]; 2];

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay {
    total: usize,
    by_port: ByPort<u32>,
    /// When each port was last seen to have dropped packets for want of room.
    overflowed: ByPort<Option<Moment>>,
}

impl UnderWay {
    pub(super) const fn total(&self) -> usize {
        self.total
    }

    /// From one port of a family.
    pub(super) const fn from(&self, family: Family, flow: Flow) -> u32 {
        self.by_port[family.index()][flow.index()]
    }

    pub(super) fn begin(&mut self, to: SocketAddr, flight: &Flight) {
        self.total += 1;
        self.by_port[Family::of(to.ip()).index()][flight.flow.index()] += 1;
    }

    /// Of a probe that began.
    pub(super) fn end(&mut self, to: SocketAddr, flight: &Flight) {
        self.total -= 1;
        self.by_port[Family::of(to.ip()).index()][flight.flow.index()] -= 1;
    }

    pub(super) fn handle_overflow(&mut self, family: Family, flow: Flow, now: Moment) {
        self.overflowed[family.index()][flow.index()] = Some(now);
    }

    /// May the answer have come and been dropped at the own socket?
    pub(super) fn may_be_dropped(&self, to: SocketAddr, flight: &Flight) -> bool {
        let overflowed = self.overflowed[Family::of(to.ip()).index()][flight.flow.index()];
        overflowed.is_some_and(|at| flight.sent_at <= at)
    }
}
