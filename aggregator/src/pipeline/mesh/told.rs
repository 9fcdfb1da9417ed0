//! What somebody says of a node over the API: that it is drained, what the cluster reported about it.

use meshprobe_core::ids::NodeName;
use tracing::info;

use super::Mesh;
use crate::pipeline::{Now, Told};
use crate::snapshot::NodeDetail;

impl Mesh {
    /// Takes it, and gives the node back as it is then; `None`: no node has that name.
    pub(in crate::pipeline) fn tell(
        &mut self,
        name: &str,
        told: Told,
        now: Now,
    ) -> Option<NodeDetail> {
        let node = self.membership.index_of(&NodeName::try_from(name).ok()?)?;
        match told {
            Told::Drained(drain) => {
                info!(node = name, until = %drain.until, author = drain.author, comment = drain.comment, "Node is drained");
                self.membership.handle_drain(node, Some(drain));
                self.judge.sync_node(&self.membership, node, now.moment);
            }
            Told::NotDrained => {
                info!(node = name, "Node is not drained any more");
                self.membership.handle_drain(node, None);
                self.judge.sync_node(&self.membership, node, now.moment);
            }
            Told::Event(event) => {
                info!(
                    node = name,
                    reason = event.reason,
                    message = event.message,
                    "The cluster said something of a node"
                );
                self.membership.handle_event(node, event, now.wall);
            }
        }
        self.pictures.note_news();
        self.node(name, now)
    }
}
