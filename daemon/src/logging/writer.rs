//! Writing log lines from a thread of its own.
//!
//! Standard error is often a pipe, and whoever reads it may stop for a while. A daemon that
//! measures time must not stop with it, so a line is only queued by the task that logs, and written
//! by this thread. The queue is bounded: lines that do not fit are dropped, counted, and the loss
//! is written into the log itself as soon as the reader is back.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

use super::LogFormat;

/// A burst of a few hundred lines is normal at a start or in a large outage; beyond that, the
/// newest lines say the same as the ones before.
const QUEUE_DEPTH: usize = 1024;

/// How much is handed to the kernel at once.
const BATCH_BYTES: usize = 64 << 10;

/// Hands lines to the thread. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LineQueue {
    messages_tx: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

impl LineQueue {
    /// Starts the thread, which writes to `output` and ends with the last clone of the queue.
    pub(super) fn start(
        output: impl Write + Send + 'static,
        format: LogFormat,
    ) -> io::Result<Self> {
        let (messages_tx, messages_rx) = mpsc::sync_channel(QUEUE_DEPTH);
        let dropped = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&dropped);
        let writer = LineWriter {
            output,
            format,
            dropped: told,
            dropped_told: 0,
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run(&messages_rx))?;
        Ok(Self {
            messages_tx,
            dropped,
        })
    }

    /// Lines that were lost because nobody read standard error.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything queued so far is written, but no longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let (written_tx, written_rx) = mpsc::sync_channel(1);
        if self
            .messages_tx
            .try_send(Message::Flush(written_tx))
            .is_ok()
        {
            written_rx.recv_timeout(patience).ok();
        }
    }
}

impl Write for LineQueue {
    /// Takes one whole line, as the formatter hands it over. Never blocks and never fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self
            .messages_tx
            .try_send(Message::Line(line.to_vec()))
            .is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'writer> MakeWriter<'writer> for LineQueue {
    type Writer = Self;

    fn make_writer(&'writer self) -> Self::Writer {
        self.clone()
    }
}

struct LineWriter<W> {
    output: W,
    format: LogFormat,
    dropped: Arc<AtomicU64>,
    dropped_told: u64,
}

impl<W: Write> LineWriter<W> {
    fn run(mut self, messages_rx: &Receiver<Message>) {
        let mut batch = Vec::new();
        while let Ok(first) = messages_rx.recv() {
            let mut written = None;
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Line(line) => batch.extend_from_slice(&line),
                    Message::Flush(written_tx) => {
                        written = Some(written_tx);
                        break;
                    }
                }
                if batch.len() < BATCH_BYTES {
                    next = messages_rx.try_recv().ok();
                }
            }
            if self.output.write_all(&batch).is_err() {
                // Told in the log when standard error works again, and in the metric until then.
                let lines = batch
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .fold(0, |lines, _| lines + 1);
                self.dropped.fetch_add(lines, Ordering::Relaxed);
            }
            batch.clear();
            self.tell_dropped();
            self.output.flush().ok();
            if let Some(written_tx) = written {
                written_tx.try_send(()).ok();
            }
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let new = dropped - self.dropped_told;
        if new == 0 {
            return;
        }
        self.dropped_told = dropped;
        let told = match self.format {
            LogFormat::Text => writeln!(
                self.output,
                "WARN meshprobe_daemon::logging: Log lines lost, nobody read them in time lines={new}"
            ),
            LogFormat::Json => writeln!(
                self.output,
                r#"{{"level":"WARN","message":"Log lines lost, nobody read them in time","lines":{new}}}"#
            ),
        };
        told.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Standard error with a reader that takes the next piece only when it is let.
    struct SlowReader {
        permits_rx: Receiver<()>,
        taken_tx: SyncSender<Vec<u8>>,
    }

    impl Write for SlowReader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // A test that has ended lets everything through.
            self.permits_rx.recv().ok();
            self.taken_tx.send(bytes.to_vec()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow(format: LogFormat) -> (LineQueue, SyncSender<()>, Receiver<Vec<u8>>) {
        let (permits_tx, permits_rx) = mpsc::sync_channel(4096);
        let (taken_tx, taken_rx) = mpsc::sync_channel(4096);
        let queue = LineQueue::start(
            SlowReader {
                permits_rx,
                taken_tx,
            },
            format,
        )
        .unwrap();
        (queue, permits_tx, taken_rx)
    }

    fn write(queue: &mut LineQueue, line: &str) {
        queue.write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn lines_arrive_in_order_and_a_flush_waits_for_them() {
        let (mut queue, permits_tx, taken_rx) = slow(LogFormat::Text);
        for _ in 0..100 {
            permits_tx.send(()).unwrap();
        }
        for number in 0..50 {
            write(&mut queue, &format!("{number}\n"));
        }
        queue.flush(PATIENCE);
        let taken: Vec<u8> = taken_rx.try_iter().flatten().collect();
        let taken = String::from_utf8(taken).unwrap();
        let expected: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        assert_eq!(taken.lines().collect::<Vec<_>>(), expected);
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn a_reader_that_stops_does_not_stop_the_process_and_the_loss_is_told() {
        for (format, told) in [
            (
                LogFormat::Text,
                "Log lines lost, nobody read them in time lines=",
            ),
            (
                LogFormat::Json,
                r#""message":"Log lines lost, nobody read them in time","lines":"#,
            ),
        ] {
            let (mut queue, permits_tx, taken_rx) = slow(format);
            // Nobody reads: this would hang for ever if writing waited. A batch and a queue are held, and no more.
            let line = "a line\n";
            for _ in 0..=BATCH_BYTES / line.len() + 1 + QUEUE_DEPTH {
                write(&mut queue, line);
            }
            assert!(queue.dropped() > 0);
            queue.flush(Duration::from_millis(1));
            drop(permits_tx);
            let mut text = String::new();
            while !text.contains(told) {
                text += std::str::from_utf8(&taken_rx.recv_timeout(PATIENCE).unwrap()).unwrap();
            }
        }
    }

    #[test]
    fn the_thread_ends_with_the_queue() {
        struct Output {
            _held: SyncSender<()>,
        }
        impl Write for Output {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (ended_tx, ended_rx) = mpsc::sync_channel(1);
        drop(LineQueue::start(Output { _held: ended_tx }, LogFormat::Text).unwrap());
        let ended = ended_rx.recv_timeout(PATIENCE);
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
