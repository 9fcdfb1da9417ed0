//! Waiting for a child while passing signals on: what `outside` and `init` do all their life.
//!
//! A signal from the terminal reaches every process of the foreground group by itself, so only signals that somebody sent to
//! `outside` alone are passed on. They travel as bytes through a pipe to `init`, whose end of file says that `outside` died.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// `si_code` of a signal that the kernel made, such as Ctrl-C in a terminal.
const FROM_KERNEL: i32 = 0x80;

const RELAYED: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// Signals of this process as a descriptor.
pub(super) struct Relay {
    signals: SignalFd,
}

/// Why waiting is over.
pub(super) enum End {
    /// The child ended with this exit code, 128 + signal if one ended it.
    Exited(i32),
    /// The process at the other end of the lifeline is gone.
    Orphaned,
}

impl Relay {
    /// Blocks the signals and collects them; before the child is started, so that none is lost.
    ///
    /// The next stage inherits the mask; the program proper gets rid of it by [`stop_blocking`].
    pub(super) fn new() -> nix::Result<Self> {
        let mask = mask();
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals })
    }

    /// Waits for `child`; signals sent to this process are written to `lifeline`.
    pub(super) fn wait_outside(&self, child: Pid, lifeline: &OwnedFd) -> nix::Result<i32> {
        loop {
            if let Some(code) = reap(child)? {
                return Ok(code);
            }
            poll_retrying(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)])?;
            while let Some(info) = self.signals.read_signal()? {
                if info.ssi_signo != Signal::SIGCHLD as u32 && info.ssi_code != FROM_KERNEL {
                    // A broken pipe: the child has just ended, and the next turn reaps it.
                    match nix::unistd::write(lifeline, &[info.ssi_signo as u8]) {
                        Ok(_) | Err(Errno::EPIPE) => {}
                        Err(errno) => return Err(errno),
                    }
                }
            }
        }
    }

    /// Waits for `child`, reaping orphans; signals arrive through `lifeline`.
    pub(super) fn wait_as_init(&self, child: Pid, lifeline: &mut std::fs::File) -> io::Result<End> {
        loop {
            if let Some(code) = reap(child)? {
                return Ok(End::Exited(code));
            }
            let (mut has_signal, mut has_message) = (false, false);
            {
                let mut fds = [
                    PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                    PollFd::new(lifeline.as_fd(), PollFlags::POLLIN),
                ];
                poll_retrying(&mut fds)?;
                has_signal |= fds[0].any().unwrap_or(true);
                has_message |= fds[1].any().unwrap_or(true);
            }
            if has_signal {
                // Only SIGCHLD matters here; the others come through the lifeline.
                while self.signals.read_signal()?.is_some() {}
            }
            if has_message {
                let mut byte = [0_u8; 1];
                if lifeline.read(&mut byte)? == 0 {
                    return Ok(End::Orphaned);
                }
                if let Ok(signal) = Signal::try_from(i32::from(byte[0])) {
                    match kill(child, signal) {
                        Ok(()) | Err(Errno::ESRCH) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
            }
        }
    }
}

fn mask() -> SigSet {
    let mut mask: SigSet = RELAYED.into_iter().collect();
    mask.add(Signal::SIGCHLD);
    mask
}

/// Undoes for this process, and for those that it starts, what the stages before blocked. Signals that waited arrive now.
pub(super) fn stop_blocking() -> nix::Result<()> {
    mask().thread_unblock()
}

fn poll_retrying(fds: &mut [PollFd<'_>]) -> nix::Result<()> {
    match poll(fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Takes the exit codes of all children that have ended; the one of `child` if it is among them.
fn reap(child: Pid) -> nix::Result<Option<i32>> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return Ok(code),
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                code = Some(128 + signal as i32);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) if code.is_some() => return Ok(code),
            Err(errno) => return Err(errno),
        }
    }
}
