//! Replies and ICMP errors.
//!
//! A path visits eight ports by turns, and answers come within a slot or two. So only those ports are looked at that wait
//! for an answer; the others have a look now and then, for what comes late or uninvited.

use std::os::fd::AsFd as _;
use std::time::Duration;

use meshprobe_core::path::Family;
use meshprobe_core::stamp::reflector::TTL_UNKNOWN;
use meshprobe_core::stamp::{
    AUTHENTICATED_OCTETS, ReflectorPacket, Sequence, UNAUTHENTICATED_OCTETS,
};
use meshprobe_core::time::Moment;

use super::{BATCHES_A_SLOT, Engine};
use crate::sys::{self, Queued, ReceiveBatch};
use crate::udp::class_of_service;
use crate::udp::errors::{icmp_outcome, is_pending_error};
use crate::udp::sender::{Arrival, Failure, Heard};

/// Errors of one socket in one slot.
const ERRORS_A_SLOT: usize = 4096;

/// A port that waits for nothing is looked at again after this time: an answer that is late is still remembered then.
const IDLE_LOOK: Duration = Duration::from_millis(150);

impl Engine {
    /// Takes what has come to the probing sockets of an address.
    pub(super) fn collect(
        &mut self,
        i: usize,
        errors_pending: bool,
        now: Moment,
        epoch: u32,
    ) -> usize {
        let family = self.sockets[i].family;
        // A stamp that did not come with its packet: once more, and no longer.
        let stamp_pending = self.delays[i].probes.is_awaiting();
        let mut total = 0;
        for place in 0..self.sockets[i].senders.count() {
            let senders = &mut self.sockets[i].senders;
            let is_replaced = senders.is_replaced(place);
            let Some((flow, own)) = senders.at(place) else {
                break;
            };
            let waits = is_replaced || self.sender.pending_from(family, flow) > 0;
            let is_due = waits || now.saturating_since(own.looked_at) >= IDLE_LOOK;
            if is_due {
                own.looked_at = now;
            }
            if errors_pending || stamp_pending {
                self.drain_errors(i, place);
            }
            if is_due {
                total += self.receive(i, place, family, now, epoch);
            }
        }
        if stamp_pending && self.delays[i].probes.is_awaiting() {
            self.delays[i].probes.handle_missing();
        }
        total
    }

    /// Takes ICMP errors out of a socket's queue and gives each to its probe, and transmit stamps.
    pub(super) fn drain_errors(&mut self, i: usize, place: usize) {
        let Some((_, own)) = self.sockets[i].senders.at(place) else {
            return;
        };
        for _ in 0..ERRORS_A_SLOT {
            let error = match sys::receive_queue(own.socket().as_fd()) {
                Ok(Some(Queued::Error(error))) => error,
                Ok(Some(Queued::Departed(at))) => {
                    self.delays[i].probes.handle_departed(at);
                    continue;
                }
                Ok(Some(Queued::Unknown)) => continue,
                Ok(None) | Err(_) => break,
            };
            let quoted = &error.quoted[..error.quoted_length.min(error.quoted.len())];
            let failure = Failure {
                destination: error.destination,
                sequence: quoted
                    .first_chunk::<4>()
                    .map(|octets| Sequence(u32::from_be_bytes(*octets))),
                outcome: icmp_outcome(error.errno, error.info),
            };
            self.samples.extend(self.sender.handle_failure(&failure));
        }
    }

    /// Takes replies out of a socket.
    fn receive(
        &mut self,
        i: usize,
        place: usize,
        family: Family,
        now: Moment,
        epoch: u32,
    ) -> usize {
        let mut total = 0;
        for _ in 0..BATCHES_A_SLOT {
            let Some((flow, own)) = self.sockets[i].senders.at(place) else {
                break;
            };
            let received = match self.batch.receive(own.socket().as_fd()) {
                Ok(received) => received,
                // An error that came after the queue was drained: it is in the queue as well.
                Err(error) if is_pending_error(&error) => {
                    self.drain_errors(i, place);
                    continue;
                }
                Err(_) => break,
            };
            total += received;
            for number in 0..received {
                let Some(packet) = self.batch.packet(number) else {
                    continue;
                };
                let dropped = own.handle_dropped(packet.facts.overflow);
                if dropped > 0 {
                    self.troubles.dropped = self.troubles.dropped.saturating_add(dropped);
                    self.sender.handle_overflow(family, flow, now);
                }
                let parsed = match &self.keys {
                    Some(keys) => ReflectorPacket::parse_authenticated(packet.octets, keys)
                        .map(|(reply, signed_with)| (reply, keys.key(signed_with))),
                    None => {
                        ReflectorPacket::parse_unauthenticated(packet.octets).map(|r| (r, None))
                    }
                };
                let Ok((reply, key)) = parsed else {
                    self.shared.metrics.replies_malformed.inc();
                    continue;
                };
                let unix_nanos = packet.facts.unix_nanos.unwrap_or_else(|| {
                    self.shared.metrics.stamps_missing.inc();
                    self.clock.unix_nanos()
                });
                let base = match &self.keys {
                    Some(_) => AUTHENTICATED_OCTETS,
                    None => UNAUTHENTICATED_OCTETS,
                };
                let extensions = packet.octets.get(base..).filter(|rest| !rest.is_empty());
                let arrival = Arrival {
                    source: packet.source,
                    sequence: reply.sender_sequence,
                    stamp: reply.sender_timestamp,
                    turnaround_nanos: (!reply.receive_timestamp.is_unset())
                        .then(|| reply.turnaround_nanos())
                        .flatten(),
                    unix_nanos,
                    now,
                    epoch,
                    ttl: (reply.sender_ttl != TTL_UNKNOWN).then_some(reply.sender_ttl),
                    dscp: extensions.and_then(|extensions| {
                        class_of_service::read(extensions, key.map(|key| (key, reply.sequence)))
                    }),
                    number: Some(reply.sequence),
                    // Other implementations return the asker's identifier.
                    responder: reply.ssid.filter(|ssid| Some(*ssid) != self.ssid),
                };
                match self.sender.handle_arrival(&arrival) {
                    Heard::Sample { sample, reordered } => {
                        self.samples.push(sample);
                        if reordered {
                            self.shared.metrics.replies_reordered.inc();
                        }
                    }
                    Heard::Duplicate => {
                        self.shared.metrics.replies_duplicate.inc();
                    }
                    Heard::Unknown => {
                        self.shared.metrics.replies_unknown.inc();
                    }
                }
            }
            if received < ReceiveBatch::capacity() {
                break;
            }
        }
        total
    }
}
