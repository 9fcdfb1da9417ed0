//! The one thread that owns all UDP sockets and works in slots of 10 ms.
//!
//! A wake-up for each packet costs several times what the packet costs. So each slot has one wake-up: drain everything
//! that arrived, answer, judge, send everything that is due. What is measured does not suffer: T2 and T4 are the
//! kernel's receive stamps, T1 and T3 are read right before their send call and carry what the send path takes
//! ([`super::send_delay`]), and the responder's delay (up to a slot) is taken out of the round trip.
//!
//! While nothing arrives the thread sleeps until the next turn, and a packet that wakes it early waits for the end of
//! the slot with whatever follows it.
//!
//! | Part | What it does in a slot |
//! |---|---|
//! | `answering` | the probes of others |
//! | `collecting` | replies and ICMP errors, of the ports that wait for any |
//! | `sending` | what is due |
//! | `listening` | the probe to oneself |
//!
//! Owns: sockets, [`Sender`], [`Responder`], [`SelfProbe`]. Ends on [`Command::End`]. Blocks nobody: the book is locked
//! once a slot.

mod answering;
mod collecting;
mod listening;
mod sending;
mod troubles;

use std::convert::Infallible;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::time::Duration;

use meshprobe_core::detail::Detail;
use meshprobe_core::ids::Ssid;
use meshprobe_core::path::Family;
use meshprobe_core::stamp::{Keys, MAX_OCTETS, Timestamp, TimestampFormat};
use meshprobe_core::time::Moment;
use smallvec::SmallVec;
use tokio::sync::mpsc;

use self::troubles::Troubles;
use super::responder::Responder;
use super::self_probe::SelfProbe;
use super::send_delay::SendDelay;
use super::sender::Sender;
use super::slot::{next_slot, slot_of};
use super::sockets::AddressSockets;
use crate::book::Sample;
use crate::clock::{Clock, ClockSteps};
use crate::health::STALL;
use crate::mailbox::{Command, MailboxReader};
use crate::path_id::PathId;
use crate::plan::Plan;
use crate::shared::Shared;
use crate::sys::{self, ReceiveBatch};
use crate::trace::trigger::is_wanted;

/// The longest sleep, so that a stall of the thread is noticed even when nothing is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Batches of one socket in one slot: 200,000 packets a second. A flood does not keep the thread from its probes.
const BATCHES_A_SLOT: usize = 64;

/// What the send path of one address takes, by role: the two have different code in front of the call.
#[derive(Clone, Debug, Default)]
struct Delays {
    probes: SendDelay,
    replies: SendDelay,
}

/// The thread's state.
pub struct Engine {
    clock: Clock,
    steps: ClockSteps,
    sockets: Vec<AddressSockets>,
    /// Which of the addresses probes leave from: the first one of each family.
    probing: SmallVec<[usize; 2]>,
    /// Packets that each responder socket has dropped in its life, as far as it has told.
    responders_dropped: Vec<u32>,
    /// What the send path of each address takes.
    delays: Vec<Delays>,
    sender: Sender,
    responder: Responder,
    self_probe: SelfProbe,
    /// Bound on loopback; `None`: there is no such address.
    own: Option<UdpSocket>,
    ssid: Option<Ssid>,
    keys: Option<Keys>,
    mailbox: MailboxReader,
    shared: Shared,
    /// Dropped when probing has stopped and nothing is under way.
    running: Option<mpsc::Sender<Infallible>>,
    stopping: bool,
    batch: ReceiveBatch,
    /// The reply that is being written.
    reply: Box<[u8]>,
    samples: Vec<Sample>,
    missed: Vec<(PathId, u32)>,
    heard: Vec<(PathId, Moment)>,
    troubles: Troubles,
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
        let first_of = |family| sockets.iter().position(|own| own.family == family);
        Self {
            clock,
            steps,
            probing: [Family::V4, Family::V6]
                .into_iter()
                .filter_map(first_of)
                .collect(),
            responders_dropped: vec![0; sockets.len()],
            delays: vec![Delays::default(); sockets.len()],
            sockets,
            sender: Sender::new(origin_unix_nanos),
            responder,
            self_probe: SelfProbe::default(),
            own: listening::bind(),
            ssid: None,
            keys: None,
            mailbox,
            shared,
            running: Some(running),
            stopping: false,
            batch: ReceiveBatch::new(),
            reply: vec![0; MAX_OCTETS].into(),
            samples: Vec::new(),
            missed: Vec::new(),
            heard: Vec::new(),
            troubles: Troubles::default(),
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
        let due = match &self.own {
            Some(_) => due.min(self.self_probe.next_deadline()),
            None => due,
        };
        let wake = slot_of(due).clamp(slot_end, slot_of(now + LONGEST_SLEEP));
        let mut descriptors: SmallVec<[_; 24]> = smallvec::smallvec![self.mailbox.as_fd()];
        descriptors.extend(self.sockets.iter().map(|own| own.responder.as_fd()));
        for i in &self.probing {
            let own = &self.sockets[*i];
            let waits = |flow| self.sender.pending_from(own.family, flow) > 0;
            descriptors.extend(own.senders.descriptors(waits));
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
        self.troubles.max_lateness = self.troubles.max_lateness.max(late);
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
        for place in 0..self.probing.len() {
            let i = self.probing[place];
            self.sockets[i].senders.rotate(now);
            packets += self.collect(i, errors_pending, now, epoch);
        }
        self.listen(now);
        while let Some(sample) = self.sender.poll_expired(now) {
            self.samples.push(sample);
        }
        self.record(now);
        let sent = self.send_due(reading, epoch);
        self.speak(now);
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
        self.sender.set_names(&plan.names);
        self.responder.set_plan(plan);
        self.ssid = plan.ssid;
        self.keys.clone_from(&plan.keys);
    }

    /// Folds the slot into the book and lets what changed begin or end close watches.
    fn record(&mut self, now: Moment) {
        if self.samples.is_empty()
            && self.heard.is_empty()
            && self.missed.is_empty()
            && !self.troubles.matter()
        {
            return;
        }
        let mut urgent = false;
        {
            let mut book = self.shared.book.lock();
            self.sender.set_window(book.window_began());
            for (path, at) in self.heard.drain(..) {
                book.record_received(path, at);
            }
            for (path, turns) in self.missed.drain(..) {
                book.record_missed(path, turns, now);
            }
            let dropped = self.troubles.dropped;
            self.shared.metrics.socket_overflows.inc_by(dropped.into());
            self.troubles.tell(book.health_mut(), now);
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
                let mut wants_trace = is_wanted(recorded.layer.kind, recorded.transition);
                if let Some(detail) = self.sender.take_detail(sample.path) {
                    wants_trace |= has_dead_flows(&detail);
                    book.record_detail(sample.path, detail);
                }
                self.shared.follow_up(&recorded);
                if wants_trace {
                    let port = self.sender.dead_port(sample.path);
                    self.shared.want_trace(sample.path, port);
                }
            }
            urgent |= book.next_flush().is_some();
        }
        if urgent {
            self.shared.wake_reporter();
        }
    }
}

/// Do some of a path's flows lose everything while others live? How often that is traced, the tracer limits.
fn has_dead_flows(detail: &Detail) -> bool {
    let Detail::Udp(udp) = detail else {
        return false;
    };
    let flows = udp.flows.as_ref();
    flows.is_some_and(|flows| (1..flows.tested).contains(&flows.failing))
}

fn stamp(unix_nanos: i64) -> Timestamp {
    Timestamp::from_unix_nanos(unix_nanos, TimestampFormat::Ntp)
}
