//! Probes that somebody asked for: who makes them, how many at once, and who waits for the result.
//!
//! A request names a path as people do; here it becomes a message to one prober. The answer goes to whoever waits, who
//! also keeps the time: an entry whose asker has gone is dropped when the next one comes. A prober that hangs up or is
//! started anew takes its entries with it.

use std::collections::HashMap;
use std::time::Duration;

use meshprobe_core::detail::{Detail, bounded_text};
use meshprobe_core::ids::NodeName;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_proto::convert::{self, UnknownNumber};
use meshprobe_proto::v1;
use tokio::sync::oneshot;

use super::Mesh;
use crate::ingest::session::{ProberKey, StreamId};
use crate::matrix::{TraceError, check_route};
use crate::pipeline::handle::Asked;
use crate::pipeline::{Demand, Now, ProbeError};
use crate::plan::PlanConfig;

/// Probes on demand that one prober makes at once.
const MOST_OF_PROBER: usize = 4;
/// And all probers together.
const MOST: usize = 64;
/// Longest wait for the answer of a kind that the plan does not send.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// A sweep of thirty hop limits.
const TRACE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the two messages take, and a prober that is busy.
const GRACE: Duration = Duration::from_secs(3);

/// Why a result is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum ResultError {
    #[error("result of probe {0}, which nobody asked this prober for")]
    Unasked(u64),
    #[error(transparent)]
    UnknownNumber(#[from] UnknownNumber),
    #[error("a detail that no probe of kind {0} can find")]
    Detail(ProbeKind),
    #[error(transparent)]
    Trace(#[from] TraceError),
}

impl ResultError {
    const fn reason(&self) -> &'static str {
        match self {
            Self::Unasked(_) => "probe_result_unasked",
            Self::UnknownNumber(_) => "probe_result_number",
            Self::Detail(_) => "probe_result_detail",
            Self::Trace(_) => "probe_result_trace",
        }
    }
}

#[derive(Debug)]
struct Waiting {
    prober: ProberKey,
    kind: ProbeKind,
    answer: oneshot::Sender<v1::ProbeResult>,
}

/// The probes that are under way.
#[derive(Debug, Default)]
pub(super) struct OnDemand {
    waiting: HashMap<u64, Waiting>,
    last_id: u64,
}

impl OnDemand {
    /// Makes room for a probe of this prober; its number, and where the result will be.
    fn begin(
        &mut self,
        prober: ProberKey,
        kind: ProbeKind,
    ) -> Result<(u64, oneshot::Receiver<v1::ProbeResult>), ProbeError> {
        self.waiting
            .retain(|_, waiting| !waiting.answer.is_closed());
        let same = self.waiting.values().filter(|w| w.prober == prober).count();
        if same >= MOST_OF_PROBER {
            return Err(ProbeError::Busy(format!(
                "this prober makes {MOST_OF_PROBER} probes on demand already; wait for one of them"
            )));
        }
        if self.waiting.len() >= MOST {
            return Err(ProbeError::Busy(format!(
                "{MOST} probes on demand are under way already; wait for one of them"
            )));
        }
        self.last_id += 1;
        let (answer, result) = oneshot::channel();
        let waiting = Waiting {
            prober,
            kind,
            answer,
        };
        self.waiting.insert(self.last_id, waiting);
        Ok((self.last_id, result))
    }

    /// The prober could not be asked after all.
    fn cancel(&mut self, id: u64) {
        self.waiting.remove(&id);
    }

    /// The prober hung up, or was started anew: it does not know any more what it was asked for.
    pub(super) fn handle_gone(&mut self, prober: ProberKey) {
        self.waiting.retain(|_, waiting| waiting.prober != prober);
    }

    /// Hands a result to whoever waits.
    fn finish(&mut self, prober: ProberKey, result: v1::ProbeResult) -> Result<(), ResultError> {
        let id = result.id;
        let waiting = self.waiting.get(&id).filter(|w| w.prober == prober);
        let kind = waiting.ok_or(ResultError::Unasked(id))?.kind;
        let checked = check(result, kind)?;
        if let Some(waiting) = self.waiting.remove(&id) {
            // Whoever asked may have given up; that is no error of the prober's.
            waiting.answer.send(checked).ok();
        }
        Ok(())
    }
}

fn check(result: v1::ProbeResult, kind: ProbeKind) -> Result<v1::ProbeResult, ResultError> {
    if !result.refused.is_empty() {
        return Ok(v1::ProbeResult {
            id: result.id,
            refused: bounded_text(&result.refused),
            ..v1::ProbeResult::default()
        });
    }
    convert::outcome_class(result.outcome)?;
    if let Some(detail) = &result.detail
        && !Detail::try_from(detail)?.fits(kind)
    {
        return Err(ResultError::Detail(kind));
    }
    if let Some(route) = &result.trace {
        check_route(route)?;
    }
    Ok(result)
}

