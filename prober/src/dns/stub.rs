//! A stub resolver that does what the C library does, and counts what it costs.
//!
//! For each candidate of the search list: go through the servers in their order, as often as `attempts` says, and send
//! the questions (A and AAAA, at once) to each until all are answered. A refused connection, a server failure or a wait
//! of `timeout` lead to the next server. "No such name" and "no such record" lead to the next candidate; so does a
//! server failure, but silence ends the search. An answer that did not fit is asked for again over TCP.
//!
//! The caller bounds the whole; what was found until then is in [`Cost`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};

use super::exchange::{Strays, over_tcp, receive, udp_socket};
use super::question::{Answer, Question};
use super::resolv_conf::ResolvConf;

const NOERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const NOTIMP: u8 = 4;
const REFUSED: u8 = 5;

/// A later round waits longer, shared among the servers, but never less.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// What a lookup has cost so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Questions that were sent.
    pub queries: u32,
    /// The server that was asked last: after a success the one that answered.
    pub server: Option<SocketAddr>,
    /// Messages that answered something else.
    pub strays: Strays,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The candidate that exists.
    pub name: Name,
    /// Its addresses; not empty.
    pub addresses: Vec<IpAddr>,
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Nothing that could be asked for.
    #[error("{0:?} is not a DNS name")]
    NotAName(String),
    /// The server says that none of the candidates exists.
    #[error("no such name (NXDOMAIN)")]
    NoSuchName,
    /// The name exists and has no address of this kind.
    #[error("the name has no address")]
    NoAddress,
    /// A response code that says that the server could not answer.
    #[error("{server} answered {}", rcode_name(*rcode))]
    Rcode {
        /// Who.
        server: SocketAddr,
        /// Its code.
        rcode: u8,
    },
    /// No server could be asked.
    #[error("ask {server}")]
    Io {
        /// The last one.
        server: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No server answered.
    #[error("no answer from {server}")]
    Silent {
        /// The last one.
        server: SocketAddr,
    },
    /// The file names nobody to ask.
    #[error("no server to ask")]
    NoServer,
}

/// The name of a response code for people.
pub fn rcode_name(rcode: u8) -> String {
    match rcode {
        NOERROR => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        SERVFAIL => "SERVFAIL".to_owned(),
        NXDOMAIN => "NXDOMAIN".to_owned(),
        NOTIMP => "NOTIMP".to_owned(),
        REFUSED => "REFUSED".to_owned(),
        other => format!("RCODE{other}"),
    }
}

/// Looks a name up. `kinds`: A, AAAA or both.
pub async fn lookup(
    conf: &ResolvConf,
    name: &str,
    kinds: &[RecordType],
    cost: &mut Cost,
) -> Result<Found, LookupError> {
    let candidates = conf.candidates(name);
    if candidates.is_empty() {
        return Err(LookupError::NotAName(name.chars().take(64).collect()));
    }
    let mut worst = LookupError::NoSuchName;
    for candidate in candidates {
        match ask_all(conf, &candidate, kinds, cost).await {
            Ok(answers) => {
                let addresses: Vec<IpAddr> =
                    answers.iter().flat_map(|a| a.addresses.clone()).collect();
                if !addresses.is_empty() {
                    return Ok(Found {
                        name: candidate,
                        addresses,
                    });
                }
                let exists = answers.iter().any(|answer| answer.rcode == NOERROR);
                if exists && matches!(worst, LookupError::NoSuchName) {
                    worst = LookupError::NoAddress;
                }
            }
            // Another candidate may be in a zone that works.
            Err(failed @ LookupError::Rcode { .. }) => worst = failed,
            Err(failed) => return Err(failed),
        }
    }
    Err(worst)
}

/// Answers to all kinds for one candidate, from whichever server gives them.
async fn ask_all(
    conf: &ResolvConf,
    name: &Name,
    kinds: &[RecordType],
    cost: &mut Cost,
) -> Result<Vec<Answer>, LookupError> {
    let mut failed = LookupError::NoServer;
    for round in 0..conf.attempts {
        for server in &conf.servers {
            cost.server = Some(*server);
            let wait = wait_of(conf, round);
            match ask(conf.edns, *server, name, kinds, wait, cost).await {
                Ok(answers) => match failure_of(&answers) {
                    None => return Ok(answers),
                    Some(rcode) => {
                        failed = LookupError::Rcode {
                            server: *server,
                            rcode,
                        };
                    }
                },
                Err(error) => failed = error,
            }
        }
    }
    Err(failed)
}

/// The code that leads to the next server. One address is enough: servers that fail for AAAA alone are common.
fn failure_of(answers: &[Answer]) -> Option<u8> {
    if answers.iter().any(|answer| !answer.addresses.is_empty()) {
        return None;
    }
    let mut codes = answers.iter().map(|answer| answer.rcode);
    codes.find(|rcode| !matches!(*rcode, NOERROR | NXDOMAIN))
}

/// The C library doubles the wait with each round and shares it among the servers.
fn wait_of(conf: &ResolvConf, round: usize) -> Duration {
    if round == 0 {
        return conf.timeout;
    }
    let servers = u32::try_from(conf.servers.len()).unwrap_or(1).max(1);
    let doubled = conf.timeout * 2_u32.saturating_pow(round as u32);
    (doubled / servers).max(LEAST_WAIT)
}

/// Asks one server for all kinds at once.
async fn ask(
    edns: bool,
    server: SocketAddr,
    name: &Name,
    kinds: &[RecordType],
    wait: Duration,
    cost: &mut Cost,
) -> Result<Vec<Answer>, LookupError> {
    let not_a_name = || LookupError::NotAName(name.to_string());
    let text = name.to_ascii();
    let questions = kinds
        .iter()
        .map(|kind| Question::new(&text, *kind, edns, rand::random()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| not_a_name())?;
    let exchange = async {
        let socket = udp_socket(None, server).await?;
        for question in &questions {
            socket.send_to(question.octets(), server).await?;
            cost.queries += 1;
        }
        let mut answers: Vec<Option<Answer>> = vec![None; questions.len()];
        while answers.iter().any(Option::is_none) {
            let (i, answer) = receive(&socket, server, &questions, &mut cost.strays).await?;
            answers[i] = Some(answer);
        }
        for (answer, question) in answers.iter_mut().zip(&questions) {
            if answer.as_ref().is_some_and(|answer| answer.truncated) {
                cost.queries += 1;
                *answer = over_tcp(None, server, question, &mut cost.strays).await?;
            }
        }
        Ok(answers.into_iter().flatten().collect())
    };
    match tokio::time::timeout(wait, exchange).await {
        Ok(Ok(answers)) => Ok(answers),
        Ok(Err(source)) => Err(LookupError::Io { server, source }),
        Err(_) => Err(LookupError::Silent { server }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rounds_wait_longer_and_share_it() {
        let conf = "nameserver 10.0.0.1\nnameserver 10.0.0.2\noptions timeout:3\n";
        let conf = ResolvConf::parse(conf.as_bytes()).unwrap();
        let waits: Vec<u64> = (0..3).map(|i| wait_of(&conf, i).as_secs()).collect();
        assert_eq!(waits, [3, 3, 6]);
    }
}
