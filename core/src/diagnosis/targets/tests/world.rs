//! A small cluster in virtual time: every question and connection is really drawn, and counted by the cells that the
//! aggregator counts with. One picture a second.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::columns::{ABSENT_NAME, CLUSTER_NAME, EXTERNAL_NAME, layers};
use super::faults::{Fate, Faults};
use super::mesh::mesh;
use crate::cell::PathCell;
use crate::coverage::Coverage;
use crate::dark::NodeState;
use crate::detail::{
    BackendCount, Detail, DnsDetail, ExternalDetail, Phases, SearchDetail, ServiceDetail,
};
use crate::diagnosis::{
    CellPicture, Columns, HostFacts, LayerPicture, NodePicture, Picture, ProberPicture, RowPicture,
    SelfHealth, Target, TargetName, Topology, TopologyNode,
};
use crate::finding::Pattern;
use crate::ids::{NodeName, ZoneIndex};
use crate::lifecycle::Lifecycle;
use crate::outcome::OutcomeClass;
use crate::path::{Layer, Plane, ProbeKind};
use crate::time::Moment;
use crate::verdict::Thresholds;
use crate::window::Summary;

const REPORT: f64 = 10.0;
const STEP: f64 = 0.1;
const START: f64 = 1_000.0;

struct Probed {
    source: usize,
    layer: usize,
    column: usize,
    cell: PathCell,
    thresholds: Thresholds,
    interval: f64,
    timeout: f64,
    grid: f64,
    next: f64,
    follow_ups: u32,
    window: Summary,
    window_began: f64,
    consecutive: u8,
    /// What becomes known, and when.
    under_way: Option<(f64, Fate)>,
    detail: Option<Detail>,
    history: VecDeque<Option<usize>>,
}

/// The cluster.
pub(super) struct World {
    pub(super) nodes: usize,
    pub(super) faults: Faults,
    pub(super) noise: f64,
    /// Where each DNS instance lives.
    pub(super) dns: Vec<usize>,
    layers: Vec<(Layer, f64, Arc<[Target]>)>,
    paths: Vec<Probed>,
    now: f64,
    dice: Dice,
    /// Nodes that have something to report at once.
    hurried: BTreeSet<usize>,
}

fn node_name(node: usize) -> String {
    format!("mesh-{}", node + 1)
}

impl World {
    /// `targets`: names as applications ask them, a service, and targets outside are probed too.
    pub(super) fn new(nodes: usize, targets: bool, seed: u64) -> Self {
        let dns: Vec<usize> = (0..2).map(|instance| (instance + 1) % nodes).collect();
        let mut world = Self {
            nodes,
            faults: Faults::default(),
            noise: 0.0,
            layers: layers(&dns, targets),
            dns,
            paths: Vec::new(),
            now: START,
            hurried: BTreeSet::new(),
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        };
        for (layer, (of, interval, targets)) in world.layers.iter().enumerate() {
            let timeout = match of.kind {
                ProbeKind::TcpConnect => 4.0,
                ProbeKind::Tls | ProbeKind::DnsSearch => 5.0,
                ProbeKind::Http => 10.0,
                _ => 1.0,
            };
            for source in 0..nodes {
                for column in 0..targets.len() {
                    let phase = world.dice.chance() * interval;
                    world.paths.push(Probed {
                        source,
                        layer,
                        column,
                        cell: PathCell::EMPTY,
                        thresholds: Thresholds::for_mesh(1_000, *interval, REPORT),
                        interval: *interval,
                        timeout,
                        grid: START + phase,
                        next: START + phase,
                        follow_ups: 0,
                        window: Summary::default(),
                        window_began: START,
                        consecutive: 0,
                        under_way: None,
                        detail: None,
                        history: VecDeque::new(),
                    });
                }
            }
        }
        world.run(60.0);
        world
    }

    pub(super) fn with_noise(mut self, noise: f64) -> Self {
        self.noise = noise;
        self
    }

    /// So many seconds pass.
    pub(super) fn run(&mut self, seconds: f64) {
        let end = self.now + seconds;
        let mut paths = std::mem::take(&mut self.paths);
        while self.now < end - 1e-9 {
            self.now += STEP;
            for path in &mut paths {
                self.step(path);
            }
            // What cannot wait takes all the news of its node with it.
            let hurried = std::mem::take(&mut self.hurried);
            for path in &mut paths {
                if hurried.contains(&path.source) {
                    self.flush(path);
                }
            }
        }
        self.paths = paths;
    }

