//! Another configuration while running: nothing that is known is lost, no stream is ended.

use std::sync::Arc;

use super::Mesh;
use crate::membership::JoinError;
use crate::pipeline::{Now, PipelineConfig};

impl Mesh {
    /// Takes over what can change while running: nodes, plan, and when something is broken. The limits of the streams
    /// stay as they are. On an error nothing has changed.
    pub(in crate::pipeline) fn reconfigure(
        &mut self,
        config: PipelineConfig,
        now: Now,
    ) -> Result<(), JoinError> {
        let PipelineConfig {
            membership,
            plan,
            judge,
            ingest: _,
        } = config;
        self.membership.reconfigure(membership, now.wall)?;
        self.matrix.grow(self.membership.index_bound());
        self.matrix.follow_targets(&plan);
        self.plan = Arc::new(plan);
        self.judge.reconfigure(judge);
        self.publish_roster(now);
        self.published.hurry_snapshot(now.moment);
        Ok(())
    }
}