impl Mesh {
    /// Has a probe made.
    pub(in crate::pipeline) fn run_probe(&mut self, demand: &Demand) -> Result<Asked, ProbeError> {
        let unknown = || ProbeError::Unknown(format!("no node is called {:?}", demand.source));
        let source = NodeName::try_from(demand.source.as_str()).map_err(|_| unknown())?;
        let node = self.membership.index_of(&source).ok_or_else(unknown)?;
        let layers = self.layers_of(demand, &source)?;
        let mut connected = layers
            .iter()
            .filter_map(|layer| Some((*layer, self.prober_for(node, *layer)?)));
        let Some((layer, prober)) = connected.next() else {
            return Err(ProbeError::NotConnected {
                node: source,
                plane: layers.first().map_or(Plane::Pod, |layer| layer.plane),
            });
        };
        let timing = timeout(&self.published_plan(), layer);
        let (id, result) = self.on_demand.begin(prober, layer.kind)?;
        let run = v1::RunProbe {
            id,
            target: demand.target.clone(),
            kind: v1::ProbeKind::from(layer.kind).into(),
            plane: v1::Plane::from(layer.plane).into(),
            family: v1::Family::from(layer.family).into(),
            timeout_millis: u32::try_from(timing.as_millis()).unwrap_or(u32::MAX),
            trace: demand.trace,
        };
        let streams = self.sessions.get(&prober).map(|session| &session.streams);
        // The newest stream first: it is the likeliest to work.
        let sent = streams
            .into_iter()
            .flatten()
            .rev()
            .any(|stream| stream.runs.try_send(run.clone()).is_ok());
        if !sent {
            self.on_demand.cancel(id);
            return Err(ProbeError::NotConnected {
                node: source,
                plane: prober.plane,
            });
        }
        let trace = if demand.trace {
            TRACE_TIMEOUT
        } else {
            Duration::ZERO
        };
        Ok(Asked {
            result,
            timeout: timing + trace + GRACE,
        })
    }

    pub(super) fn handle_probe_result(
        &mut self,
        prober: ProberKey,
        stream: StreamId,
        result: v1::ProbeResult,
        now: Now,
    ) {
        if !self.hears(prober, stream, now) {
            return;
        }
        let id = result.id;
        if let Err(error) = self.on_demand.finish(prober, result) {
            self.refuse(prober, error.reason(), &error, now.moment);
            if !matches!(error, ResultError::Unasked(_)) {
                self.on_demand.cancel(id);
            }
        }
    }

    /// What a request may mean, likeliest first: what it does not say is where its target is, and between nodes IPv4 in the
    /// pod plane, or in that of the host if the node has no prober there.
    fn layers_of(&self, demand: &Demand, source: &NodeName) -> Result<Vec<Layer>, ProbeError> {
        let Demand {
            source: _,
            target,
            kind,
            plane,
            family,
            trace: _,
        } = demand;
        let said = |plane, family| Layer {
            kind: *kind,
            plane,
            family,
        };
        if kind.is_between_nodes() {
            let known = NodeName::try_from(target.as_str()).ok();
            let known = known.filter(|name| self.membership.index_of(name).is_some());
            let Some(known) = known else {
                return Err(ProbeError::Unknown(format!("no node is called {target:?}")));
            };
            if known == *source {
                return Err(ProbeError::Invalid(format!(
                    "{source} cannot probe itself; name another node as target"
                )));
            }
            if *plane == Some(Plane::Service) {
                return Err(ProbeError::Invalid(format!(
                    "{kind} probes run in the pod or the host plane"
                )));
            }
            let planes = plane.map_or(vec![Plane::Pod, Plane::Host], |plane| vec![plane]);
            let family = family.unwrap_or(Family::V4);
            return Ok(planes
                .into_iter()
                .map(|plane| said(plane, family))
                .collect());
        }
        let fits = |layer: &Layer| {
            layer.kind == *kind
                && plane.is_none_or(|plane| plane == layer.plane)
                && family.is_none_or(|family| family == layer.family)
        };
        let mut found = self.matrix.targets.layers_named(target, *kind);
        found.retain(fits);
        if found.is_empty() {
            let place = match (plane, family) {
                (None, None) => String::new(),
                (Some(plane), None) => format!(" in the {plane} plane"),
                (None, Some(family)) => format!(" by {family}"),
                (Some(plane), Some(family)) => format!(" in the {plane} plane by {family}"),
            };
            return Err(ProbeError::Unknown(format!(
                "no target of {kind} is called {target:?}{place}"
            )));
        }
        Ok(found)
    }