    fn step(&mut self, path: &mut Probed) {
        if let Some((at, fate)) = path.under_way.take_if(|(at, _)| *at <= self.now) {
            self.ended(path, &fate, at);
        }
        if path.under_way.is_none() && path.next <= self.now {
            let fate = self.fate(path);
            let waits = match fate {
                Fate::Timeout => path.timeout,
                _ => 0.02,
            };
            path.under_way = Some((self.now + waits, fate));
            while path.grid <= self.now {
                path.grid += path.interval;
            }
            path.next = path.grid;
        }
        // Reports of different nodes come at different times.
        let phase = (path.source as f64 * 3.7) % REPORT;
        let turn = |at: f64| ((at - phase) / REPORT).floor();
        if turn(self.now) > turn(self.now - STEP) {
            self.flush(path);
        }
    }

    fn ended(&mut self, path: &mut Probed, fate: &Fate, at: f64) {
        let class = fate.class();
        path.window.sent += 1;
        let before = path.consecutive;
        if class.is_loss() {
            path.consecutive = path.consecutive.saturating_add(1);
            path.window.last_failure = Some(class);
            if before == 0 {
                path.follow_ups = 3;
            }
            if path.follow_ups > 0 {
                path.follow_ups -= 1;
                path.next = path.next.min(at + 0.25);
            }
        } else {
            path.window.replied += 1;
            path.consecutive = 0;
            path.follow_ups = 0;
        }
        path.window.consecutive_losses = path.consecutive;
        if class.is_loss() && path.consecutive <= 5 || (before > 0 && path.consecutive == 0) {
            self.hurried.insert(path.source);
        }
    }

    fn flush(&mut self, path: &mut Probed) {
        let mut window = std::mem::take(&mut path.window);
        window.window_millis = ((self.now - path.window_began) * 1_000.0) as u32;
        window.consecutive_losses = path.consecutive;
        path.window_began = self.now;
        if !self.faults.dark.contains(&path.source) {
            path.cell.apply(&window, self.moment(), &path.thresholds);
        }
    }

    fn moment(&self) -> Moment {
        Moment::from_millis((self.now * 1_000.0) as u64)
    }

    fn fate(&mut self, path: &mut Probed) -> Fate {
        let target = self.layers[path.layer].2[path.column].clone();
        let source = path.source;
        if self.faults.freeze
            || self.faults.dark.contains(&source)
            || self.dice.chance() < self.noise
        {
            return Fate::Timeout;
        }
        match &target.name {
            TargetName::Dns {
                server,
                name,
                plane,
                expected_rcode,
                ..
            } => {
                let instance = if *plane == Plane::Service {
                    self.draw_instance(source)
                } else {
                    server
                        .strip_prefix("dns-")
                        .and_then(|n| n.parse::<usize>().ok())
                        .map(|n| n - 1)
                };
                let fate = instance.map_or(Fate::Timeout, |i| self.ask(source, i, name));
                let rcode = match fate {
                    Fate::Reply => Some(if name == ABSENT_NAME { 3 } else { 0 }),
                    Fate::Rcode(code) => Some(code),
                    _ => None,
                };
                path.detail = Some(Detail::Dns(DnsDetail {
                    rcode,
                    ..DnsDetail::default()
                }));
                if rcode.is_some_and(|code| code != *expected_rcode) {
                    return Fate::Rcode(rcode.unwrap_or(0));
                }
                fate
            }
            TargetName::Search { name } => {
                let full = if name == "kubernetes" {
                    CLUSTER_NAME
                } else {
                    EXTERNAL_NAME
                };
                let class = self.resolve(source, full);
                path.detail = Some(Detail::Search(SearchDetail::default()));
                class.map_or(Fate::Reply, Fate::Unresolved)
            }
            TargetName::Service { .. } => self.connect_service(path),
            TargetName::External { endpoint, kind, .. } => {
                let fate = self.connect_outside(source, endpoint, *kind);
                path.detail = Some(Detail::External(outside_detail(endpoint, &fate)));
                fate
            }
        }
    }

    fn draw_instance(&mut self, source: usize) -> Option<usize> {
        if self.faults.no_vips.contains(&source) || self.faults.no_dns_vip.contains(&source) {
            return None;
        }
        Some((self.dice.chance() * self.dns.len() as f64) as usize)
    }

