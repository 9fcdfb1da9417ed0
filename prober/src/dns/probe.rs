//! One DNS probe: a socket of its own, a random id, one question, no retry.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use meshprobe_core::detail::{Detail, DnsDetail};
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;
use parking_lot::Mutex;

use super::exchange::{Strays, over_tcp, receive, udp_socket};
use super::question::{Answer, Question};
use crate::path_id::{PathId, PathTable};
use crate::plan::{DnsQueryTarget, Plan, Transport};
use crate::runner::{Context, Finding, Probing};
use crate::schedule::Cadence;
use crate::tcp::probe::connect_outcome;

/// What all DNS probes share: how many wrong answers each path had.
#[derive(Debug, Default)]
pub struct DnsTools {
    wrong_answers: Mutex<PathTable<u32>>,
}

impl DnsTools {
    /// Adds to the count of a path and returns it.
    fn count(&self, path: PathId, strays: Strays) -> u32 {
        let mut table = self.wrong_answers.lock();
        let before = table.get(path).copied().unwrap_or(0);
        let now = before.saturating_add(strays.0);
        if now != before {
            table.insert(path, now);
        }
        now
    }
}

impl Probing for DnsQueryTarget {
    type Tools = DnsTools;

    fn path(&self) -> PathId {
        self.path
    }

    fn target(&self) -> TargetNumber {
        self.target
    }

    fn cadence(&self) -> Cadence {
        self.cadence
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn select(plan: &Plan) -> Vec<Self> {
        plan.dns.clone()
    }

    async fn probe(
        self,
        context: Arc<Context>,
        tools: Arc<DnsTools>,
        timeout: Duration,
    ) -> Finding {
        let server = self.question.address;
        let kind = if server.is_ipv4() {
            RecordType::A
        } else {
            RecordType::AAAA
        };
        // The name was checked with the assignment.
        let Ok(question) = Question::new(&self.question.name, kind, true, rand::random()) else {
            return Outcome::Invalid.into();
        };
        let local = context.local_for(server.ip());
        let started = context.shared.clock.now();
        let mut strays = Strays::default();
        let exchange = async {
            match self.transport {
                Transport::Udp => {
                    let socket = udp_socket(local, server).await?;
                    socket.send_to(question.octets(), server).await?;
                    let questions = std::slice::from_ref(&question);
                    let (_, answer) = receive(&socket, server, questions, &mut strays).await?;
                    Ok(Some(answer))
                }
                Transport::Tcp => over_tcp(local, server, &question, &mut strays).await,
            }
        };
        let ended = tokio::time::timeout(timeout, exchange).await;
        let rtt = context.shared.clock.now().saturating_since(started);
        let answer = match &ended {
            Ok(Ok(answer)) => answer.clone(),
            _ => None,
        };
        let metrics = &context.shared.metrics;
        metrics.dns_wrong_answers.inc_by(strays.0.into());
        if answer.as_ref().is_some_and(|answer| answer.truncated) {
            metrics.dns_truncated.inc();
        }
        let outcome = match ended {
            Ok(Ok(Some(answer))) if answer.rcode == self.question.expected_rcode => {
                Outcome::Reply { rtt }
            }
            Ok(Ok(Some(answer))) => Outcome::Rcode(answer.rcode),
            Ok(Ok(None)) => Outcome::WrongAnswer,
            Ok(Err(error)) => io_outcome(&error),
            Err(_) => Outcome::Timeout,
        };
        Finding::with(outcome, detail(answer, tools.count(self.path, strays)))
    }
}

fn detail(answer: Option<Answer>, wrong_answers: u32) -> Detail {
    let seen = DnsDetail {
        wrong_answers,
        ..DnsDetail::default()
    };
    Detail::Dns(match answer {
        Some(answer) => DnsDetail {
            rcode: Some(answer.rcode),
            truncated: answer.truncated,
            answers: answer.records,
            ..seen
        },
        None => seen,
    })
}

/// What a failed exchange says about the path.
pub(super) fn io_outcome(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Outcome::Reset,
        _ => connect_outcome(error),
    }
}
