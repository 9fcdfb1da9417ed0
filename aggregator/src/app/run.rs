//! From the first task to the last.

use std::time::Duration;

use anyhow::Context as _;
use meshprobe_daemon::{
    admin::Condition,
    exit::Failure,
    shutdown::{Shutdown, Signals},
};
use meshprobe_proto::v1::{
    mesh_service_server::MeshServiceServer, prober_service_server::ProberServiceServer,
};
use tonic_health::server::{HealthReporter, health_reporter};

use super::{App, ports};
use crate::{api::MeshApiService, ingest::ProberStreams};

/// How often the TLS files are looked at.
const TLS_POLL: Duration = Duration::from_secs(10);

impl App {
    /// Runs until a signal or a failure, then drains.
    pub async fn run(self, signals: Option<Signals>) -> Result<(), Failure> {
        self.addresses().log();
        let Self {
            config,
            listeners,
            grpc_tls,
            http_tls,
            mut tasks,
            pipeline,
            store,
            store_rx,
            notifier,
            outbox,
            history,
            reloader,
            reload,
            api,
            json,
            admin,
            ready,
            shutdown,
        } = self;
        if let Some(signals) = signals {
            tasks.spawn_helper("signals", signals.watch(shutdown.clone()));
        }
        let hangup = reload.on_hangup(shutdown.clone()).context("catch SIGHUP")?;
        tasks.spawn_helper("hangup", hangup);
        for (name, tls) in [
            ("grpc-tls", grpc_tls.clone()),
            ("http-tls", http_tls.clone()),
        ] {
            if let Some(tls) = tls {
                tasks.spawn(name, tls.watch(TLS_POLL, shutdown.clone()));
            }
        }

        let (health, health_service) = health_reporter();
        health
            .set_serving::<MeshServiceServer<MeshApiService>>()
            .await;
        health
            .set_serving::<ProberServiceServer<ProberStreams>>()
            .await;
        let grpc = ports::grpc_router(&api, &pipeline, health_service)?;
        ports::serve(
            &mut tasks,
            "grpc",
            listeners.grpc,
            ports::grpc_limits(&config),
            grpc_tls.as_ref(),
            &grpc,
            &shutdown,
        )?;
        let http = crate::http::router(api, json);
        ports::serve(
            &mut tasks,
            "http",
            listeners.http,
            ports::http_limits(&config),
            http_tls.as_ref(),
            &http,
            &shutdown,
        )?;

        tasks.spawn("pipeline-store", store.serve_pipeline(store_rx));
        tasks.spawn("notifier", notifier.run());
        tasks.spawn("outbox", outbox.run());
        history.spawn(&mut tasks);
        tasks.spawn("reload", reloader.run(shutdown.clone()));
        pipeline.spawn(&mut tasks, &shutdown);
        tasks.spawn("admin", admin.serve(shutdown.clone()));
        tasks.spawn("ready", announce(ready, health, shutdown.clone()));
        tasks
            .run(&shutdown, config.drain.deadline.duration())
            .await
            .map_err(Failure::runtime)
    }
}

/// Says that the process is of use, and when it no longer is.
async fn announce(ready: Condition, health: HealthReporter, shutdown: Shutdown) {
    ready.met();
    shutdown.signaled().await;
    ready.unmet("shutting down");
    health
        .set_not_serving::<MeshServiceServer<MeshApiService>>()
        .await;
    health
        .set_not_serving::<ProberServiceServer<ProberStreams>>()
        .await;
}