    fn ask(&mut self, source: usize, instance: usize, name: &str) -> Fate {
        let host = self.dns[instance];
        let lossy = self.faults.dns_loss.get(&instance).copied().unwrap_or(0.0);
        let is_mute = |node| self.faults.mute.contains(&node);
        if self.faults.blocked.contains(&source)
            || self.faults.silent_dns.contains(&instance)
            || self.faults.dark.contains(&host)
            || (source != host && (is_mute(source) || is_mute(host)))
            || (name == EXTERNAL_NAME && is_mute(host))
            || self.dice.chance() < lossy
        {
            return Fate::Timeout;
        }
        if self.faults.dead_dns.contains(&instance) {
            return Fate::Refused;
        }
        if name == EXTERNAL_NAME && self.faults.servfail {
            return Fate::Rcode(2);
        }
        if name == EXTERNAL_NAME && self.faults.no_way_out {
            // The server waits for its upstream; sometimes it remembers that it failed.
            return if self.dice.chance() < 0.3 {
                Fate::Timeout
            } else {
                Fate::Rcode(2)
            };
        }
        if self.faults.absent.contains(name) {
            return Fate::Rcode(3);
        }
        Fate::Reply
    }

    /// As the C library does: twice the virtual IP.
    fn resolve(&mut self, source: usize, name: &str) -> Option<OutcomeClass> {
        if self.faults.drift.contains(&source) {
            return (name == CLUSTER_NAME).then_some(OutcomeClass::Rcode);
        }
        let mut last = OutcomeClass::Timeout;
        for _ in 0..2 {
            let instance = self.draw_instance(source);
            let fate = instance.map_or(Fate::Timeout, |i| self.ask(source, i, name));
            match fate {
                Fate::Reply => return None,
                other => last = other.class(),
            }
        }
        Some(last)
    }

    fn connect_service(&mut self, path: &mut Probed) -> Fate {
        let backend = (self.dice.chance() * 3.0) as usize;
        let is_gone = (self.faults.stale && backend == 2)
            || self.faults.dark.contains(&(backend % self.nodes));
        let works = !is_gone && !self.faults.no_vips.contains(&path.source);
        if path.history.len() == 64 {
            path.history.pop_front();
        }
        path.history.push_back(works.then_some(backend));
        let mut counts: BTreeMap<usize, u32> = BTreeMap::new();
        for backend in path.history.iter().flatten() {
            *counts.entry(*backend).or_default() += 1;
        }
        path.detail = Some(Detail::Service(ServiceDetail {
            tried: path.history.len() as u32,
            failed: path.history.iter().filter(|b| b.is_none()).count() as u32,
            backends: counts
                .into_iter()
                .map(|(backend, connections)| BackendCount {
                    backend: node_name(backend % self.nodes),
                    connections,
                })
                .collect(),
        }));
        if works { Fate::Reply } else { Fate::Timeout }
    }

    fn connect_outside(&mut self, source: usize, endpoint: &str, kind: ProbeKind) -> Fate {
        let (host, _) = endpoint.rsplit_once(':').unwrap_or((endpoint, ""));
        let owner = owner(host);
        if host == owner {
            let name = if owner == "www.example.com" {
                EXTERNAL_NAME
            } else {
                "registry.example.net."
            };
            let broken = self.faults.servfail || self.faults.no_way_out;
            if broken {
                return Fate::Unresolved(OutcomeClass::Rcode);
            }
            if let Some(class) = self.resolve(source, name) {
                return Fate::Unresolved(class);
            }
        }
        if self.faults.no_way_out
            || self.faults.cut.contains(&source)
            || self.faults.mute.contains(&source)
        {
            return Fate::Timeout;
        }
        match self.faults.down.get(owner) {
            Some(true) => return Fate::Refused,
            Some(false) => return Fate::Timeout,
            None => {}
        }
        let is_secure = endpoint.ends_with(":443");
        if is_secure && kind != ProbeKind::TcpConnect && self.faults.expired.contains(owner) {
            return Fate::Tls("the certificate has expired");
        }
        match self.faults.status.get(owner) {
            Some(status) if kind == ProbeKind::Http => Fate::Status(*status),
            _ => Fate::Reply,
        }
    }

    /// As the aggregator sees it now.
    pub(super) fn picture(&self) -> Picture {
        let now = self.moment();
        let mut layers: Vec<LayerPicture> = self
            .layers
            .iter()
            .enumerate()
            .map(|(place, (layer, interval, targets))| LayerPicture {
                layer: *layer,
                interval: Duration::from_secs_f64(*interval),
                columns: Columns::Targets(Arc::clone(targets)),
                rows: (0..self.nodes)
                    .map(|source| Some(self.row(place, source)))
                    .collect(),
            })
            .collect();
        layers.insert(0, mesh(self.nodes, &self.faults, now));
        let nodes = (0..self.nodes).map(|node| {
            let is_dark = self.faults.dark.contains(&node);
            NodePicture {
                state: if is_dark {
                    NodeState::Failed(Pattern::NodeDark)
                } else {
                    NodeState::Ok
                },
                is_reporting: !is_dark,
                probers: vec![self.prober(node)],
                ..NodePicture::UNKNOWN
            }
        });
        Picture {
            known: Arc::default(),
            now,
            topology: Arc::new(self.topology()),
            layers,
            nodes: nodes.collect(),
            traces: Vec::new(),
        }
    }

