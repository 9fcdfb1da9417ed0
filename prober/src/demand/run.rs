//! From the aggregator's request to its answer.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::outcome::Outcome;
use meshprobe_core::path::{Layer, ProbeKind};
use meshprobe_proto::{convert, v1};

use super::udp;
use crate::assignment::MAX_TIMEOUT;
use crate::assignment::force::Assignments;
use crate::path_id::PathId;
use crate::plan::Plan;
use crate::runner::Finding;
use crate::shared::Shared;
use crate::trace::{self, TraceRequest};

/// What an answer may take beyond the probe's own timeout.
const MARGIN: Duration = Duration::from_secs(1);

/// A demand under way: its answer.
pub type DemandRun = Pin<Box<dyn Future<Output = v1::ProbeResult> + Send>>;

/// Begins what was asked for; the answer says what came of it, a refusal included.
pub fn run(
    request: &v1::RunProbe,
    assignments: &Assignments,
    shared: &Shared,
    local: &[IpAddr],
) -> DemandRun {
    let id = request.id;
    let wants_trace = request.trace;
    let found = resolve(request, assignments);
    let (layer, path) = match found {
        Ok(found) => found,
        Err(reason) => return Box::pin(std::future::ready(refused(id, reason))),
    };
    let asked = Duration::from_millis(request.timeout_millis.into());
    let timeout = (!asked.is_zero()).then(|| asked.min(MAX_TIMEOUT));
    let shared = shared.clone();
    let plan = assignments.plan();
    let local = local
        .iter()
        .copied()
        .find(|ip| meshprobe_core::path::Family::of(*ip) == layer.family && !ip.is_unspecified());
    Box::pin(async move {
        let probe = async {
            if layer.kind == ProbeKind::Udp {
                over_udp(&plan, path, local, &shared, timeout).await
            } else {
                shared.demands.want(path, timeout).await.ok()
            }
        };
        let limit = timeout.unwrap_or(MAX_TIMEOUT) + MARGIN;
        let mut result = match tokio::time::timeout(limit, probe).await {
            Ok(Some(finding)) => answered(id, finding),
            Ok(None) => refused(id, "too many probes are under way; try again".to_owned()),
            Err(_) => refused(id, format!("the probe did not end within {limit:?}")),
        };
        if wants_trace && result.refused.is_empty() {
            result.trace = trace(&plan, path, layer, local, &shared).await;
        }
        result
    })
}

/// Where the path's packets end; `None`: it has no packets of its own to follow, or this machine could not.
async fn trace(
    plan: &Plan,
    path: PathId,
    layer: Layer,
    local: Option<IpAddr>,
    shared: &Shared,
) -> Option<v1::TraceRoute> {
    let (_, address) = trace::find(plan, path)?;
    let request = TraceRequest::new(plan, address, local);
    let route = trace::run(&request, shared.clock).await.ok()?;
    Some(route.message(layer))
}

fn resolve(request: &v1::RunProbe, assignments: &Assignments) -> Result<(Layer, PathId), String> {
    let layer = convert::layer(request.kind, request.plane, request.family)
        .map_err(|error| error.to_string())?;
    let path = assignments.path(layer, &request.target);
    path.map(|path| (layer, path))
        .ok_or_else(|| format!("this prober has no path to {:?} by {layer}", request.target))
}

async fn over_udp(
    plan: &Arc<Plan>,
    path: PathId,
    local: Option<IpAddr>,
    shared: &Shared,
    timeout: Option<Duration>,
) -> Option<Finding> {
    let target = plan.udp.iter().find(|target| target.path == path)?;
    let timeout = timeout.unwrap_or(target.timeout);
    let keys = plan.keys.as_ref();
    let outcome = udp::probe(target, plan.ssid?, keys, local, shared.clock, timeout).await;
    Some(outcome.into())
}

fn refused(id: u64, reason: String) -> v1::ProbeResult {
    v1::ProbeResult {
        id,
        refused: reason,
        ..v1::ProbeResult::default()
    }
}

fn answered(id: u64, finding: Finding) -> v1::ProbeResult {
    let Finding {
        outcome, detail, ..
    } = finding;
    let rtt_micros = match outcome {
        Outcome::Reply { rtt } => u64::try_from(rtt.as_micros()).ok(),
        _ => None,
    };
    v1::ProbeResult {
        id,
        refused: String::new(),
        outcome: v1::OutcomeClass::from(outcome.class()).into(),
        rtt_micros,
        outcome_number: number(outcome),
        detail: detail.as_deref().map(Into::into),
        trace: None,
    }
}

/// The number that an outcome carries; zero: none.
fn number(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::TooBig { mtu } => mtu.into(),
        Outcome::SendFailed { errno } => errno.unsigned_abs(),
        Outcome::Rcode(code) => code.into(),
        Outcome::HttpStatus(status) => status.into(),
        _ => 0,
    }
}
