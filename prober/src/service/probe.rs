//! One connection to a service: connect, 32 octets there and back, the backend's name, close by reset.

use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::detail::Detail;
use meshprobe_core::ids::{NodeName, TargetNumber};
use meshprobe_core::outcome::Outcome;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::history::History;
use crate::path_id::{PathId, PathTable};
use crate::plan::{Plan, ServiceProbe};
use crate::runner::{Context, Finding, Probing};
use crate::schedule::Cadence;
use crate::tcp::ECHO_OCTETS;
use crate::tcp::echo::NAME_REQUEST;
use crate::tcp::probe::{Echoed, echo};

/// What a backend is called that does not say its name: somebody else's echo server.
const UNKNOWN: &str = "unknown";

/// How long a name is waited for. It comes in the same segment as the echo, so one that is not there soon never comes.
const NAME_WAIT: Duration = Duration::from_millis(250);

/// What all probes of services share: the last connections of each.
#[derive(Debug, Default)]
pub struct ServiceTools {
    histories: Mutex<PathTable<History>>,
}

impl ServiceTools {
    fn record(&self, path: PathId, backend: Option<&str>) -> Detail {
        let mut histories = self.histories.lock();
        if histories.get(path).is_none() {
            histories.insert(path, History::default());
        }
        let history = histories.get_mut(path);
        Detail::Service(history.map_or_else(Default::default, |history| {
            history.record(backend);
            history.detail()
        }))
    }
}

impl Probing for ServiceProbe {
    type Tools = ServiceTools;

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
        plan.services.clone()
    }

    async fn probe(
        self,
        context: Arc<Context>,
        tools: Arc<ServiceTools>,
        timeout: Duration,
    ) -> Finding {
        let connection = async {
            let mut request: [u8; ECHO_OCTETS] = rand::random();
            request[..NAME_REQUEST.len()].copy_from_slice(&NAME_REQUEST);
            match echo(&context, self.service.address, &request).await {
                Echoed::All { rtt, mut stream } => {
                    let name = tokio::time::timeout(NAME_WAIT, read_name(&mut stream)).await;
                    let name = name.ok().flatten();
                    let backend = name.unwrap_or_else(|| UNKNOWN.to_owned());
                    (Outcome::Reply { rtt }, Some(backend))
                }
                Echoed::Failed(outcome) => (outcome, None),
            }
        };
        let (outcome, backend) = tokio::time::timeout(timeout, connection)
            .await
            .unwrap_or((Outcome::Timeout, None));
        if outcome == Outcome::Invalid {
            // This machine failed, not the service.
            return outcome.into();
        }
        Finding::with(outcome, tools.record(self.path, backend.as_deref()))
    }
}

/// The name that follows the echo: one octet of length, then a node name. `None`: something else follows.
async fn read_name(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let length = usize::from(stream.read_u8().await.ok()?);
    let mut octets = vec![0; length];
    stream.read_exact(&mut octets).await.ok()?;
    let name = NodeName::try_from(String::from_utf8(octets).ok()?);
    name.ok().map(String::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn name(octets: &[u8]) -> Option<String> {
        read_name(&mut &*octets).await
    }

    #[tokio::test]
    async fn a_name_is_taken_and_anything_else_is_unknown() {
        assert_eq!(name(b"\x03db1rest").await.as_deref(), Some("db1"));
        for octets in [&b""[..], b"\x00", b"\x04db1", b"\x03d\x001", b"\xffx"] {
            assert_eq!(name(octets).await, None, "{octets:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_follows_the_echo_is_a_short_name_or_none(
            octets in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            if let Some(name) = runtime.block_on(name(&octets)) {
                prop_assert!(NodeName::try_from(name).is_ok());
            }
        }
    }
}
