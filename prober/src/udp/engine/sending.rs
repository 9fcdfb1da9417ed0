//! The probes that are due.

use std::time::Duration;

use meshprobe_core::ids::Ssid;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::path::Family;
use meshprobe_core::stamp::{AUTHENTICATED_OCTETS, ErrorEstimate, SenderPacket};
use tracing::warn;

use super::{Engine, stamp};
use crate::book::Sample;
use crate::clock::Reading;
use crate::udp::class_of_service;
use crate::udp::errors::{is_full, send_outcome, send_to};
use crate::udp::sender::{Departure, Probe};
use crate::udp::slot::slot_of;

/// A send call that takes longer was preempted: T1 is not when the packet left.
const PREEMPTED: Duration = Duration::from_micros(200);

impl Engine {
    /// Sends everything that is due.
    pub(super) fn send_due(&mut self, slot: Reading, epoch: u32) -> usize {
        let Some(ssid) = self.ssid else { return 0 };
        let now = slot.now;
        let mut sent = 0;
        // One reading of the clock is the end of a send call and T1 of the next one.
        let mut unix_nanos = slot.unix_nanos;
        while let Some(probe) = self.sender.poll_probe(now) {
            // What is due inside a slot is sent at its end; that is no lateness.
            let lateness = now.saturating_since(slot_of(probe.due));
            self.troubles.max_lateness = self.troubles.max_lateness.max(lateness);
            if probe.missed > 0 {
                self.missed.push((probe.path, probe.missed));
            }
            if probe.extra {
                self.shared.metrics.probes_extra.inc();
            }
            if sent == 0 {
                unix_nanos = self.clock.unix_nanos();
            }
            unix_nanos = self.send(&probe, ssid, epoch, unix_nanos, slot);
            sent += 1;
        }
        sent
    }

    /// Sends one probe at `unix_nanos`; returns when it had been sent.
    fn send(
        &mut self,
        probe: &Probe,
        ssid: Ssid,
        epoch: u32,
        unix_nanos: i64,
        slot: Reading,
    ) -> i64 {
        let family = Family::of(probe.destination.ip());
        let mut addresses = self.probing.iter().copied();
        let Some(address) = addresses.find(|i| self.sockets[*i].family == family) else {
            let errno = libc::EAFNOSUPPORT;
            self.fail(probe, Outcome::SendFailed { errno });
            return unix_nanos;
        };
        let own = self.sockets[address].senders.of(probe.flow);
        let delay = &mut self.delays[address].probes;
        let stamped = delay.wants_stamp();
        let leaves_unix_nanos = unix_nanos + delay.nanos();
        let mut buffer = [0_u8; AUTHENTICATED_OCTETS + class_of_service::OCTETS];
        let packet = SenderPacket {
            sequence: probe.sequence,
            timestamp: stamp(leaves_unix_nanos),
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: Some(ssid),
        };
        let encoded = match &self.keys {
            Some(keys) => packet.encode_authenticated(&keys.current, &mut buffer),
            None => packet.encode_unauthenticated(&mut buffer),
        };
        let base = match encoded {
            Ok(octets) => octets,
            Err(error) => {
                // The buffer is as long as the longer of the two packets.
                warn!(%error, "Cannot encode a probe");
                return unix_nanos;
            }
        };
        let question = if class_of_service::asks(probe.sequence) {
            let keys = self.keys.as_ref();
            // The buffer has room for it; a probe without the question is as good a probe.
            class_of_service::write(&mut buffer[base..], keys, probe.sequence).unwrap_or(0)
        } else {
            0
        };
        let octets = &buffer[..base + question];
        let errors_pending = &mut self.errors_pending;
        let to = probe.destination;
        let result = send_to(own.socket(), octets, to, stamped, errors_pending);
        let port = own.port();
        let after = self.clock.unix_nanos();
        if let Err(error) = result {
            self.troubles.refused_sends += u32::from(is_full(&error));
            self.fail(probe, send_outcome(&error));
            return after;
        }
        // Too long, or the clock went back.
        let preempted = !(0..=PREEMPTED.as_nanos() as i64).contains(&(after - unix_nanos));
        let at = if preempted {
            self.shared.metrics.sends_preempted.inc();
            self.clock.now()
        } else {
            let since_slot = u64::try_from(after - slot.unix_nanos).unwrap_or(0);
            slot.now + Duration::from_nanos(since_slot)
        };
        let departure = Departure {
            stamp: packet.timestamp,
            unix_nanos: leaves_unix_nanos,
            at,
            epoch,
            preempted,
            port,
        };
        self.samples
            .extend(self.sender.handle_sent(probe, departure));
        if !stamped {
            return after;
        }
        self.delays[address].probes.handle_sent(unix_nanos);
        self.drain_errors(address, probe.flow.index());
        self.clock.unix_nanos()
    }

    fn fail(&mut self, probe: &Probe, outcome: Outcome) {
        self.samples
            .push(Sample::new(probe.path, outcome, self.clock.now()));
    }
}
