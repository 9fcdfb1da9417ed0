//! Socket activation: sockets that were opened before the process and handed to it.
//!
//! The protocol is systemd's (`sd_listen_fds(3)`): descriptors from 3 on, `LISTEN_FDS` tells how many,
//! `LISTEN_PID` who they are for, `LISTEN_FDNAMES` their names separated by colons. It lets a process
//! serve an address that it cannot bind itself, such as one in another network namespace, and lets
//! connections wait while it restarts. From a shell, with a listening socket as standard input:
//!
//! ```sh
//! LISTEN_FDS=1 LISTEN_FDNAMES=grpc sh -c 'exec 3<&0 </dev/null; LISTEN_PID=$$ exec daemon'
//! ```
//!
//! The only module that turns numbers into file descriptors, and so the only one with unsafe code.

use std::{
    ffi::OsString,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use socket2::{SockRef, Type};

use super::{ListenError, listen_tcp, listen_udp};

/// The first inherited descriptor, after standard input, output and error.
const FIRST_FD: RawFd = 3;

/// More than any daemon of ours listens on; guards against a nonsense count.
const MAX_FDS: RawFd = 64;

/// What is wrong with the sockets that were handed over.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// A variable of the protocol cannot be understood.
    #[error("{variable}={value:?} is not {expected}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// There are not as many names as sockets.
    #[error("LISTEN_FDNAMES has {names} names for {fds} sockets")]
    Names {
        /// Names given.
        names: usize,
        /// Sockets given.
        fds: usize,
    },
    /// A descriptor is closed or not a socket.
    #[error("inherited descriptor {fd} ({name}): {source}")]
    Descriptor {
        /// Its number.
        fd: RawFd,
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The socket with the right name has the wrong type.
    #[error("inherited socket {name} is not a {expected}")]
    Kind {
        /// Its name.
        name: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// The sockets that were handed over and not claimed yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<InheritedSocket>,
}

#[derive(Debug)]
struct InheritedSocket {
    name: String,
    fd: OwnedFd,
}

impl Inherited {
    /// Takes over what the environment announces. Empty when nothing is announced, when it is meant
    /// for another process, and from the second call on.
    ///
    /// Call it first thing in `main`, before anything else opens a descriptor.
    pub fn from_env() -> Result<Self, InheritError> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Ok(Self::default());
        }
        announced(|name| std::env::var_os(name), std::process::id()).and_then(Self::adopt)
    }

    /// The names of what was handed over and nobody has claimed: worth a warning once all is bound.
    pub fn unclaimed(&self) -> Vec<&str> {
        self.sockets
            .iter()
            .map(|socket| socket.name.as_str())
            .collect()
    }

    /// The inherited TCP listener called `name`, or one bound to `addr` if there is none.
    pub fn tcp_or_bind(
        &mut self,
        name: &str,
        field: &str,
        addr: SocketAddr,
    ) -> Result<TcpListener, ListenError> {
        match self.tcp(name) {
            Ok(Some(listener)) => Ok(listener),
            Ok(None) => listen_tcp(field, addr),
            Err(source) => Err(ListenError::Inherit {
                field: field.to_owned(),
                source,
            }),
        }
    }

    /// The inherited UDP socket called `name`, or one bound to `addr` if there is none.
    pub fn udp_or_bind(
        &mut self,
        name: &str,
        field: &str,
        addr: SocketAddr,
    ) -> Result<UdpSocket, ListenError> {
        match self.udp(name) {
            Ok(Some(socket)) => Ok(socket),
            Ok(None) => listen_udp(field, addr),
            Err(source) => Err(ListenError::Inherit {
                field: field.to_owned(),
                source,
            }),
        }
    }

    /// Claims the TCP listener called `name`.
    pub fn tcp(&mut self, name: &str) -> Result<Option<TcpListener>, InheritError> {
        let is_listener =
            |socket: &SockRef<'_>| Ok(socket.r#type()? == Type::STREAM && socket.is_listener()?);
        self.claim(name, "listening TCP socket", is_listener)
            .map(|fd| fd.map(TcpListener::from))
    }

    /// Claims the UDP socket called `name`.
    pub fn udp(&mut self, name: &str) -> Result<Option<UdpSocket>, InheritError> {
        let is_datagram = |socket: &SockRef<'_>| Ok(socket.r#type()? == Type::DGRAM);
        self.claim(name, "UDP socket", is_datagram)
            .map(|fd| fd.map(UdpSocket::from))
    }

    fn claim(
        &mut self,
        name: &str,
        expected: &'static str,
        fits: impl Fn(&SockRef<'_>) -> io::Result<bool>,
    ) -> Result<Option<OwnedFd>, InheritError> {
        let Some(index) = self.sockets.iter().position(|socket| socket.name == name) else {
            return Ok(None);
        };
        let InheritedSocket { name, fd } = self.sockets.remove(index);
        let socket = SockRef::from(&fd);
        let prepared = fits(&socket).and_then(|fits| {
            // Whoever opened it may have wanted it to block; our runtime must not.
            socket.set_nonblocking(true)?;
            Ok(fits)
        });
        match prepared {
            Ok(true) => Ok(Some(fd)),
            Ok(false) => Err(InheritError::Kind { name, expected }),
            Err(source) => {
                use std::os::fd::AsRawFd as _;
                Err(InheritError::Descriptor {
                    fd: fd.as_raw_fd(),
                    name,
                    source,
                })
            }
        }
    }

    fn adopt(announced: Vec<(RawFd, String)>) -> Result<Self, InheritError> {
        let mut sockets = Vec::with_capacity(announced.len());
        for (fd, name) in announced {
            match adopt_fd(fd) {
                Ok(fd) => sockets.push(InheritedSocket { name, fd }),
                Err(source) => return Err(InheritError::Descriptor { fd, name, source }),
            }
        }
        Ok(Self { sockets })
    }
}

/// What the variables announce to the process `pid`: numbers and names.
fn announced(
    variable: impl Fn(&str) -> Option<OsString>,
    pid: u32,
) -> Result<Vec<(RawFd, String)>, InheritError> {
    let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
    let (Some(for_pid), Some(count)) = (text("LISTEN_PID"), text("LISTEN_FDS")) else {
        return Ok(Vec::new());
    };
    let bad = |variable, value: &str, expected| InheritError::Variable {
        variable,
        value: value.to_owned(),
        expected,
    };
    let for_pid: u32 = for_pid
        .parse()
        .map_err(|_| bad("LISTEN_PID", &for_pid, "a process id"))?;
    if for_pid != pid {
        return Ok(Vec::new());
    }
    let count = match count.parse::<RawFd>() {
        Ok(number @ 0..=MAX_FDS) => number as usize,
        _ => return Err(bad("LISTEN_FDS", &count, "a number from 0 to 64")),
    };
    let names: Vec<String> = match text("LISTEN_FDNAMES") {
        Some(names) if count > 0 => names.split(':').map(str::to_owned).collect(),
        _ => vec!["unknown".to_owned(); count],
    };
    if names.len() != count {
        return Err(InheritError::Names {
            names: names.len(),
            fds: count,
        });
    }
    Ok((FIRST_FD..).zip(names).collect())
}

/// Takes ownership of an inherited descriptor that is an open socket.
#[expect(
    unsafe_code,
    reason = "a descriptor arrives as a number and has to become an owned one"
)]
fn adopt_fd(fd: RawFd) -> io::Result<OwnedFd> {
    {
        // SAFETY: borrowed only to ask the kernel what it is, which answers EBADF for a closed one;
        // nothing is read, written or closed.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let socket = SockRef::from(&borrowed);
        socket.r#type()?;
        // A child process must not keep our port open after us.
        socket.set_cloexec(true)?;
    }
    // SAFETY: the descriptor is open (checked above), the protocol hands its ownership to this
    // process, and `Inherited::from_env` runs once, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        io::{Read as _, Write as _},
        net::TcpStream,
        os::fd::IntoRawFd as _,
        process::{Command, Stdio},
    };

    use super::*;

    const PID: u32 = 4242;

    fn with(variables: &[(&str, &str)]) -> Result<Vec<(RawFd, String)>, InheritError> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        announced(|name| variables.get(name).map(OsString::from), PID)
    }

    #[test]
    fn names_and_numbers_are_paired_from_three_on() {
        let announced = with(&[
            ("LISTEN_PID", "4242"),
            ("LISTEN_FDS", "2"),
            ("LISTEN_FDNAMES", "grpc:http"),
        ])
        .unwrap();
        assert_eq!(announced, [(3, "grpc".to_owned()), (4, "http".to_owned())]);
    }

    #[test]
    fn what_is_not_for_this_process_is_left_alone() {
        assert!(with(&[]).unwrap().is_empty());
        assert!(with(&[("LISTEN_FDS", "2")]).unwrap().is_empty());
        assert!(
            with(&[("LISTEN_PID", "1"), ("LISTEN_FDS", "2")])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn nonsense_is_refused_by_the_name_of_the_variable() {
        let message = |variables: &[(&str, &str)]| with(variables).unwrap_err().to_string();
        assert!(
            message(&[("LISTEN_PID", "me"), ("LISTEN_FDS", "1")]).starts_with("LISTEN_PID=\"me\"")
        );
        for count in ["-1", "65", "many"] {
            assert!(
                message(&[("LISTEN_PID", "4242"), ("LISTEN_FDS", count)])
                    .starts_with("LISTEN_FDS=")
            );
        }
        let two_names = [
            ("LISTEN_PID", "4242"),
            ("LISTEN_FDS", "1"),
            ("LISTEN_FDNAMES", "a:b"),
        ];
        assert_eq!(
            message(&two_names),
            "LISTEN_FDNAMES has 2 names for 1 sockets"
        );
    }

    #[test]
    fn a_socket_is_claimed_once_by_its_name_and_type() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut inherited = Inherited::adopt(vec![
            (tcp.into_raw_fd(), "admin".into()),
            (udp.into_raw_fd(), "probe".into()),
        ])
        .unwrap();
        assert_eq!(inherited.unclaimed(), ["admin", "probe"]);
        assert!(inherited.tcp("other").unwrap().is_none());
        let listener = inherited
            .tcp_or_bind("admin", "admin.listen", addr)
            .unwrap();
        assert_eq!(listener.local_addr().unwrap(), addr);
        assert_eq!(
            listener.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert!(inherited.tcp("admin").unwrap().is_none(), "claimed already");
        let error = inherited
            .tcp_or_bind("probe", "probe.listen", addr)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "probe.listen: inherited socket probe is not a listening TCP socket"
        );
    }

    #[test]
    fn a_descriptor_that_is_no_socket_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        let error = Inherited::adopt(vec![(file, "admin".into())])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("inherited descriptor {file} (admin): ")),
            "{error}"
        );
        let error = Inherited::adopt(vec![(1_000_000, "admin".into())])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("inherited descriptor 1000000 (admin): "),
            "{error}"
        );
    }

    /// Runs twice: as itself it opens a socket and starts itself again as the child, which is told
    /// by the protocol's variables to serve it.
    #[test]
    fn a_child_serves_the_socket_that_it_was_handed() {
        if std::env::var_os("LISTEN_FDNAMES").is_some_and(|names| names == "greeter") {
            let listener = Inherited::from_env()
                .unwrap()
                .tcp("greeter")
                .unwrap()
                .unwrap();
            listener.set_nonblocking(false).unwrap();
            listener.accept().unwrap().0.write_all(b"hello").unwrap();
            assert!(
                Inherited::from_env().unwrap().unclaimed().is_empty(),
                "taken once"
            );
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" --exact \"$1\"";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg("listeners::inherited::tests::a_child_serves_the_socket_that_it_was_handed")
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "greeter")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        TcpStream::connect(addr)
            .unwrap()
            .read_to_string(&mut greeting)
            .unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(greeting, "hello");
    }
}
