//! The one thread that owns all UDP sockets and works in slots of 10 ms.
//!
//! A wake-up for each packet costs several times what the packet costs. So each slot has one wake-up: drain everything
//! that arrived, answer, judge, send everything that is due. What is measured does not suffer: T2 and T4 are the
//! kernel's receive stamps, T1 and T3 are read right before their send call, and the responder's delay (up to a slot)
//! is taken out of the round trip.
//!
//! While nothing arrives the thread sleeps until the next turn, and a packet that wakes it early waits for the end of
//! the slot with whatever follows it.
//!
//! Owns: sockets, [`Sender`], [`Responder`]. Ends on [`Command::End`]. Blocks nobody: the book is locked once a slot.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use meshprobe_core::ids::Ssid;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::stamp::reflect::Refusal;
use meshprobe_core::stamp::{
    AUTHENTICATED_OCTETS, ErrorEstimate, Keys, ReflectorPacket, SenderPacket, Sequence, Timestamp,
    TimestampFormat,
};
use meshprobe_core::time::Moment;
use tokio::sync::mpsc;
use tracing::warn;

use super::errors::{icmp_outcome, is_pending_error, send_outcome, send_to};
use super::reply::send_reply;
use super::responder::{Request, Responder};
use super::sender::{Arrival, Departure, Failure, Heard, Probe, Sender};
use super::slot::{next_slot, slot_of};
use super::sockets::AddressSockets;
use crate::book::Sample;
use crate::clock::{Clock, ClockSteps, Reading};
use crate::health::STALL;
use crate::mailbox::{Command, MailboxReader};
use crate::path_id::PathId;
use crate::plan::Plan;
use crate::shared::Shared;
use crate::sys::{self, PACKET_OCTETS, ReceiveBatch};

/// The longest sleep, so that a stall of the thread is noticed even when nothing is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A send call that takes longer was preempted: T1 is not when the packet left.
const PREEMPTED: Duration = Duration::from_micros(200);

/// Batches of one socket in one slot: 200,000 packets a second. A flood does not keep the thread from its probes.
const BATCHES_A_SLOT: usize = 64;

/// Errors of one socket in one slot.
const ERRORS_A_SLOT: usize = 4096;

/// The thread's state.
pub struct Engine {
    clock: Clock,
    steps: ClockSteps,
    sockets: Vec<AddressSockets>,
    overflows: Vec<[u32; 2]>,
    sender: Sender,
    responder: Responder,
    ssid: Option<Ssid>,
    keys: Option<Keys>,
    mailbox: MailboxReader,
    shared: Shared,
    /// Dropped when probing has stopped and nothing is under way.
    running: Option<mpsc::Sender<Infallible>>,
    stopping: bool,
    batch: ReceiveBatch,
    samples: Vec<Sample>,
    missed: Vec<(PathId, u32)>,
    heard: Vec<(PathId, Moment)>,
    max_lateness: Duration,
    dropped: u32,
    /// A send call told of an error that is still in a queue. A receive call that does so is followed up at once.
    errors_pending: bool,
    ended: bool,
}

impl Engine {
    /// Prepares the thread; [`Self::run`] is its body.
    pub fn new(
        shared: Shared,
        mailbox: MailboxReader,
        sockets: Vec<AddressSockets>,
        responder: Responder,
        running: mpsc::Sender<Infallible>,
    ) -> Self {
        let clock = shared.clock;
        let reading = clock.read();
        let origin_unix_nanos = reading.unix_nanos - reading.now.as_nanos() as i64;
        let mut steps = ClockSteps::default();
        steps.observe(reading);
        Self {
            clock,
            steps,
            overflows: vec![[0; 2]; sockets.len()],
            sockets,
            sender: Sender::new(origin_unix_nanos),
            responder,
            ssid: None,
            keys: None,
            mailbox,
            shared,
            running: Some(running),
            stopping: false,
            batch: ReceiveBatch::new(),
            samples: Vec::new(),
            missed: Vec::new(),
            heard: Vec::new(),
            max_lateness: Duration::ZERO,
            dropped: 0,
            errors_pending: false,
            ended: false,
        }
    }

    /// Works until [`Command::End`].
    pub fn run(mut self) -> io::Result<()> {
        let mut busy = false;
        while !self.ended {
            let wanted = self.sleep(busy)?;
            busy = self.slot(wanted);
        }
        Ok(())
    }

