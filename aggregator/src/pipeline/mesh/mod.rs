//! The state of the mesh: members, sessions, matrix, judge. Owned by one task, changed by events, one after the other.
//!
//! No clock, no waiting: every method takes `now`, and the only channels are the streams' (bounded, `try_send`) and the
//! `watch` channels that publish. What must not be lost (incident changes) is returned.

mod by_hand;
mod hosts;
mod on_demand;
mod pictures;
mod publish;
mod reconfigure;
mod reports;
mod storing;
mod strangers;
mod told;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::ids::{NodeIndex, NodeName};
use meshprobe_core::path::Plane;
use meshprobe_core::time::Moment;
use meshprobe_proto::v1;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::diagnosis::{Diagnosed, Shot};
use super::metrics::PipelineMetrics;
use super::{Now, PathError, PipelineConfig};
use crate::incident::{IncidentChange, Transition};
use crate::ingest::event::StreamEvent;
use crate::ingest::refusal::Refusal;
use crate::ingest::session::{Admitted, ProberKey, Session, StreamEnd, StreamId, Succession};
use crate::judge::{Judge, Question};
use crate::matrix::{Census, Matrix, Rhythm, cell_details, target_cell_details};
use crate::membership::{
    Announcement, Expiry, JoinError, Joined, Membership, Progress, Remembered,
};
use crate::plan::{PlanConfig, Roster};
use crate::snapshot::{NodeDetail, PathCells, ProberDetail, Snapshot};

pub use by_hand::{MeshByHand, StreamByHand, now_by_hand};
use hosts::Hosts;
use on_demand::OnDemand;
use pictures::Pictures;
use publish::Published;
pub(super) use storing::Batch;
use storing::Storing;
use strangers::Strangers;

/// A goodbye that names a longer absence than this is taken for this.
const LONGEST_ABSENCE: Duration = Duration::from_secs(86_400);

/// The newest report of a node, whichever of its probers sent it.
#[derive(Clone, Copy, Debug)]
struct LastReport {
    at: Moment,
    way: Option<crate::membership::WayHome>,
}

/// Everything that is known of the mesh.
#[derive(Debug)]
pub(super) struct Mesh {
    plan: Arc<PlanConfig>,
    membership: Membership,
    sessions: HashMap<ProberKey, Session>,
    last_reports: HashMap<NodeIndex, LastReport>,
    hosts: Hosts,
    on_demand: OnDemand,
    strangers: Strangers,
    matrix: Matrix,
    judge: Judge,
    storing: Storing,
    census: Census,
    published: Published,
    pictures: Pictures,
    /// Changes of incidents that the next poll hands out.
    changes: Vec<IncidentChange>,
    metrics: PipelineMetrics,
}

impl Mesh {
    /// The mesh as it was remembered.
    pub(super) fn new(
        config: PipelineConfig,
        remembered: Remembered,
        metrics: PipelineMetrics,
        now: Now,
    ) -> Result<Self, JoinError> {
        let Remembered {
            nodes,
            progress,
            incidents,
        } = remembered;
        let membership = Membership::restore(config.membership, nodes, now.wall)?;
        let mut this = Self {
            judge: Judge::new(config.judge, &membership, incidents, now),
            matrix: Matrix::new(Rhythm::of(&config.plan)),
            plan: Arc::new(config.plan),
            sessions: HashMap::new(),
            last_reports: HashMap::new(),
            hosts: Hosts::default(),
            on_demand: OnDemand::default(),
            strangers: Strangers::default(),
            storing: Storing::new(progress),
            census: Census::default(),
            published: Published::new(now),
            pictures: Pictures::new(now.moment),
            changes: Vec::new(),
            membership,
            metrics,
        };
        this.matrix.grow(this.membership.index_bound());
        this.matrix.follow_targets(&this.plan);
        this.publish_roster(now);
        this.publish_snapshot(now);
        Ok(this)
    }

