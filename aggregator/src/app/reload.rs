//! Taking over a changed configuration, or keeping the one in force.

use std::sync::Arc;

use meshprobe_daemon::{
    reload::ReloadRequests,
    shutdown::Shutdown,
    tls::{Reloaded, ServerTls},
};
use tokio::sync::watch;
use tracing::info;

use super::{args::Args, routes, settings};
use crate::{
    config::{Config, ReloadPlan},
    notify::Audience,
    outbox::OutboxHandle,
    pipeline::MeshHandle,
};

/// The owner of the configuration in force.
pub(super) struct Reloader {
    pub(super) args: Args,
    pub(super) config: Config,
    pub(super) requests: ReloadRequests,
    pub(super) tls: Vec<ServerTls>,
    pub(super) mesh: MeshHandle,
    pub(super) outbox: OutboxHandle,
    pub(super) audience_tx: watch::Sender<Arc<Audience>>,
}

impl Reloader {
    /// A task: answers each request until `shutdown`.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        while let Some(Some(request)) = shutdown.or_signaled(self.requests.next()).await {
            let result = self.reload().await;
            request.answer(result);
        }
    }

    /// All or nothing: everything new is made before anything old is replaced.
    async fn reload(&mut self) -> Result<String, String> {
        let new = self.args.load().map_err(|error| error.to_string())?;
        let plan = ReloadPlan::between(&self.config, &new);
        let new = self.config.clone().reloaded(new);
        let routes = routes::routes(&new).map_err(|error| format!("{error:#}"))?;
        for tls in &self.tls {
            if let Reloaded::Refused(error) = tls.poll() {
                return Err(format!("TLS files: {error}"));
            }
        }
        let settings = settings::pipeline(&new).map_err(|error| format!("{error:#}"))?;
        let taken = self.mesh.reconfigure(settings).await;
        taken.map_err(|error| error.to_string())?;
        self.audience_tx
            .send_replace(Arc::new(routes::audience(&new)));
        self.outbox.replace_routes(routes).await;
        self.config = new;
        let summary = plan.summary();
        info!(summary, "Configuration reloaded");
        Ok(summary)
    }
}