    /// Sleeps until there is something to do; returns when it wanted to wake up at the latest.
    fn sleep(&self, busy: bool) -> io::Result<Moment> {
        let now = self.clock.now();
        let slot_end = next_slot(now);
        if busy {
            std::thread::sleep(slot_end.saturating_since(now));
            return Ok(slot_end);
        }
        let due = self.sender.next_deadline().unwrap_or(now + LONGEST_SLEEP);
        let wake = slot_of(due).clamp(slot_end, slot_of(now + LONGEST_SLEEP));
        let mut descriptors: smallvec::SmallVec<[_; 8]> = smallvec::smallvec![self.mailbox.as_fd()];
        for sockets in &self.sockets {
            descriptors.push(sockets.sender.as_fd());
            descriptors.push(sockets.responder.as_fd());
        }
        if !sys::wait_readable(&descriptors, wake.saturating_since(now))? {
            return Ok(wake);
        }
        let now = self.clock.now();
        let slot_end = next_slot(now);
        std::thread::sleep(slot_end.saturating_since(now));
        // A packet that is seen only after the time for which the thread had set its alarm: it was not scheduled.
        Ok(slot_end.min(wake))
    }

    /// One slot. `true`: packets move, so the next slot needs no look at the sockets first.
    fn slot(&mut self, wanted: Moment) -> bool {
        let reading = self.clock.read();
        let now = reading.now;
        let epoch_before = self.steps.epoch();
        let epoch = self.steps.observe(reading);
        let stamps_usable = epoch == epoch_before;
        let late = now.saturating_since(wanted);
        self.max_lateness = self.max_lateness.max(late);
        if late > STALL {
            self.sender.handle_stall(wanted, now);
            self.shared.metrics.engine_stalls.inc();
        }
        let commands = self.mailbox.receive();
        for command in commands {
            self.handle_command(command, now);
        }
        let mut packets = 0;
        for i in 0..self.sockets.len() {
            packets += self.answer(i, now, stamps_usable);
        }
        let errors_pending = std::mem::take(&mut self.errors_pending);
        for i in 0..self.sockets.len() {
            if errors_pending {
                self.drain_errors(i);
            }
            packets += self.collect(i, now, epoch);
        }
        while let Some(sample) = self.sender.poll_expired(now) {
            self.samples.push(sample);
        }
        self.record(now);
        let sent = self.send_due(reading, epoch);
        if self.stopping && self.samples.is_empty() && self.sender.pending_count() == 0 {
            self.running = None;
        }
        packets + sent > 0 || !self.samples.is_empty()
    }

    fn handle_command(&mut self, command: Command, now: Moment) {
        match command {
            Command::Plan(plan) => self.set_plan(&plan, now),
            Command::Confirm(target) => self.sender.confirm(target, now),
            Command::StopProbing => {
                self.sender.stop();
                self.stopping = true;
            }
            Command::End => self.ended = true,
        }
    }

    fn set_plan(&mut self, plan: &Plan, now: Moment) {
        self.sender.set_targets(&plan.udp, now);
        self.responder.set_plan(plan);
        self.ssid = plan.ssid;
        self.keys.clone_from(&plan.keys);
    }

