//! Who belongs to the mesh.
//!
//! A node comes from the configuration, from the store, or by calling: the Hello of an unknown prober makes a node. It
//! leaves only by words: its prober says goodbye and does not come back in the time that it named. **A node never leaves
//! because it fell silent**, or the one failure that matters most would vanish from the matrix.
//!
//! Life of a node: `active → leaving (goodbye) → gone (time is over) → forgotten`; a Hello at any point before the last
//! makes it active again. Beside that somebody may say that it is drained (`told`): then it is not judged for a time. While it is gone it keeps its number and its session identifiers, so a node that is switched on
//! after a weekend is the node that it was.
//!
//! Pure: `now` comes in, what has to be remembered is taken out with [`Membership::take_changed`].

mod announcement;
mod member;
mod record;
mod ssid;
mod told;
mod zones;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use meshprobe_core::ids::{NodeIndex, NodeName, Ssid, ZoneIndex};
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::path::Plane;

use crate::snapshot::NodeProfile;
use crate::wall::later;
use member::same_for_plan;
use ssid::SsidPool;

pub use announcement::{Announcement, AnnouncementError};
pub use member::{Member, Seat};
pub use record::{
    NodeAddress, NodeRecord, ProberRecord, Progress, Remembered, StoreChange, WayHome,
};
pub use told::{Drain, NodeEvent, NodeEvents, ToldError, USUAL_DRAIN};
pub use zones::Zones;

/// A node that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticNode {
    /// Its name.
    pub name: NodeName,
    /// Failure domain, empty if unknown.
    pub zone: String,
    /// Larger failure domain, empty if unknown.
    pub region: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where it can be probed.
    pub addresses: Vec<NodeAddress>,
}

/// Limits of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipConfig {
    /// Nodes that exist before they call.
    pub static_nodes: Vec<StaticNode>,
    /// Does a prober of an unknown node make it a node?
    pub self_registration: bool,
    /// Most nodes; further ones are refused.
    pub max_nodes: usize,
    /// How long a node that is gone keeps its number.
    pub forget_after: Duration,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        Self {
            static_nodes: Vec::new(),
            self_registration: true,
            max_nodes: 5_000,
            forget_after: Duration::from_secs(7 * 86_400),
        }
    }
}

/// Why a node cannot join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Nodes do not register themselves here, and this one is not listed.
    #[error(
        "this node is not in the aggregator's configuration and membership.self_registration is off; add it to `nodes`"
    )]
    NotListed,
    /// The mesh is full.
    #[error("the mesh has {0} nodes, which is the limit; raise max_nodes")]
    TooManyNodes(usize),
    /// Every session identifier is in use.
    #[error("all 65,535 session identifiers are in use")]
    NoSsid,
}

/// What a Hello meant for the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// A node that nobody knew.
    New(NodeIndex),
    /// A node that was leaving or gone is back.
    Back(NodeIndex),
    /// A node that is known and expected.
    Known(NodeIndex),
}

impl Joined {
    /// The node.
    pub const fn node(self) -> NodeIndex {
        match self {
            Self::New(node) | Self::Back(node) | Self::Known(node) => node,
        }
    }
}

/// A change that time brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It did not come back in time.
    Gone(NodeIndex),
    /// One of its probers did not come back in time; another one works on.
    SeatGone(NodeIndex),
    /// The time for which it was drained is over: it is judged again.
    DrainOver(NodeIndex),
    /// It was gone for so long that its number is free again.
    Forgotten(NodeIndex, NodeName),
}

/// Every node of the mesh.
#[derive(Clone, Debug)]
pub struct Membership {
    config: MembershipConfig,
    /// By node index; `None`: the number is free.
    members: Vec<Option<Member>>,
    by_name: HashMap<NodeName, NodeIndex>,
    ssids: SsidPool,
    zones: Zones,
    changed: BTreeSet<NodeIndex>,
    forgotten: Vec<NodeName>,
    plan_version: u64,
    /// See [`Self::next_deadline`]; kept because it is asked for at every turn of the mesh task.
    deadline: Option<Timestamp>,
}

impl Membership {
    /// The mesh as it was remembered, and the configured nodes.
    pub fn restore(
        config: MembershipConfig,
        records: Vec<NodeRecord>,
        now: Timestamp,
    ) -> Result<Self, JoinError> {
        let mut this = Self {
            config,
            members: Vec::new(),
            by_name: HashMap::new(),
            ssids: SsidPool::default(),
            zones: Zones::default(),
            changed: BTreeSet::new(),
            forgotten: Vec::new(),
            plan_version: 1,
            deadline: None,
        };
        for record in records {
            this.take_record(record, now);
        }
        for node in std::mem::take(&mut this.config.static_nodes) {
            this.take_static(&node)?;
            this.config.static_nodes.push(node);
        }
        this.deadline = this.find_deadline();
        Ok(this)
    }

