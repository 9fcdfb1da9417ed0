//! What the mesh task keeps of one prober while it is connected, and for a while after.

use std::time::Duration;

use meshprobe_core::ids::{Incarnation, NodeIndex};
use meshprobe_core::path::Plane;
use meshprobe_core::time::Moment;
use meshprobe_proto::v1;
use tokio::sync::{mpsc, watch};

use super::refusal::Refusal;
use super::sequence::SequenceSet;
use crate::matrix::Dictionary;
use crate::membership::{Announcement, NodeAddress, Progress, WayHome};

/// Streams of one prober: two ways home, each once more while it reconnects.
const MAX_STREAMS: usize = 4;
/// Confirms that wait for a stream; a prober that is further behind will not help to confirm anything.
pub(crate) const CONFIRM_QUEUE: usize = 16;
/// Probes on demand that wait for a stream; more at once are not made by one prober either.
const RUN_QUEUE: usize = 8;
/// A prober that was heard this lately and still has a stream is alive: another process with its name and other
/// addresses is not its successor. Longer than a report interval, or an idle prober would look dead.
const ALIVE_WITHIN: Duration = Duration::from_secs(15);

/// A prober: one node in one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ProberKey {
    pub(crate) node: NodeIndex,
    pub(crate) plane: Plane,
}

/// A stream, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamId(pub(crate) u64);

/// The mesh task's end of a stream. Dropping it ends the stream.
#[derive(Debug)]
pub(crate) struct StreamEnd {
    pub(crate) id: StreamId,
    pub(crate) way: Option<WayHome>,
    pub(crate) confirms: mpsc::Sender<v1::Confirm>,
    pub(crate) runs: mpsc::Sender<v1::RunProbe>,
}

/// What a stream gets when it is admitted.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) prober: ProberKey,
    /// Ends when the stream has to end.
    pub(crate) confirms: mpsc::Receiver<v1::Confirm>,
    /// Probes to make on demand.
    pub(crate) runs: mpsc::Receiver<v1::RunProbe>,
    /// What is stored.
    pub(crate) acks: watch::Receiver<v1::Ack>,
}

/// One start of one prober.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) incarnation: Incarnation,
    addresses: Vec<NodeAddress>,
    pub(crate) sequence: SequenceSet,
    /// Reports that were taken.
    pub(crate) taken: u64,
    pub(crate) dictionary: Dictionary,
    pub(crate) streams: Vec<StreamEnd>,
    heard_at: Moment,
    /// End of the newest window that was applied.
    pub(crate) newest_end: Option<Moment>,
    said_goodbye: bool,
    acks: watch::Sender<v1::Ack>,
    /// Refused reports since the last line in the log, and when that was.
    quiet_refusals: (u64, Option<Moment>),
}

impl Session {
    /// The first stream of a start.
    pub(crate) fn new(hello: &Announcement, stored: Option<&Progress>, now: Moment) -> Self {
        let same_start = stored.filter(|progress| progress.incarnation == hello.incarnation.0);
        let sequence = same_start.map_or_else(SequenceSet::default, |progress| {
            SequenceSet::resume(progress.through)
        });
        let ack = v1::Ack {
            incarnation: hello.incarnation.0,
            sequence: sequence.through(),
        };
        Self {
            incarnation: hello.incarnation,
            addresses: hello.addresses.clone(),
            sequence,
            taken: same_start.map_or(0, |progress| progress.taken),
            dictionary: Dictionary::default(),
            streams: Vec::new(),
            heard_at: now,
            newest_end: None,
            said_goodbye: false,
            acks: watch::Sender::new(ack),
            quiet_refusals: (0, None),
        }
    }

    /// May this caller be this prober, or its successor?
    pub(crate) fn check(&self, hello: &Announcement, now: Moment) -> Result<Succession, Refusal> {
        if hello.incarnation < self.incarnation {
            return Err(Refusal::OlderIncarnation {
                sent: hello.incarnation.0,
                current: self.incarnation.0,
            });
        }
        let is_alive = !self.streams.is_empty()
            && !self.said_goodbye
            && now.saturating_since(self.heard_at) < ALIVE_WITHIN;
        if is_alive && hello.addresses != self.addresses {
            let addresses = self.addresses.clone();
            return Err(Refusal::Impostor { addresses });
        }
        if hello.incarnation == self.incarnation {
            return Ok(Succession::Same);
        }
        Ok(Succession::Successor)
    }

    /// Adds a stream. The streams that have to go to make room.
    pub(crate) fn open(
        &mut self,
        id: StreamId,
        hello: &Announcement,
        prober: ProberKey,
        now: Moment,
    ) -> (Admitted, Vec<StreamEnd>) {
        let (confirms_tx, confirms_rx) = mpsc::channel(CONFIRM_QUEUE);
        let (runs_tx, runs_rx) = mpsc::channel(RUN_QUEUE);
        self.streams.push(StreamEnd {
            id,
            way: hello.way,
            confirms: confirms_tx,
            runs: runs_tx,
        });
        self.said_goodbye = false;
        self.addresses.clone_from(&hello.addresses);
        self.heard_at = now;
        let surplus = self.streams.len().saturating_sub(MAX_STREAMS);
        let admitted = Admitted {
            prober,
            confirms: confirms_rx,
            runs: runs_rx,
            acks: self.acks.subscribe(),
        };
        (admitted, self.streams.drain(..surplus).collect())
    }