    /// Answers what arrived at a responder socket.
    fn answer(&mut self, i: usize, now: Moment, stamps_usable: bool) -> usize {
        let mut total = 0;
        let mut buffer = [0_u8; PACKET_OCTETS];
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
                let dropped = overflow(packet.facts.overflow, &mut self.overflows[i][1]);
                self.dropped = self.dropped.saturating_add(dropped);
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
                    now,
                };
                let clock = self.clock;
                match self
                    .responder
                    .handle(&request, || stamp(clock.unix_nanos()), &mut buffer)
                {
                    Ok(answered) => {
                        self.heard.extend(answered.heard.map(|path| (path, now)));
                        let octets = &buffer[..answered.octets];
                        let sent = send_reply(socket, octets, packet.source, packet.facts.local);
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

    /// Takes ICMP errors out of a sender socket's queue and gives each to its probe.
    fn drain_errors(&mut self, i: usize) {
        for _ in 0..ERRORS_A_SLOT {
            let Ok(Some(error)) = sys::receive_error(self.sockets[i].sender.as_fd()) else {
                break;
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

    /// Takes replies out of a sender socket.
    fn collect(&mut self, i: usize, now: Moment, epoch: u32) -> usize {
        let mut total = 0;
        for _ in 0..BATCHES_A_SLOT {
            let socket = &self.sockets[i].sender;
            let received = match self.batch.receive(socket.as_fd()) {
                Ok(received) => received,
                // An error that came after the queue was drained: it is in the queue as well.
                Err(error) if is_pending_error(&error) => {
                    self.drain_errors(i);
                    continue;
                }
                Err(_) => break,
            };
            total += received;
            for number in 0..received {
                let Some(packet) = self.batch.packet(number) else {
                    continue;
                };
                let dropped = overflow(packet.facts.overflow, &mut self.overflows[i][0]);
                self.dropped = self.dropped.saturating_add(dropped);
                let parsed = match &self.keys {
                    Some(keys) => ReflectorPacket::parse_authenticated(packet.octets, keys)
                        .map(|(reply, _)| reply),
                    None => ReflectorPacket::parse_unauthenticated(packet.octets),
                };
                let Ok(reply) = parsed else {
                    self.shared.metrics.replies_malformed.inc();
                    continue;
                };
                let unix_nanos = packet.facts.unix_nanos.unwrap_or_else(|| {
                    self.shared.metrics.stamps_missing.inc();
                    self.clock.unix_nanos()
                });
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

    /// Folds the slot into the book and lets what changed begin or end close watches.
    fn record(&mut self, now: Moment) {
        let ill = self.max_lateness > STALL || self.dropped > 0;
        if self.samples.is_empty() && self.heard.is_empty() && self.missed.is_empty() && !ill {
            return;
        }
        let mut urgent = false;
        {
            let mut book = self.shared.book.lock();
            for (path, at) in self.heard.drain(..) {
                book.record_received(path, at);
            }
            for (path, turns) in self.missed.drain(..) {
                book.record_missed(path, turns, now);
            }
            let lateness = std::mem::take(&mut self.max_lateness);
            book.health_mut().handle_lateness(lateness, now);
            if self.dropped > 0 {
                let dropped = std::mem::take(&mut self.dropped);
                book.health_mut().handle_dropped(dropped, now);
                self.shared.metrics.socket_overflows.inc_by(dropped.into());
            }
            for sample in self.samples.drain(..) {
                let Some(recorded) = book.record(&sample, now) else {
                    continue;
                };
                self.shared.metrics.count(recorded.layer, &sample.outcome);
                self.sender.handle_transition(
                    sample.path,
                    recorded.transition,
                    recorded.first_loss_at,
                    now,
                );
                self.shared.follow_up(&recorded);
            }
            urgent |= book.next_flush().is_some();
        }
        if urgent {
            self.shared.wake_reporter();
        }
    }

    /// Sends everything that is due.
    fn send_due(&mut self, slot: Reading, epoch: u32) -> usize {
        let Some(ssid) = self.ssid else { return 0 };
        let now = slot.now;
        let mut sent = 0;
        // One reading of the clock is the end of a send call and T1 of the next one.
        let mut unix_nanos = slot.unix_nanos;
        while let Some(probe) = self.sender.poll_probe(now) {
            // What is due inside a slot is sent at its end; that is no lateness.
            let lateness = now.saturating_since(slot_of(probe.due));
            self.max_lateness = self.max_lateness.max(lateness);
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
        let family = meshprobe_core::path::Family::of(probe.destination.ip());
        let Some(sockets) = self.sockets.iter().find(|sockets| sockets.family == family) else {
            self.fail(
                probe,
                Outcome::SendFailed {
                    errno: libc::EAFNOSUPPORT,
                },
            );
            return unix_nanos;
        };
        let mut buffer = [0_u8; AUTHENTICATED_OCTETS];
        let packet = SenderPacket {
            sequence: probe.sequence,
            timestamp: stamp(unix_nanos),
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: Some(ssid),
        };
        let encoded = match &self.keys {
            Some(keys) => packet.encode_authenticated(&keys.current, &mut buffer),
            None => packet.encode_unauthenticated(&mut buffer),
        };
        let octets = match encoded {
            Ok(octets) => &buffer[..octets],
            Err(error) => {
                // The buffer is as long as the longer of the two packets.
                warn!(%error, "Cannot encode a probe");
                return unix_nanos;
            }
        };
        let result = send_to(sockets, octets, probe.destination, &mut self.errors_pending);
        let after = self.clock.unix_nanos();
        if let Err(error) = result {
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
            unix_nanos,
            at,
            epoch,
            preempted,
        };
        self.samples
            .extend(self.sender.handle_sent(probe, departure));
        after
    }

    fn fail(&mut self, probe: &Probe, outcome: Outcome) {
        self.samples
            .push(Sample::new(probe.path, outcome, self.clock.now()));
    }
}

/// How many packets a socket has dropped since its last word about that.
fn overflow(total: Option<u32>, known: &mut u32) -> u32 {
    let Some(total) = total else { return 0 };
    total.wrapping_sub(std::mem::replace(known, total))
}

fn stamp(unix_nanos: i64) -> Timestamp {
    Timestamp::from_unix_nanos(unix_nanos, TimestampFormat::Ntp)
}