    /// The node with this number.
    pub fn get(&self, node: NodeIndex) -> Option<&Member> {
        self.members.get(node.index())?.as_ref()
    }

    /// The number of the node with this name.
    pub fn index_of(&self, name: &NodeName) -> Option<NodeIndex> {
        self.by_name.get(name).copied()
    }

    /// Every node that is not forgotten, by number.
    pub fn iter(&self) -> impl Iterator<Item = (NodeIndex, &Member)> {
        let members = self.members.iter().enumerate();
        members.filter_map(|(i, member)| Some((NodeIndex(i as u32), member.as_ref()?)))
    }

    /// Every node that is not gone, by number.
    pub fn present(&self) -> impl Iterator<Item = (NodeIndex, &Member)> {
        self.iter()
            .filter(|(_, member)| member.lifecycle != Lifecycle::Gone)
    }

    /// All node numbers are below this one.
    pub fn index_bound(&self) -> usize {
        self.members.len()
    }

    /// Takes over another configuration, or leaves everything as it is.
    ///
    /// Listed nodes come or change. One that is no longer listed goes if no prober of it ever called; otherwise it stays
    /// until its prober says goodbye.
    pub fn reconfigure(
        &mut self,
        config: MembershipConfig,
        now: Timestamp,
    ) -> Result<(), JoinError> {
        let newcomers = config.static_nodes.iter();
        let newcomers = newcomers.filter(|node| self.index_of(&node.name).is_none());
        if self.by_name.len() + newcomers.count() > config.max_nodes {
            return Err(JoinError::TooManyNodes(config.max_nodes));
        }
        let listed: BTreeSet<NodeName> = config
            .static_nodes
            .iter()
            .map(|node| node.name.clone())
            .collect();
        for node in &self.config.static_nodes {
            let index = self.by_name.get(&node.name);
            if let Some(index) = index.filter(|_| !listed.contains(&node.name))
                && let Some(Some(member)) = self.members.get_mut(index.index())
                && member.profile.prober_version.is_empty()
            {
                for seat in &mut member.seats {
                    seat.away_until = Some(now);
                }
                member.lifecycle = Lifecycle::Leaving;
                self.changed.insert(*index);
            }
        }
        let static_nodes = config.static_nodes.clone();
        self.config = config;
        for node in &static_nodes {
            self.take_static(node)?;
        }
        self.plan_version += 1;
        self.deadline = self.find_deadline();
        Ok(())
    }

    /// The zones.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// Grows with each change that concerns the plan: who is there, and where.
    pub fn plan_version(&self) -> u64 {
        self.plan_version
    }

    /// A prober called, and its session was admitted.
    pub fn handle_hello(&mut self, hello: &Announcement) -> Result<Joined, JoinError> {
        let known = self.index_of(&hello.node);
        let node = match known {
            Some(node) => node,
            None if !self.config.self_registration => return Err(JoinError::NotListed),
            None => self.add(hello.node.clone())?,
        };
        self.take_seat(node, hello.plane)?;
        let member = self.members[node.index()]
            .as_mut()
            .ok_or(JoinError::TooManyNodes(self.config.max_nodes))?;
        let before = (
            member.lifecycle,
            member.seats.clone(),
            Arc::clone(&member.profile),
        );
        if let Some(seat) = member.seats.iter_mut().find(|s| s.plane == hello.plane) {
            seat.version.clone_from(&hello.version);
            seat.away_until = None;
            seat.is_gone = false;
            if !hello.addresses.is_empty() {
                seat.addresses.clone_from(&hello.addresses);
            }
        }
        let mut profile = NodeProfile::clone(&member.profile);
        if !hello.zone.is_empty() {
            profile.zone.clone_from(&hello.zone);
        }
        if !hello.region.is_empty() {
            profile.region.clone_from(&hello.region);
        }
        if !hello.labels.is_empty() {
            profile.labels.clone_from(&hello.labels);
        }
        member.lifecycle = member.present_lifecycle();
        member.gone_since = None;
        member.refresh(profile, &mut self.zones);
        let (lifecycle, seats, profile) = before;
        let is_plan_news = lifecycle == Lifecycle::Gone
            || !same_for_plan(&seats, &member.seats)
            || profile.addresses != member.profile.addresses;
        let is_news = is_plan_news
            || lifecycle != member.lifecycle
            || seats != member.seats
            || profile != member.profile;
        let is_back = lifecycle != Lifecycle::Active && member.lifecycle == Lifecycle::Active;
        if is_news || known.is_none() {
            self.changed.insert(node);
        }
        if lifecycle != Lifecycle::Active {
            self.deadline = self.find_deadline();
        }
        if is_plan_news || known.is_none() {
            self.plan_version += 1;
        }
        Ok(match (known, is_back) {
            (None, _) => Joined::New(node),
            (Some(_), true) => Joined::Back(node),
            (Some(_), false) => Joined::Known(node),
        })
    }

