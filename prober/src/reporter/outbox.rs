//! The open streams, and what each of them has been told.

use meshprobe_core::ids::Incarnation;
use meshprobe_proto::v1;
use tokio::sync::mpsc;

use crate::assignment::force::Position;
use crate::spool::{OpenWays, Way};

/// Messages that wait in one stream: a burst of urgent reports while HTTP/2 waits for its window.
pub const STREAM_DEPTH: usize = 64;

/// A report may need a dictionary before it, and the goodbye must find room.
const RESERVE: usize = 3;

#[derive(Debug)]
struct Stream {
    messages_tx: mpsc::Sender<v1::ProberMessage>,
    dictionary_told: usize,
    assignments: u32,
}

/// At most one stream for each way.
#[derive(Debug)]
pub struct Outbox {
    incarnation: Incarnation,
    streams: [Option<Stream>; 2],
}

impl Outbox {
    /// No streams.
    pub fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            streams: [None, None],
        }
    }

    /// A stream is open; its Hello is sent.
    pub fn open(&mut self, way: Way, messages_tx: mpsc::Sender<v1::ProberMessage>) {
        self.streams[way as usize] = Some(Stream {
            messages_tx,
            dictionary_told: 0,
            assignments: 0,
        });
    }

    /// A stream is gone.
    pub fn close(&mut self, way: Way) {
        self.streams[way as usize] = None;
    }

    /// Ends all streams from this side.
    pub fn close_all(&mut self) {
        self.streams = [None, None];
    }

    /// Is any stream open?
    pub fn is_connected(&self) -> bool {
        self.streams.iter().any(Option::is_some)
    }

    /// The ways that take a report now.
    pub fn open_ways(&self) -> OpenWays {
        let mut open = OpenWays::default();
        for way in Way::ALL {
            let room = self.streams[way as usize]
                .as_ref()
                .is_some_and(|stream| stream.messages_tx.capacity() > RESERVE);
            open.set(way, room);
        }
        open
    }

    /// Where an assignment is that came by this way.
    pub fn count_assignment(&mut self, way: Way) -> Position {
        match &mut self.streams[way as usize] {
            Some(stream) => {
                stream.assignments += 1;
                if stream.assignments == 1 {
                    Position::First
                } else {
                    Position::Later
                }
            }
            None => Position::Later,
        }
    }

    /// Sends a report, and before it what the stream does not know of the dictionary. `false`: the stream is gone.
    pub fn send_report(
        &mut self,
        way: Way,
        report: v1::Report,
        dictionary: &[v1::DictionaryEntry],
    ) -> bool {
        let incarnation = self.incarnation;
        let Some(stream) = &mut self.streams[way as usize] else {
            return false;
        };
        stream.tell_dictionary(incarnation, dictionary)
            && stream.send(v1::prober_message::Message::Report(report))
    }

    /// Sends a trace by every way that has room, as [`Self::send_report`] does. `false`: none has.
    pub fn send_trace(&mut self, trace: &v1::Trace, dictionary: &[v1::DictionaryEntry]) -> bool {
        let incarnation = self.incarnation;
        let open = self.streams.iter_mut().flatten();
        open.filter(|stream| stream.messages_tx.capacity() > RESERVE)
            .fold(false, |sent, stream| {
                let message = v1::prober_message::Message::Trace(trace.clone());
                let told = stream.tell_dictionary(incarnation, dictionary);
                (told && stream.send(message)) || sent
            })
    }

    /// Sends host facts by one way.
    pub fn send_facts(&self, way: Way, facts: v1::HostFacts) {
        if let Some(stream) = &self.streams[way as usize] {
            stream.send(v1::prober_message::Message::HostFacts(facts));
        }
    }

    /// Answers a demand. A stream that is gone has nobody who waits for it.
    pub fn send_probe_result(&self, way: Way, result: v1::ProbeResult) {
        if let Some(stream) = &self.streams[way as usize] {
            stream.send(v1::prober_message::Message::ProbeResult(result));
        }
    }

    /// Says goodbye by every way.
    pub fn say_goodbye(&self, goodbye: &v1::Goodbye) {
        for stream in self.streams.iter().flatten() {
            stream.send(v1::prober_message::Message::Goodbye(goodbye.clone()));
        }
    }
}

impl Stream {
    /// Sends what the stream does not know of the dictionary. `false`: it could not be sent.
    fn tell_dictionary(
        &mut self,
        incarnation: Incarnation,
        dictionary: &[v1::DictionaryEntry],
    ) -> bool {
        if self.dictionary_told >= dictionary.len() {
            return true;
        }
        let told = v1::Dictionary {
            incarnation: incarnation.0,
            entries: dictionary[self.dictionary_told..].to_vec(),
        };
        let sent = self.send(v1::prober_message::Message::Dictionary(told));
        if sent {
            self.dictionary_told = dictionary.len();
        }
        sent
    }

    /// `false`: the stream is gone or full; its end will be noticed, and the spool has what it did not take.
    fn send(&self, message: v1::prober_message::Message) -> bool {
        let message = v1::ProberMessage {
            message: Some(message),
        };
        self.messages_tx.try_send(message).is_ok()
    }
}
