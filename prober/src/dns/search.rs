//! The name as an application asks it: by the node's `resolv.conf`, with its search list, and what that costs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use meshprobe_core::detail::{Detail, SearchDetail, bounded_text};
use meshprobe_core::ids::TargetNumber;
use meshprobe_core::outcome::Outcome;

use super::probe::io_outcome;
use super::resolv_conf::ResolvConfFile;
use super::stub::{Cost, LookupError, lookup};
use crate::path_id::PathId;
use crate::plan::{Plan, SearchProbe};
use crate::runner::{Context, Finding, Probing};
use crate::schedule::Cadence;

/// What an application asks for: both families at once.
const KINDS: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// What all searches share.
#[derive(Debug)]
pub struct SearchTools {
    resolv_conf: ResolvConfFile,
}

impl SearchTools {
    /// By the file at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self {
            resolv_conf: ResolvConfFile::new(path),
        }
    }
}

impl Probing for SearchProbe {
    type Tools = SearchTools;

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
        plan.search.clone()
    }

    async fn probe(
        self,
        context: Arc<Context>,
        tools: Arc<SearchTools>,
        timeout: Duration,
    ) -> Finding {
        let failed = |outcome, failure: &str, detail: SearchDetail| {
            let failure = bounded_text(failure);
            Finding::with(outcome, Detail::Search(SearchDetail { failure, ..detail }))
        };
        let conf = match tools.resolv_conf.read().await {
            Ok(conf) => conf,
            Err(error) => {
                let nothing = SearchDetail::default();
                let finding = failed(Outcome::Invalid, &error.to_string(), nothing);
                return finding.withheld_if(true);
            }
        };
        let started = context.shared.clock.now();
        let mut cost = Cost::default();
        let looked_up = lookup(&conf, &self.name.name, &KINDS, &mut cost);
        let ended = tokio::time::timeout(timeout, looked_up).await;
        let rtt = context.shared.clock.now().saturating_since(started);
        context
            .shared
            .metrics
            .dns_wrong_answers
            .inc_by(cost.strays.0.into());
        let detail = SearchDetail {
            queries: cost.queries,
            server: cost.server,
            ..SearchDetail::default()
        };
        match ended {
            Ok(Ok(found)) => {
                let answered_name = bounded_text(&found.name.to_ascii());
                let detail = Detail::Search(SearchDetail {
                    answered_name,
                    ..detail
                });
                Finding::with(Outcome::Reply { rtt }, detail)
            }
            Ok(Err(error)) => failed(lookup_outcome(&error), &lookup_failure(&error), detail)
                .withheld_if(is_setup(&error)),
            Err(_) => {
                let server = cost.server.map_or_else(String::new, |server| {
                    format!("; the last server that was asked is {server}")
                });
                let failure = format!("no answer within {timeout:?}{server}");
                failed(Outcome::Timeout, &failure, detail)
            }
        }
    }
}

/// What a failed lookup says about the path.
pub(crate) fn lookup_outcome(error: &LookupError) -> Outcome {
    match error {
        LookupError::NotAName(_) | LookupError::NoServer => Outcome::Invalid,
        LookupError::NoSuchName => Outcome::Rcode(3),
        LookupError::NoAddress => Outcome::WrongAnswer,
        LookupError::Rcode { rcode, .. } => Outcome::Rcode(*rcode),
        LookupError::Io { source, .. } => io_outcome(source),
        LookupError::Silent { .. } => Outcome::Timeout,
    }
}

/// Could nobody be asked, because of what the node or the assignment says?
pub(crate) fn is_setup(error: &LookupError) -> bool {
    matches!(error, LookupError::NotAName(_) | LookupError::NoServer)
}

/// The same for people, with its cause.
pub(crate) fn lookup_failure(error: &LookupError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