    /// A prober said goodbye: it is expected back within `back_within`.
    pub fn handle_goodbye(
        &mut self,
        node: NodeIndex,
        plane: Plane,
        back_within: Duration,
        now: Timestamp,
    ) {
        let Some(Some(member)) = self.members.get_mut(node.index()) else {
            return;
        };
        let Some(seat) = member.seats.iter_mut().find(|seat| seat.plane == plane) else {
            return;
        };
        seat.away_until = Some(later(now, back_within));
        member.lifecycle = Lifecycle::Leaving;
        self.changed.insert(node);
        self.deadline = self.find_deadline();
    }

    /// Somebody says that the node is cordoned or drained; `None`: that it is not any more.
    pub fn handle_drain(&mut self, node: NodeIndex, drain: Option<Drain>) {
        let Some(Some(member)) = self.members.get_mut(node.index()) else {
            return;
        };
        member.set_drain(drain);
        self.changed.insert(node);
        self.deadline = self.find_deadline();
    }

    /// The cluster said something of the node.
    pub fn handle_event(&mut self, node: NodeIndex, event: NodeEvent, now: Timestamp) {
        if let Some(Some(member)) = self.members.get_mut(node.index()) {
            member.events.add(event, now);
            self.changed.insert(node);
        }
    }

    /// A prober of the node was started anew: what kept it from that is over.
    pub fn handle_start(&mut self, node: NodeIndex) {
        if let Some(Some(member)) = self.members.get_mut(node.index())
            && member.events.prober_started()
        {
            self.changed.insert(node);
        }
    }