    fn row(&self, layer: usize, source: usize) -> Arc<RowPicture> {
        let own = self
            .paths
            .iter()
            .filter(|p| p.layer == layer && p.source == source);
        let (mut cells, mut details) = (Vec::new(), Vec::new());
        for path in own {
            cells.push(CellPicture::of(
                &path.cell,
                &Coverage::default(),
                None,
                self.moment(),
                &path.thresholds,
            ));
            details.extend(
                path.detail
                    .clone()
                    .map(|detail| (path.column as u32, detail)),
            );
        }
        Arc::new(RowPicture::dense(cells, details))
    }

    fn topology(&self) -> Topology {
        let node = |node: usize| TopologyNode {
            name: NodeName::try_from(node_name(node)).unwrap(),
            zone: ZoneIndex(1),
            lifecycle: Lifecycle::Active,
            is_warming_up: false,
            addresses: vec![(
                Plane::Pod,
                format!("10.244.{}.2", node + 1).parse().unwrap(),
            )],
        };
        Topology {
            nodes: (0..self.nodes).map(|n| Some(node(n))).collect(),
            zones: vec![String::new(), "zone-a".to_owned()],
        }
    }

    fn prober(&self, node: usize) -> ProberPicture {
        let number = node + 1;
        let nameserver = if self.faults.drift.contains(&node) {
            "203.0.113.53"
        } else {
            "10.96.0.10"
        };
        let facts = HostFacts {
            routes: vec![
                format!("0.0.0.0/0 via 10.244.{number}.1 dev eth0"),
                format!("10.244.{number}.0/24 via 10.244.{number}.1 dev eth0"),
                format!("10.244.{number}.1/32 dev eth0"),
            ],
            nameservers: vec![nameserver.to_owned()],
            search: [
                "default.svc.cluster.local",
                "svc.cluster.local",
                "cluster.local",
            ]
            .map(str::to_owned)
            .to_vec(),
            resolver_options: vec!["ndots:5".to_owned()],
            links: vec![("eth0".to_owned(), 1450)],
            ..HostFacts::default()
        };
        let is_known = !(self.faults.has_restarted && self.faults.dark.contains(&node));
        ProberPicture {
            plane: Plane::Pod,
            health: SelfHealth::default(),
            facts: is_known.then(|| Arc::new(facts)),
            changes: Vec::new(),
        }
    }
}

fn owner(host: &str) -> &str {
    match host {
        "203.0.113.10" => "www.example.com",
        "203.0.113.11" => "registry.example.net",
        other => other,
    }
}

fn outside_detail(endpoint: &str, fate: &Fate) -> ExternalDetail {
    let (host, port) = endpoint.rsplit_once(':').unwrap_or((endpoint, "0"));
    let ip = if owner(host) == "www.example.com" {
        "203.0.113.10"
    } else {
        "203.0.113.11"
    };
    let address: SocketAddr = format!("{ip}:{port}").parse().unwrap();
    let soon = Some(Duration::from_millis(1));
    let connected = !matches!(fate, Fate::Timeout | Fate::Refused | Fate::Unresolved(_));
    ExternalDetail {
        address: (!matches!(fate, Fate::Unresolved(_))).then_some(address),
        phases: Phases {
            dns: soon,
            connect: soon.filter(|_| connected),
            tls: soon.filter(|_| connected && !matches!(fate, Fate::Tls(_))),
            ..Phases::default()
        },
        status: match fate {
            Fate::Status(status) => Some(*status),
            _ => None,
        },
        failure: match fate {
            Fate::Reply => String::new(),
            Fate::Tls(reason) => (*reason).to_owned(),
            Fate::Status(status) => format!("status {status}"),
            Fate::Unresolved(_) => format!("look up {host}: no answer"),
            _ => format!("connect to {address}: no answer"),
        },
        ..ExternalDetail::default()
    }
}

/// `SplitMix64`: the same seed gives the same run.
struct Dice(u64);

impl Dice {
    fn chance(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