    pub(super) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.published.snapshots.subscribe()
    }

    pub(super) fn rosters(&self) -> watch::Receiver<Arc<Roster>> {
        self.published.rosters.subscribe()
    }

    pub(super) fn shots(&self) -> watch::Receiver<Option<Shot>> {
        self.pictures.shots.subscribe()
    }

    /// The diagnosis has looked at a picture. What it changes comes out of the next poll.
    pub(super) fn handle_diagnosed(&mut self, diagnosed: &Diagnosed, now: Now) {
        let changes = self
            .judge
            .handle_diagnosed(diagnosed, &self.membership, now);
        Self::log_changes(&changes);
        if !changes.is_empty() {
            self.published.hurry_snapshot(now.moment);
        }
        self.changes.extend(changes);
    }

    /// Something happened on a stream.
    pub(super) fn handle(&mut self, event: StreamEvent, now: Now) {
        self.pictures.note_news();
        match event {
            StreamEvent::Open {
                stream,
                hello,
                answer,
            } => {
                let admitted = self.open(stream, &hello, now);
                if let Err(refusal) = &admitted {
                    debug!(prober = %hello.node, plane = %hello.plane, error = %refusal, "Prober refused");
                }
                if let Err(Ok(admitted)) = answer.send(admitted) {
                    debug!(prober = %hello.node, "Prober hung up before it was admitted");
                    self.handle_closed(admitted.prober, stream, now);
                }
            }
            StreamEvent::Dictionary {
                prober,
                stream,
                dictionary,
            } => self.handle_dictionary(prober, stream, dictionary, now),
            StreamEvent::Report {
                prober,
                stream,
                report,
                arrived_at,
            } => self.handle_report(prober, stream, &report, arrived_at),
            StreamEvent::HostFacts {
                prober,
                stream,
                facts,
            } => self.handle_host_facts(prober, stream, *facts, now),
            StreamEvent::Trace {
                prober,
                stream,
                trace,
            } => self.handle_trace(prober, stream, *trace, now),
            StreamEvent::ProbeResult {
                prober,
                stream,
                result,
            } => self.handle_probe_result(prober, stream, *result, now),
            StreamEvent::Goodbye {
                prober,
                stream,
                goodbye,
            } => self.handle_goodbye(prober, stream, &goodbye, now),
            StreamEvent::Closed { prober, stream } => self.handle_closed(prober, stream, now),
        }
    }

    /// When [`Self::poll`] has something to do.
    pub(super) fn next_deadline(&self, now: Now) -> Moment {
        let membership = self.membership.next_deadline().map(|at| now.moment_at(at));
        [
            Some(self.judge.next_deadline()),
            self.published.next_deadline(&self.census),
            self.pictures.next_deadline(),
            membership,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now.moment)
    }

    /// Does what is due. The changes of incidents that somebody has to be told about.
    pub(super) fn poll(&mut self, now: Now) -> Vec<IncidentChange> {
        let changes = self.poll_decisions(now);
        self.publish(now);
        changes
    }

    /// The part of it that decides something.
    fn poll_decisions(&mut self, now: Now) -> Vec<IncidentChange> {
        let is_due = |at: jiff::Timestamp| at <= now.wall;
        if self.membership.next_deadline().is_some_and(is_due) {
            self.expire(now);
        }
        let mut changes = std::mem::take(&mut self.changes);
        if self.judge.next_deadline() <= now.moment {
            let judgement = self.judge.evaluate(&self.membership, now);
            if judgement.began_judging {
                info!("Warm-up over; failures open incidents from now on");
            }
            for question in &judgement.questions {
                self.ask(question);
            }
            Self::log_changes(&judgement.changes);
            if judgement.began_judging || !judgement.changes.is_empty() {
                self.pictures.note_news();
                self.published.hurry_snapshot(now.moment);
            }
            changes.extend(judgement.changes);
        }
        changes
    }

    /// One node, with what its probers say of themselves and their host; `None`: no node has that name.
    pub(super) fn node(&self, name: &str, now: Now) -> Option<NodeDetail> {
        let node = self.membership.index_of(&NodeName::try_from(name).ok()?)?;
        let member = self.membership.get(node)?;
        let prober = |plane| {
            let host = self.hosts.get(ProberKey { node, plane });
            let host = host.cloned().unwrap_or_default();
            ProberDetail {
                plane,
                last_report_at: host.last_report_at.map(|at| now.wall_at(at)),
                self_health: host.self_health,
                facts: host.facts.map(|(facts, at)| (facts, now.wall_at(at))),
            }
        };
        Some(NodeDetail {
            row: self.node_row(node, member, now),
            probers: member.seats().map(|seat| prober(seat.plane)).collect(),
            events: member.events().fresh(now.wall).cloned().collect(),
        })
    }

    /// Everything that is known between a node and another node or a target that is no node.
    pub(super) fn path(
        &self,
        source: &str,
        target: &str,
        now: Now,
    ) -> Result<PathCells, PathError> {
        let node = |text: &str| {
            let name = NodeName::try_from(text).ok()?;
            self.membership.index_of(&name)
        };
        let unknown = || PathError::UnknownSource(source.to_owned());
        let from = node(source).ok_or_else(unknown)?;
        if let Some(to) = node(target) {
            return Ok(PathCells {
                forward: cell_details(&self.matrix, from, to, now),
                reverse: cell_details(&self.matrix, to, from, now),
                forward_traces: self.matrix.traced(from, to, now),
                reverse_traces: self.matrix.traced(to, from, now),
            });
        }
        let columns = self.matrix.targets.named(target);
        if columns.is_empty() {
            return Err(PathError::UnknownTarget(target.to_owned()));
        }
        let cells = columns
            .iter()
            .flat_map(|column| target_cell_details(&self.matrix, from, *column, now));
        let traces = columns
            .iter()
            .flat_map(|column| self.matrix.traced_target(from, *column, now));
        Ok(PathCells {
            forward: cells.collect(),
            reverse: Vec::new(),
            forward_traces: traces.collect(),
            reverse_traces: Vec::new(),
        })
    }

    fn open(
        &mut self,
        stream: StreamId,
        hello: &Announcement,
        now: Now,
    ) -> Result<Admitted, Refusal> {
        let known = self.membership.index_of(&hello.node);
        let known_session = known.and_then(|node| {
            let plane = hello.plane;
            self.sessions.get(&ProberKey { node, plane })
        });
        let succession = known_session
            .map(|session| session.check(hello, now.moment))
            .transpose()?;
        let joined = self.membership.handle_hello(hello)?;
        let prober = ProberKey {
            node: joined.node(),
            plane: hello.plane,
        };
        self.announce(joined, hello);
        self.judge
            .sync_node(&self.membership, prober.node, now.moment);
        self.published.plan_changed(&self.membership, now.moment);
        if succession != Some(Succession::Same) {
            self.begin_session(prober, hello, now);
        }
        let Some(session) = self.sessions.get_mut(&prober) else {
            return Err(Refusal::ShuttingDown);
        };
        let (admitted, surplus) = session.open(stream, hello, prober, now.moment);
        self.judge.handle_stream_opened(prober.node);
        self.metrics.streams.inc();
        self.end_streams(prober, surplus, now);
        Ok(admitted)
    }

    /// A new start of a prober: what the former one said is over.
    fn begin_session(&mut self, prober: ProberKey, hello: &Announcement, now: Now) {
        self.membership.handle_start(prober.node);
        let stored = self.storing.progress(&hello.node, hello.plane);
        let session = Session::new(hello, stored, now.moment);
        if let Some(former) = self.sessions.insert(prober, session) {
            info!(prober = %hello.node, plane = %hello.plane, "Prober started anew");
            self.judge.handle_restart(prober.node);
            self.on_demand.handle_gone(prober);
            self.end_streams(prober, former.streams, now);
        }
    }

    /// Dropping our ends makes the streams' tasks end them.
    fn end_streams(&mut self, prober: ProberKey, streams: Vec<StreamEnd>, now: Now) {
        for _ended in streams {
            self.judge.handle_stream_closed(prober.node, now.moment);
            self.metrics.streams.dec();
        }
    }

    fn announce(&mut self, joined: Joined, hello: &Announcement) {
        match joined {
            Joined::New(node) => {
                info!(prober = %hello.node, plane = %hello.plane, zone = hello.zone, "Node joined");
                for known in self.strangers.take(&hello.node) {
                    let session = self.sessions.get_mut(&known.prober);
                    let session = session.filter(|s| s.incarnation.0 == known.incarnation);
                    if let Some(session) = session {
                        session.dictionary.resolve(known.number, node);
                    }
                }
                // Reports about it may come before the next roster.
                self.matrix.grow(self.membership.index_bound());
            }
            Joined::Back(_) => info!(prober = %hello.node, plane = %hello.plane, "Node is back"),
            Joined::Known(_) => {
                debug!(prober = %hello.node, plane = %hello.plane, way = ?hello.way, "Prober connected");
            }
        }
    }

    fn handle_goodbye(
        &mut self,
        prober: ProberKey,
        stream: StreamId,
        goodbye: &v1::Goodbye,
        now: Now,
    ) {
        let Some(session) = self.sessions.get_mut(&prober) else {
            return;
        };
        if session.hear(stream, now.moment).is_none() {
            return;
        }
        session.say_goodbye();
        let back_within = Duration::from_secs(goodbye.back_within_seconds.into());
        let back_within = back_within.min(LONGEST_ABSENCE);
        self.membership
            .handle_goodbye(prober.node, prober.plane, back_within, now.wall);
        self.judge
            .sync_node(&self.membership, prober.node, now.moment);
        if let Some(member) = self.membership.get(prober.node) {
            let reason: String = goodbye.reason.chars().take(64).collect();
            info!(prober = %member.profile.name, plane = %prober.plane, reason, ?back_within, "Prober said goodbye");
        }
    }

    fn handle_closed(&mut self, prober: ProberKey, stream: StreamId, now: Now) {
        let Some(session) = self.sessions.get_mut(&prober) else {
            return;
        };
        if session.close(stream) {
            self.judge.handle_stream_closed(prober.node, now.moment);
            self.metrics.streams.dec();
            if session.streams.is_empty() {
                self.on_demand.handle_gone(prober);
            }
        }
    }

    /// Lets those go whose time is over.
    fn expire(&mut self, now: Now) {
        for expiry in self.membership.poll(now.wall) {
            match expiry {
                Expiry::Gone(node) | Expiry::SeatGone(node) => {
                    if let Some(member) = self.membership.get(node) {
                        info!(prober = %member.profile.name, lifecycle = %member.lifecycle, "Prober did not come back in time");
                    }
                    self.judge.sync_node(&self.membership, node, now.moment);
                }
                Expiry::DrainOver(node) => {
                    if let Some(member) = self.membership.get(node) {
                        info!(node = %member.profile.name, lifecycle = %member.lifecycle, "The time for which the node was drained is over");
                    }
                    self.judge.sync_node(&self.membership, node, now.moment);
                }
                Expiry::Forgotten(node, name) => self.forget(node, &name, now),
            }
        }
        self.published.plan_changed(&self.membership, now.moment);
    }

    /// Nothing of the node stays behind for the next one that gets its number.
    fn forget(&mut self, node: NodeIndex, name: &NodeName, now: Now) {
        self.judge.sync_node(&self.membership, node, now.moment);
        self.matrix.clear_node(node);
        self.last_reports.remove(&node);
        self.hosts.forget_node(node);
        self.pictures.forget_rows();
        self.metrics.forget_node(name.as_str());
        self.sessions.retain(|prober, _| prober.node != node);
        for (prober, session) in &mut self.sessions {
            if let Some(number) = session.dictionary.forget(node, name) {
                let incarnation = session.incarnation.0;
                self.strangers.note(name, *prober, incarnation, number);
            }
        }
    }

    /// Asks a node's probers to probe others at once, or only to report.
    fn ask(&self, question: &Question) {
        let node = question.node;
        for plane in [Plane::Pod, Plane::Host] {
            let prober = ProberKey { node, plane };
            let Some(session) = self.sessions.get(&prober) else {
                continue;
            };
            let ssid = |subject: &NodeIndex| {
                let member = self.membership.get(*subject)?;
                let seat = member
                    .seat(prober.plane)
                    .or_else(|| member.seats().next())?;
                Some(seat.ssid.0.into())
            };
            let peer_ssid: Vec<u32> = question.subjects.iter().filter_map(ssid).collect();
            for stream in &session.streams {
                let confirm = v1::Confirm {
                    peer_ssid: peer_ssid.clone(),
                };
                let sent = stream.confirms.try_send(confirm).is_ok();
                self.metrics
                    .count_confirm(if sent { "sent" } else { "dropped" });
            }
        }
    }

    fn log_changes(changes: &[IncidentChange]) {
        for change in changes {
            let incident = &change.incident;
            let transition = change.transition.as_str();
            let (id, pattern) = (&incident.id, incident.pattern);
            match change.transition {
                Transition::Opened | Transition::Reopened => {
                    warn!(incident = %id, %pattern, transition, "{}", incident.summary);
                }
                Transition::Refined => {
                    debug!(incident = %id, %pattern, transition, "{}", incident.summary);
                }
                Transition::Updated | Transition::Resolved => {
                    info!(incident = %id, %pattern, transition, "{}", incident.summary);
                }
            }
        }
    }

    fn name_of(&self, prober: ProberKey) -> Option<&NodeName> {
        self.membership
            .get(prober.node)
            .map(|member| &member.profile.name)
    }
}

/// What the store knows of a prober's reports.
fn progress_of(name: &NodeName, prober: ProberKey, session: &Session) -> Progress {
    Progress {
        node: name.clone(),
        plane: prober.plane,
        incarnation: session.incarnation.0,
        through: session.sequence.through(),
        taken: session.taken,
    }
}