    /// When [`Self::poll`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    fn find_deadline(&self) -> Option<Timestamp> {
        let forget_after = self.config.forget_after;
        self.iter()
            .flat_map(|(_, member)| {
                let away = member.seats.iter().filter_map(|seat| seat.away_until);
                let forgotten = member.gone_since.map(|since| later(since, forget_after));
                let drained = member.drain.as_ref().map(|drain| drain.until);
                away.chain(forgotten).chain(drained)
            })
            .min()
    }

    /// Lets those go whose time is over.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Expiry> {
        let mut expiries = Vec::new();
        for (index, slot) in self.members.iter_mut().enumerate() {
            let node = NodeIndex(index as u32);
            let Some(member) = slot else { continue };
            if member.expire(now) {
                self.changed.insert(node);
                self.plan_version += 1;
                let profile = NodeProfile::clone(&member.profile);
                member.refresh(profile, &mut self.zones);
                expiries.push(match member.lifecycle {
                    Lifecycle::Gone => Expiry::Gone(node),
                    Lifecycle::Active | Lifecycle::Draining | Lifecycle::Leaving => {
                        Expiry::SeatGone(node)
                    }
                });
            }
            if member
                .drain
                .as_ref()
                .is_some_and(|drain| drain.until <= now)
            {
                member.set_drain(None);
                self.changed.insert(node);
                expiries.push(Expiry::DrainOver(node));
            }
            let forget_after = self.config.forget_after;
            let is_over = member
                .gone_since
                .is_some_and(|since| later(since, forget_after) <= now);
            if is_over {
                for seat in &member.seats {
                    self.ssids.release(seat.ssid);
                }
                self.by_name.remove(&member.profile.name);
                self.changed.remove(&node);
                let name = member.profile.name.clone();
                self.forgotten.push(name.clone());
                *slot = None;
                expiries.push(Expiry::Forgotten(node, name));
            }
        }
        self.deadline = self.find_deadline();
        expiries
    }

    /// What has to be remembered since the last call.
    pub fn take_changed(&mut self) -> Vec<StoreChange> {
        let forgotten = std::mem::take(&mut self.forgotten);
        let changed = std::mem::take(&mut self.changed);
        let records = changed
            .into_iter()
            .filter_map(|node| Some(StoreChange::Node(self.get(node)?.record())));
        let forgotten: Vec<_> = forgotten.into_iter().map(StoreChange::Forget).collect();
        forgotten
            .into_iter()
            .chain(records.collect::<Vec<_>>())
            .collect()
    }

    /// What would be remembered of every node now.
    #[cfg(test)]
    pub(crate) fn records(&self) -> Vec<NodeRecord> {
        self.iter().map(|(_, member)| member.record()).collect()
    }

    /// What was taken could not be stored: it has to be taken again.
    pub fn give_back(&mut self, changes: Vec<StoreChange>) {
        for change in changes {
            match change {
                StoreChange::Node(record) => {
                    self.changed.extend(self.by_name.get(&record.name).copied());
                }
                StoreChange::Forget(name) if !self.by_name.contains_key(&name) => {
                    self.forgotten.push(name);
                }
                StoreChange::Forget(_) | StoreChange::Progress(_) => {}
            }
        }
    }

    /// Is there anything for [`Self::take_changed`]?
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty() || !self.forgotten.is_empty()
    }

    fn add(&mut self, name: NodeName) -> Result<NodeIndex, JoinError> {
        if self.by_name.len() >= self.config.max_nodes {
            return Err(JoinError::TooManyNodes(self.config.max_nodes));
        }
        let profile = NodeProfile {
            name: name.clone(),
            zone: String::new(),
            region: String::new(),
            labels: BTreeMap::new(),
            addresses: Vec::new(),
            prober_version: String::new(),
        };
        let member = Member {
            profile: Arc::new(profile),
            zone: ZoneIndex(0),
            lifecycle: Lifecycle::Active,
            gone_since: None,
            seats: Vec::new(),
            drain: None,
            events: NodeEvents::default(),
        };
        let free = self.members.iter().position(Option::is_none);
        let index = free.unwrap_or(self.members.len());
        if index == self.members.len() {
            self.members.push(None);
        }
        self.members[index] = Some(member);
        let node = NodeIndex(index as u32);
        self.by_name.insert(name, node);
        Ok(node)
    }

    fn take_seat(&mut self, node: NodeIndex, plane: Plane) -> Result<(), JoinError> {
        let Some(Some(member)) = self.members.get_mut(node.index()) else {
            return Ok(());
        };
        if member.seats.iter().any(|seat| seat.plane == plane) {
            return Ok(());
        }
        let ssid = self.ssids.allot().ok_or(JoinError::NoSsid)?;
        member.seats.push(Seat {
            plane,
            ssid,
            version: String::new(),
            addresses: Vec::new(),
            away_until: None,
            is_gone: false,
        });
        member.seats.sort_unstable_by_key(|seat| seat.plane);
        Ok(())
    }

    fn take_record(&mut self, record: NodeRecord, now: Timestamp) {
        let Ok(node) = self.add(record.name) else {
            return;
        };
        let is_gone = record.lifecycle == Lifecycle::Gone;
        let away_until =
            (record.lifecycle == Lifecycle::Leaving).then(|| record.lifecycle_until.unwrap_or(now));
        let mut seats = Vec::new();
        for prober in record.probers {
            // A record with another prober's identifier is given a new one, as if it were new.
            let ssid = if self.ssids.reserve(prober.ssid) {
                Some(Ssid(prober.ssid))
            } else {
                self.changed.insert(node);
                self.ssids.allot()
            };
            seats.extend(ssid.map(|ssid| Seat {
                plane: prober.plane,
                ssid,
                version: prober.version,
                addresses: prober.addresses,
                away_until,
                is_gone,
            }));
        }
        let Some(Some(member)) = self.members.get_mut(node.index()) else {
            return;
        };
        member.lifecycle = record.lifecycle;
        member.gone_since = is_gone.then(|| record.lifecycle_until.unwrap_or(now));
        member.seats = seats;
        member.events = record.events;
        // A drain that ended meanwhile ends at the first poll.
        member.set_drain(record.drain);
        let mut profile = NodeProfile::clone(&member.profile);
        profile.zone = record.zone;
        profile.region = record.region;
        profile.labels = record.labels;
        member.refresh(profile, &mut self.zones);
    }

    fn take_static(&mut self, node: &StaticNode) -> Result<(), JoinError> {
        let known = self.index_of(&node.name);
        let index = match known {
            Some(index) => index,
            None => self.add(node.name.clone())?,
        };
        let only_host =
            !node.addresses.is_empty() && node.addresses.iter().all(|a| a.plane == Plane::Host);
        let plane = if only_host { Plane::Host } else { Plane::Pod };
        self.take_seat(index, plane)?;
        if let Some(Some(member)) = self.members.get_mut(index.index()) {
            let mut profile = NodeProfile::clone(&member.profile);
            profile.zone.clone_from(&node.zone);
            profile.region.clone_from(&node.region);
            profile.labels.clone_from(&node.labels);
            for seat in member.seats.iter_mut().filter(|s| s.version.is_empty()) {
                seat.addresses.clone_from(&node.addresses);
            }
            member.refresh(profile, &mut self.zones);
            self.changed.insert(index);
        }
        Ok(())
    }
}