    /// Which prober of the node makes probes of this layer, if it is connected.
    fn prober_for(&self, node: meshprobe_core::ids::NodeIndex, layer: Layer) -> Option<ProberKey> {
        let on = |plane| {
            let prober = ProberKey { node, plane };
            let session = self.sessions.get(&prober)?;
            (!session.streams.is_empty()).then_some(prober)
        };
        match (layer.kind, layer.plane) {
            // A pod-plane prober stands in for one on the host that is not there; servers are asked by either.
            (ProbeKind::Tcp, Plane::Host) => on(Plane::Host).or_else(|| on(Plane::Pod)),
            (ProbeKind::DnsUdp | ProbeKind::DnsTcp | ProbeKind::Service, _) => {
                on(Plane::Pod).or_else(|| on(Plane::Host))
            }
            (_, plane) => on(plane),
        }
    }

    fn published_plan(&self) -> std::sync::Arc<PlanConfig> {
        std::sync::Arc::clone(&self.published.rosters.borrow().plan)
    }
}

/// How long a probe of this layer waits for its answer.
fn timeout(plan: &PlanConfig, layer: Layer) -> Duration {
    let same = |s: &&crate::plan::Schedule| (s.kind, s.plane) == (layer.kind, layer.plane);
    let found = plan.schedules.iter().find(same);
    found.map_or(DEFAULT_TIMEOUT, |schedule| schedule.timeout)
}

#[cfg(test)]
mod tests {
    use meshprobe_core::ids::NodeIndex;

    use super::*;

    fn prober(node: u32) -> ProberKey {
        ProberKey {
            node: NodeIndex(node),
            plane: Plane::Pod,
        }
    }

    fn reply(id: u64) -> v1::ProbeResult {
        v1::ProbeResult {
            id,
            outcome: v1::OutcomeClass::Reply.into(),
            rtt_micros: Some(300),
            ..v1::ProbeResult::default()
        }
    }

    #[test]
    fn a_result_goes_to_whoever_asked_and_to_nobody_else() {
        let mut on_demand = OnDemand::default();
        let (first, mut result) = on_demand.begin(prober(1), ProbeKind::Udp).unwrap();
        let foreign = on_demand.finish(prober(2), reply(first)).unwrap_err();
        assert_eq!(foreign, ResultError::Unasked(first));
        assert!(result.try_recv().is_err());
        on_demand.finish(prober(1), reply(first)).unwrap();
        assert_eq!(result.try_recv().unwrap().rtt_micros, Some(300));
        let again = on_demand.finish(prober(1), reply(first)).unwrap_err();
        assert_eq!(again, ResultError::Unasked(first));
    }

    #[test]
    fn a_prober_and_all_together_have_only_so_many_at_once() {
        let mut on_demand = OnDemand::default();
        let mut results = Vec::new();
        for _ in 0..MOST_OF_PROBER {
            results.push(on_demand.begin(prober(0), ProbeKind::Udp).unwrap());
        }
        let busy = on_demand.begin(prober(0), ProbeKind::Udp).unwrap_err();
        assert!(matches!(busy, ProbeError::Busy(_)));
        for node in 1..=(MOST - MOST_OF_PROBER) as u32 {
            results.push(on_demand.begin(prober(node), ProbeKind::Udp).unwrap());
        }
        assert!(on_demand.begin(prober(999), ProbeKind::Udp).is_err());
        results.clear();
        on_demand.begin(prober(0), ProbeKind::Udp).unwrap();
        assert_eq!(on_demand.waiting.len(), 1, "askers that gave up made room");
    }

    #[test]
    fn a_prober_that_goes_ends_the_wait() {
        let mut on_demand = OnDemand::default();
        let (_, mut result) = on_demand.begin(prober(1), ProbeKind::Udp).unwrap();
        let (_, mut other) = on_demand.begin(prober(2), ProbeKind::Udp).unwrap();
        on_demand.handle_gone(prober(1));
        assert_eq!(result.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(other.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    }

    #[test]
    fn what_is_no_result_is_refused() {
        let refused = |change: fn(&mut v1::ProbeResult)| {
            let mut result = reply(1);
            change(&mut result);
            check(result, ProbeKind::Udp).unwrap_err().reason()
        };
        assert_eq!(refused(|r| r.outcome = 99), "probe_result_number");
        let mtu = |r: &mut v1::ProbeResult| {
            let detail = Detail::Mtu(meshprobe_core::detail::MtuDetail::default());
            r.detail = Some((&detail).into());
        };
        assert_eq!(refused(mtu), "probe_result_detail");
        let trace = |r: &mut v1::ProbeResult| r.trace = Some(v1::TraceRoute::default());
        assert_eq!(refused(trace), "probe_result_trace");
        let long = v1::ProbeResult {
            refused: "x".repeat(10_000),
            ..reply(1)
        };
        let checked = check(long, ProbeKind::Udp).unwrap();
        assert!(checked.refused.len() <= 256 && checked.rtt_micros.is_none());
    }
}
