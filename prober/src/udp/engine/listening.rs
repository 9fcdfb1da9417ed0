//! The probe to oneself (see [`SelfProbe`](crate::udp::self_probe::SelfProbe)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use meshprobe_core::time::Moment;
use tracing::debug;

use super::Engine;
use crate::udp::sockets::bind_loopback;

/// Its number, and when it was sent, nanoseconds since the Unix epoch.
const OCTETS: usize = 12;

/// A socket that talks to itself; `None` where there is no loopback.
pub(super) fn bind() -> Option<UdpSocket> {
    let loopbacks = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    let bound = loopbacks.into_iter().find_map(|ip| bind_loopback(ip).ok());
    if bound.is_none() {
        debug!("No loopback address to probe oneself on");
    }
    bound
}

impl Engine {
    /// Takes the probes to oneself that came back, and tells the sender whether this machine hears.
    pub(super) fn listen(&mut self, now: Moment) {
        let Some(own) = &self.own else { return };
        if self.self_probe.is_under_way() {
            let received = self.batch.receive(own.as_fd()).unwrap_or(0);
            for number in 0..received {
                let packet = self.batch.packet(number);
                if let Some((number, delay)) = packet.and_then(|packet| {
                    let octets: &[u8; OCTETS] = packet.octets.first_chunk()?;
                    let (number, sent) = octets.split_first_chunk::<4>()?;
                    let sent = i64::from_be_bytes(*sent.first_chunk::<8>()?);
                    let arrived = packet.facts.unix_nanos?;
                    // A step of the clock back is no delay, and one forward is one for a second.
                    let delay = u64::try_from(arrived - sent).unwrap_or(0);
                    Some((u32::from_be_bytes(*number), Duration::from_nanos(delay)))
                }) {
                    self.self_probe.handle_heard(number, delay);
                    self.sender.set_slow(self.self_probe.is_slow());
                }
            }
        }
        if self.self_probe.poll_missed(now) {
            self.troubles.loopback_lost += 1;
            self.shared.metrics.self_probes_missed.inc();
        }
        if let Some(since) = self.self_probe.blind_since() {
            self.sender.handle_blind(since, now);
        }
    }

    /// Sends the next probe to oneself, if it is time.
    pub(super) fn speak(&mut self, now: Moment) {
        let Some(own) = &self.own else { return };
        let Some(number) = self.self_probe.poll(now) else {
            return;
        };
        let mut octets = [0; OCTETS];
        octets[..4].copy_from_slice(&number.to_be_bytes());
        octets[4..].copy_from_slice(&self.clock.unix_nanos().to_be_bytes());
        if own.send(&octets).is_err() {
            self.self_probe.handle_unsent();
        }
    }
}
