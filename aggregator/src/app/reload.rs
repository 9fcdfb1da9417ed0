//! Taking over a changed configuration, or keeping the one in force.
//!
//! Asked for by SIGHUP and the admin port, and by the file itself: its content is looked at every ten seconds, because a
//! mounted `ConfigMap` changes without a signal. A content that was refused is complained about once.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use meshprobe_daemon::{
    clock,
    reload::ReloadRequests,
    shutdown::Shutdown,
    tls::{Reloaded, ServerTls},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use super::{args::Args, routes, settings};
use crate::{
    config::{Config, ReloadPlan, rotation_gap},
    metrics::ReloadMetrics,
    notify::Audience,
    outbox::OutboxHandle,
    pipeline::MeshHandle,
};

/// How often the file is looked at: as often as a kubelet may replace it, and it is small.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The owner of the configuration in force.
pub(super) struct Reloader {
    pub(super) args: Args,
    pub(super) config: Config,
    /// The keys of authenticated STAMP in force: the files that they came from may have changed.
    pub(super) stamp_keys: Vec<Bytes>,
    pub(super) requests: ReloadRequests,
    pub(super) tls: Vec<ServerTls>,
    pub(super) mesh: MeshHandle,
    pub(super) outbox: OutboxHandle,
    pub(super) audience_tx: watch::Sender<Arc<Audience>>,
    pub(super) metrics: ReloadMetrics,
}

impl Reloader {
    /// A task: answers each request, and follows the file, until `shutdown`.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.fingerprint();
        loop {
            tokio::select! {
                () = shutdown.signaled() => return,
                request = self.requests.next() => {
                    let Some(request) = request else { return };
                    seen = self.fingerprint();
                    request.answer(self.reload().await);
                }
                _ = looks.tick() => {
                    let now = self.fingerprint();
                    if now != seen {
                        seen = now;
                        self.follow().await;
                    }
                }
            }
        }
    }

    /// The file has another content.
    async fn follow(&mut self) {
        match self.reload().await {
            Ok(summary) => info!(summary, "The configuration file changed; reloaded it"),
            Err(error) => {
                warn!(
                    error,
                    "The configuration file changed, but cannot be used; the configuration in force stays"
                );
            }
        }
    }

    /// Of the file's content; `None`: it cannot be read now.
    fn fingerprint(&self) -> Option<u64> {
        let content = fs::read(self.args.path()).ok()?;
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        Some(hasher.finish())
    }

    async fn reload(&mut self) -> Result<String, String> {
        let result = self.take_over().await;
        self.metrics.reloaded(result.is_ok(), clock::since_epoch());
        result
    }

    /// All or nothing: everything new is made before anything old is replaced.
    async fn take_over(&mut self) -> Result<String, String> {
        let new = self.args.load().map_err(|error| error.to_string())?;
        let plan = ReloadPlan::between(&self.config, &new);
        let new = self.config.clone().reloaded(new);
        let routes = routes::routes(&new).map_err(|error| format!("{error:#}"))?;
        let settings = settings::pipeline(&new).map_err(|error| format!("{error:#}"))?;
        for tls in &self.tls {
            if let Reloaded::Refused(error) = tls.poll() {
                return Err(format!("TLS files: {error}"));
            }
        }
        let keys = settings.plan.stamp_keys.clone();
        let taken = self.mesh.reconfigure(settings).await;
        taken.map_err(|error| error.to_string())?;
        let gap = rotation_gap(&self.stamp_keys, &keys);
        self.stamp_keys = keys;
        // The outbox first: a message to a receiver that it does not know would be given up.
        self.outbox.replace_routes(routes).await;
        self.audience_tx
            .send_replace(Arc::new(routes::audience(&new)));
        self.config = new;
        let summary = plan.summary();
        Ok(match gap {
            None => summary,
            Some(gap) => {
                warn!("{gap}");
                format!("{summary}; {gap}")
            }
        })
    }
}