    /// Something came by this stream. `None`: the stream is not one of this start any more.
    pub(crate) fn hear(&mut self, stream: StreamId, now: Moment) -> Option<&StreamEnd> {
        let end = self.streams.iter().find(|end| end.id == stream)?;
        self.heard_at = now;
        Some(end)
    }

    /// It says that it is about to stop.
    pub(crate) fn say_goodbye(&mut self) {
        self.said_goodbye = true;
    }

    /// A stream ended. False: it was not counted any more.
    pub(crate) fn close(&mut self, stream: StreamId) -> bool {
        let before = self.streams.len();
        self.streams.retain(|end| end.id != stream);
        self.streams.len() < before
    }

    /// Everything up to `through` is stored.
    pub(crate) fn acknowledge(&self, through: u64) {
        self.acks.send_if_modified(|ack| {
            let is_news = through > ack.sequence;
            ack.sequence = ack.sequence.max(through);
            is_news
        });
    }

    /// A report was refused. How many were since the last line in the log, if it is time for another.
    pub(crate) fn count_refusal(&mut self, now: Moment) -> Option<u64> {
        const LOG_EVERY: Duration = Duration::from_secs(10);
        let (count, logged_at) = &mut self.quiet_refusals;
        *count += 1;
        if logged_at.is_some_and(|at| now.saturating_since(at) < LOG_EVERY) {
            return None;
        }
        *logged_at = Some(now);
        Some(std::mem::take(count))
    }
}

/// What a caller is to the prober that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// The same process, by another stream.
    Same,
    /// A later start.
    Successor,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use meshprobe_core::ids::NodeName;

    use super::*;

    fn hello(incarnation: u64, last: u8) -> Announcement {
        Announcement {
            node: NodeName::try_from("a").unwrap(),
            plane: Plane::Pod,
            incarnation: Incarnation(incarnation),
            version: String::new(),
            zone: String::new(),
            region: String::new(),
            labels: BTreeMap::new(),
            addresses: vec![NodeAddress {
                plane: Plane::Pod,
                ip: [10, 0, 0, last].into(),
                udp_port: 1,
                tcp_port: 1,
                quic_port: 0,
            }],
            way: None,
        }
    }

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn key() -> ProberKey {
        ProberKey {
            node: NodeIndex(0),
            plane: Plane::Pod,
        }
    }

    fn session() -> Session {
        let first = hello(10, 1);
        let mut session = Session::new(&first, None, at(0));
        session.open(StreamId(1), &first, key(), at(0));
        session
    }

    #[test]
    fn a_later_start_at_the_same_address_takes_over_and_an_older_one_does_not() {
        let session = session();
        assert_eq!(session.check(&hello(10, 1), at(1)), Ok(Succession::Same));
        assert_eq!(
            session.check(&hello(11, 1), at(1)),
            Ok(Succession::Successor)
        );
        let older = session.check(&hello(9, 1), at(1)).unwrap_err();
        assert_eq!(older.reason(), "older_incarnation");
    }

    #[test]
    fn another_process_with_the_same_name_is_refused_while_the_first_is_alive() {
        let mut session = session();
        let impostor = session.check(&hello(11, 2), at(14_999)).unwrap_err();
        assert_eq!(impostor.reason(), "impostor");
        assert!(impostor.to_string().contains("10.0.0.1"), "{impostor}");
        let silent = session.check(&hello(11, 2), at(15_000));
        assert_eq!(
            silent,
            Ok(Succession::Successor),
            "a silent one is replaced"
        );
        session.close(StreamId(1));
        assert_eq!(
            session.check(&hello(11, 2), at(1)),
            Ok(Succession::Successor)
        );
    }

    #[test]
    fn a_restart_after_a_goodbye_may_come_from_another_address() {
        let mut session = session();
        session.say_goodbye();
        assert_eq!(
            session.check(&hello(11, 2), at(1)),
            Ok(Succession::Successor)
        );
    }

    #[test]
    fn streams_are_bounded_and_the_oldest_goes() {
        let mut session = session();
        for id in 2..=4 {
            let (_, surplus) = session.open(StreamId(id), &hello(10, 1), key(), at(1));
            assert!(surplus.is_empty());
        }
        let (_, surplus) = session.open(StreamId(5), &hello(10, 1), key(), at(1));
        let ids: Vec<StreamId> = surplus.iter().map(|end| end.id).collect();
        assert_eq!(ids, [StreamId(1)]);
        assert!(session.hear(StreamId(1), at(2)).is_none());
    }

    #[test]
    fn acknowledgements_never_go_back() {
        let session = session();
        let acks = session.acks.subscribe();
        session.acknowledge(5);
        session.acknowledge(3);
        assert_eq!(acks.borrow().sequence, 5);
    }

    #[test]
    fn the_same_start_goes_on_where_the_store_says() {
        let stored = Progress {
            node: NodeName::try_from("a").unwrap(),
            plane: Plane::Pod,
            incarnation: 10,
            through: 41,
            taken: 40,
        };
        let same = Session::new(&hello(10, 1), Some(&stored), at(0));
        assert_eq!((same.sequence.through(), same.taken), (41, 40));
        let later = Session::new(&hello(11, 1), Some(&stored), at(0));
        assert_eq!((later.sequence.through(), later.taken), (0, 0));
    }
}
