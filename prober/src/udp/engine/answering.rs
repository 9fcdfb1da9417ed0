//! The probes of others.

use std::os::fd::AsFd as _;

use meshprobe_core::stamp::Timestamp;
use meshprobe_core::stamp::reflect::Refusal;
use meshprobe_core::time::Moment;

use super::{BATCHES_A_SLOT, Engine, stamp};
use crate::sys::ReceiveBatch;
use crate::udp::errors::is_pending_error;
use crate::udp::reply::{Manner, send_reply};
use crate::udp::responder::Request;

impl Engine {
    /// Answers what arrived at a responder socket.
    pub(super) fn answer(&mut self, i: usize, now: Moment, stamps_usable: bool) -> usize {
        let mut total = 0;
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
                match self
                    .responder
                    .handle(&request, || stamp(clock.unix_nanos()), &mut self.reply)
                {
                    Ok(answered) => {
                        self.heard.extend(answered.heard.map(|path| (path, now)));
                        let manner = Manner {
                            from: packet.facts.local,
                            dscp: answered.dscp,
                        };
                        let octets = &self.reply[..answered.octets];
                        let sent = send_reply(socket, octets, packet.source, manner);
                        self.shared.metrics.count_answer(sent.is_ok());
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
