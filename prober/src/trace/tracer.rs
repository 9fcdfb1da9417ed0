//! Traces what fails: the task that owns the limits and the traces under way.
//!
//! Paths come from whoever records outcomes, traces go to the reporter; both queues are short, and what does not fit is
//! counted. On shutdown the traces under way are dropped: nobody waits for them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use meshprobe_core::ids::TargetNumber;
use meshprobe_daemon::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, info};

use super::trigger::Trigger;
use super::{Route, TraceRequest, Traced, Wanted, run};
use crate::path_id::PathId;
use crate::plan::Plan;
use crate::runner::Context;

/// Paths that want a trace: more than the limits let through in a minute.
pub const WANTED_DEPTH: usize = 64;

/// Traces that wait for the reporter.
pub const TRACED_DEPTH: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Tracer {
    context: Arc<Context>,
    plan_rx: watch::Receiver<Arc<Plan>>,
    wanted_rx: mpsc::Receiver<Wanted>,
    traced_tx: mpsc::Sender<Traced>,
    trigger: Trigger,
    under_way: JoinSet<Ended>,
}

#[derive(Debug)]
struct Ended {
    path: PathId,
    target: TargetNumber,
    address: SocketAddr,
    route: io::Result<Route>,
}

impl Tracer {
    /// Traces what comes by `wanted_rx` and is in the plan.
    pub fn new(
        context: Arc<Context>,
        plan_rx: watch::Receiver<Arc<Plan>>,
        wanted_rx: mpsc::Receiver<Wanted>,
        traced_tx: mpsc::Sender<Traced>,
    ) -> Self {
        Self {
            context,
            plan_rx,
            wanted_rx,
            traced_tx,
            trigger: Trigger::default(),
            under_way: JoinSet::new(),
        }
    }

    /// Traces until `shutdown`.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.signaled() => return,
                Some(wanted) = self.wanted_rx.recv() => self.begin(wanted),
                Some(ended) = self.under_way.join_next(), if !self.under_way.is_empty() => match ended {
                    Ok(ended) => self.finish(ended),
                    Err(error) => {
                        // Nothing aborts a trace, so it panicked; the hook has logged where.
                        if let Ok(panic) = error.try_into_panic() {
                            std::panic::resume_unwind(panic);
                        }
                    }
                },
            }
        }
    }

    fn begin(&mut self, wanted: Wanted) {
        let Wanted { path, source_port } = wanted;
        let shared = &self.context.shared;
        let plan = Arc::clone(&self.plan_rx.borrow());
        let Some((target, address)) = find(&plan, path) else {
            return;
        };
        if !self.trigger.begin(path, shared.clock.now()) {
            shared.metrics.traces_skipped.inc();
            return;
        }
        let local = self.context.local_for(address.ip());
        let request = TraceRequest {
            source_port,
            ..TraceRequest::new(&plan, address, local)
        };
        let clock = shared.clock;
        self.under_way.spawn(async move {
            Ended {
                path,
                target,
                address,
                route: run(&request, clock).await,
            }
        });
    }

    fn finish(&mut self, ended: Ended) {
        let Ended {
            path,
            target,
            address,
            route,
        } = ended;
        self.trigger.end();
        let shared = &self.context.shared;
        let route = match route {
            Ok(route) => route,
            Err(error) => {
                debug!(peer = %address, %error, "No trace");
                return;
            }
        };
        shared.metrics.traces.inc();
        // A path that is gone meanwhile is nobody's concern.
        let Some(layer) = shared.book.lock().layer(path) else {
            return;
        };
        let last = route.hops.iter().rev().find_map(|hop| hop.answer);
        let last = last.map(|answer| answer.address);
        info!(peer = %address, %layer, reached = route.reached, hops = route.hops.len(), ?last, "Traced a failing path");
        let traced = Traced {
            target,
            at: shared.clock.now(),
            route: route.message(layer),
        };
        if self.traced_tx.try_send(traced).is_err() {
            shared.metrics.traces_dropped.inc();
        }
    }
}

/// Where the packets of a path between two nodes go, or of one to a DNS server.
pub fn find(plan: &Plan, path: PathId) -> Option<(TargetNumber, SocketAddr)> {
    let udp = plan.udp.iter().map(|t| (t.path, t.target, t.address));
    let tcp = plan.tcp.iter().map(|t| (t.path, t.target, t.address));
    let peers = plan.mtu.iter().chain(&plan.quic).chain(&plan.icmp);
    let peers = peers.map(|t| (t.path, t.target, t.address));
    let dns = plan.dns.iter();
    let dns = dns.map(|t| (t.path, t.target, t.question.address));
    udp.chain(tcp)
        .chain(peers)
        .chain(dns)
        .find(|(known, _, _)| *known == path)
        .map(|(_, target, address)| (target, address))
}
