//! The probes of others.

use std::net::UdpSocket;
use std::os::fd::AsFd as _;

use meshprobe_core::stamp::Timestamp;
use meshprobe_core::stamp::reflect::Refusal;
use meshprobe_core::time::Moment;

use super::{BATCHES_A_SLOT, Engine, stamp};
use crate::sys::{self, Queued, ReceiveBatch};
use crate::udp::errors::is_pending_error;
use crate::udp::reply::{Manner, send_reply};
use crate::udp::responder::Request;
use crate::udp::send_delay::SendDelay;

/// Entries of a responder's error queue that are looked at after a packet that was to be stamped.
const STAMPS_A_TURN: usize = 8;

impl Engine {
    /// Answers what arrived at a responder socket.
    pub(super) fn answer(&mut self, i: usize, now: Moment, stamps_usable: bool) -> usize {
        let mut total = 0;
        if self.delays[i].replies.is_awaiting() {
            // A stamp that did not come with its packet: once more, and no longer.
            let delay = &mut self.delays[i].replies;
            take_stamps(&self.sockets[i].responder, delay);
            if delay.is_awaiting() {
                delay.handle_missing();
            }
        }
        for _ in 0..BATCHES_A_SLOT {
            let socket = &self.sockets[i].responder;
            let received = match self.batch.receive(socket.as_fd()) {
                Ok(received) => received,
                // An ICMP error for a reply: the asker has gone. Nothing is lost but that reply.
                Err(error) if is_pending_error(&error) => continue,
                Err(_) => break,
            };
            total += received;
            for number in 0..received {
                let Some(packet) = self.batch.packet(number) else {
                    continue;
                };
                if packet.truncated {
                    self.shared.metrics.refuse(Refusal::TooLong);
                    continue;
                }
                if let Some(dropped) = packet.facts.overflow {
                    let before = std::mem::replace(&mut self.responders_dropped[i], dropped);
                    let dropped = dropped.wrapping_sub(before);
                    self.troubles.dropped = self.troubles.dropped.saturating_add(dropped);
                }
                let received_at = match packet.facts.unix_nanos {
                    // The clock was stepped in this slot: the stamp and T3 may lie on two sides of the step.
                    _ if !stamps_usable => Timestamp::UNSET,
                    Some(unix_nanos) => stamp(unix_nanos),
                    None => {
                        self.shared.metrics.stamps_missing.inc();
                        stamp(self.clock.unix_nanos())
                    }
                };
                let request = Request {
                    source: packet.source,
                    octets: packet.octets,
                    received_at,
                    ttl: packet.facts.ttl,
                    traffic_class: packet.facts.traffic_class,
                    now,
                };
                let clock = self.clock;
                let mut sent_unix_nanos = 0;
                let forecast = self.delays[i].replies.nanos();
                let leaves_at = || {
                    sent_unix_nanos = clock.unix_nanos();
                    stamp(sent_unix_nanos + forecast)
                };
                match self.responder.handle(&request, leaves_at, &mut self.reply) {
                    Ok(answered) => {
                        self.heard.extend(answered.heard.map(|path| (path, now)));
                        let stamped = self.delays[i].replies.wants_stamp();
                        let manner = Manner {
                            from: packet.facts.local,
                            dscp: answered.dscp,
                            stamped,
                        };
                        let octets = &self.reply[..answered.octets];
                        let sent = send_reply(socket, octets, packet.source, manner);
                        self.shared.metrics.count_answer(sent.is_ok());
                        if stamped && sent.is_ok() {
                            let delay = &mut self.delays[i].replies;
                            delay.handle_sent(sent_unix_nanos);
                            take_stamps(socket, delay);
                        }
                    }
                    Err(refusal) => self.shared.metrics.refuse(refusal),
                }
            }
            if received < ReceiveBatch::capacity() {
                break;
            }
        }
        total
    }
}

/// Takes what is in the queue of a responder's socket: stamps. Errors for replies say nothing that is counted.
fn take_stamps(socket: &UdpSocket, delay: &mut SendDelay) {
    for _ in 0..STAMPS_A_TURN {
        match sys::receive_queue(socket.as_fd()) {
            Ok(Some(Queued::Departed(at))) => delay.handle_departed(at),
            Ok(Some(Queued::Error(_) | Queued::Unknown)) => {}
            Ok(None) | Err(_) => break,
        }
    }
}
