//! What the tasks tell the engine thread: a short queue and a wake-up that `ppoll` sees.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use meshprobe_core::ids::TargetNumber;
use parking_lot::Mutex;

use crate::plan::Plan;

/// More than one prober has peers to confirm at a time, and the plan; beyond that the oldest confirmation is worth
/// nothing any more.
const DEPTH: usize = 4096;

/// A word to the engine.
#[derive(Clone, Debug)]
pub enum Command {
    /// Another plan is in force.
    Plan(Arc<Plan>),
    /// Probe this target now.
    Confirm(TargetNumber),
    /// No more turns; go on answering.
    StopProbing,
    /// End the thread.
    End,
}

#[derive(Debug)]
struct Inner {
    queue: Mutex<VecDeque<Command>>,
    /// Is there a word in the queue? Changed under its lock only, and with it there is an
    /// octet in the pipe; read without the lock once a slot.
    filled: AtomicBool,
    wake_tx: UnixStream,
}

/// The tasks' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    inner: Arc<Inner>,
}

/// The engine's end.
#[derive(Debug)]
pub struct MailboxReader {
    inner: Arc<Inner>,
    wake_rx: UnixStream,
}

/// Makes the two ends.
pub fn mailbox() -> io::Result<(Mailbox, MailboxReader)> {
    let (wake_tx, wake_rx) = UnixStream::pair()?;
    wake_tx.set_nonblocking(true)?;
    wake_rx.set_nonblocking(true)?;
    let inner = Arc::new(Inner {
        queue: Mutex::new(VecDeque::new()),
        filled: AtomicBool::new(false),
        wake_tx,
    });
    let reader = MailboxReader {
        inner: Arc::clone(&inner),
        wake_rx,
    };
    Ok((Mailbox { inner }, reader))
}

impl Mailbox {
    /// Tells the engine. Never blocks.
    pub fn send(&self, command: Command) {
        let mut queue = self.inner.queue.lock();
        if queue.len() >= DEPTH
            && let Some(oldest) = queue.iter().position(|c| matches!(c, Command::Confirm(_)))
        {
            queue.remove(oldest);
        }
        queue.push_back(command);
        if !self.inner.filled.swap(true, Ordering::Relaxed) {
            // A full pipe has a wake-up in it already, and a reader that is gone needs none.
            (&self.inner.wake_tx).write_all(&[1]).ok();
        }
    }
}

impl MailboxReader {
    /// What was said since the last call, the next word first.
    pub fn receive(&mut self) -> VecDeque<Command> {
        // A word that is missed here is about to wake the reader by the pipe.
        if !self.inner.filled.load(Ordering::Relaxed) {
            return VecDeque::new();
        }
        let mut queue = self.inner.queue.lock();
        let mut octets = [0; 16];
        // Empties the pipe; how much is in it does not matter.
        while matches!((&self.wake_rx).read(&mut octets), Ok(read) if read == octets.len()) {}
        self.inner.filled.store(false, Ordering::Relaxed);
        std::mem::take(&mut *queue)
    }
}

impl AsFd for MailboxReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake_rx.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::wait_readable;

    #[test]
    fn a_word_wakes_the_reader_once() {
        let (mailbox, mut reader) = mailbox().unwrap();
        let wait =
            |reader: &MailboxReader| wait_readable(&[reader.as_fd()], Duration::ZERO).unwrap();
        assert!(!wait(&reader));
        mailbox.send(Command::Confirm(TargetNumber(1)));
        mailbox.send(Command::StopProbing);
        assert!(wait(&reader));
        assert_eq!(reader.receive().len(), 2);
        assert!(!wait(&reader));
        assert!(reader.receive().is_empty());
    }

    #[test]
    fn a_flood_of_confirmations_does_not_grow_the_queue_or_lose_the_end() {
        let (mailbox, mut reader) = mailbox().unwrap();
        mailbox.send(Command::StopProbing);
        for number in 0..10_000 {
            mailbox.send(Command::Confirm(TargetNumber(number)));
        }
        mailbox.send(Command::End);
        let words = reader.receive();
        assert!(words.len() <= DEPTH);
        assert!(matches!(words.front(), Some(Command::StopProbing)));
        assert!(matches!(words.back(), Some(Command::End)));
    }
}
