//! Breaking and healing.

mod network;

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::background::Background;
use super::hold::{Held, names};
use super::routes::RouteChange;
use super::rules::Rules;
use super::{Fault, Place, TargetDown};
use crate::batch::CommandError;
use crate::external::LabTarget;
use crate::lab::{Lab, LabError};
use crate::wiring::{LabNode, LabZone};

/// A fault could not be injected or healed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    #[error("there is no node `{name}`; the nodes are {known}")]
    UnknownNode { name: String, known: String },
    #[error("there is no zone `{name}`; the zones are {known}")]
    UnknownZone { name: String, known: String },
    #[error("there is no DNS instance `{name}`; the instances are {known}")]
    UnknownInstance { name: String, known: String },
    #[error("this cluster has no IPv6: build it with two families")]
    NoV6,
    #[error("there is no name `{name}` in the cluster's DNS; the names are {known}")]
    UnknownRecord { name: String, known: String },
    #[error("there is no external target `{name}`; the targets are {known}")]
    UnknownTarget { name: String, known: String },
    #[error("`{fault}` names the same place twice")]
    SamePlace { fault: String },
    #[error("the lab was not told how to kill and start probers")]
    NoProberHook,
    #[error("{doing} the prober of {node}")]
    Prober {
        doing: &'static str,
        node: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Lab(Box<LabError>),
    #[error("start the timer of a freeze")]
    Timer(#[source] io::Error),
}

impl From<LabError> for FaultError {
    fn from(error: LabError) -> Self {
        Self::Lab(Box::new(error))
    }
}

/// A fault that is in effect. Heal it, or drop it: dropping heals too, and logs what goes wrong.
#[derive(Debug)]
#[must_use = "dropping this heals the fault"]
pub struct Injected {
    lab: Lab,
    fault: Fault,
    means: Option<String>,
    undo: Vec<Undo>,
}

/// One step back.
#[derive(Debug)]
enum Undo {
    RemoveTable {
        namespace: String,
        table: String,
    },
    GiveBack(Held),
    RestoreRoutes(u32),
    /// Path MTUs that pods and nodes have learned would outlive the fault.
    ForgetPathMtus,
    /// Ends what the fault does for as long as it lasts.
    End(Background),
    /// Heals by itself at its time.
    Await(JoinHandle<Result<(), FaultError>>),
}

impl Fault {
    /// Breaks the cluster. If one step fails, the steps before it are taken back.
    ///
    /// Waits for the tools that it runs, some milliseconds each: in an asynchronous program, call it on a blocking thread.
    pub fn inject(&self, lab: &Lab) -> Result<Injected, FaultError> {
        let mut injected = Injected {
            lab: lab.clone(),
            fault: self.clone(),
            means: None,
            undo: Vec::new(),
        };
        injected.apply()?;
        tracing::info!(fault = %self, means = injected.means(), "Injected a fault");
        Ok(injected)
    }
}

impl Injected {
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// How it was done, where there is more than one way: for example by which means a prober is throttled.
    pub fn means(&self) -> Option<&str> {
        self.means.as_deref()
    }

    /// Restores what was there. Tries every step, and returns the first failure.
    ///
    /// Healing a freeze waits for its end.
    pub fn heal(mut self) -> Result<(), FaultError> {
        let healed = self.take_back();
        if healed.is_ok() {
            tracing::info!(fault = %self.fault, "Healed a fault");
        }
        healed
    }

    fn take_back(&mut self) -> Result<(), FaultError> {
        let mut result = Ok(());
        for step in self.undo.drain(..).rev() {
            result = result.and(undo(&self.lab, step));
        }
        result
    }

    fn apply(&mut self) -> Result<(), FaultError> {
        let lab = self.lab.clone();
        let fault = self.fault.clone();
        let find = |name: &str| lab.shared.find_node(name);
        match &fault {
            Fault::NodeDark { node } => self.take_away(link_of(find(node)?)),
            Fault::AggregatorIsolated => self.take_away(link_of(find(&lab.aggregator().node)?)),
            Fault::NodeFreeze { node, duration } => self.freeze(find(node)?, *duration),
            Fault::ProberDown { node } => self.take_away(Held::Prober {
                node: find(node)?.name.clone(),
            }),
            Fault::ReportsCut { node } => self.filter(&Rules::reports_cut(&find(node)?.namespace)),
            Fault::IngressDead { node } => {
                self.filter(&Rules::ingress_dead(&find(node)?.namespace))
            }
            Fault::EgressDead { node } => self.filter(&Rules::egress_dead(&find(node)?.namespace)),
            Fault::OverlayRoutesMissing { node } => self.change_routes(RouteChange::AllMissing {
                node: find(node)?.index,
            }),
            Fault::OverlayOneRoute { node, to } => {
                self.check_distinct(node, to)?;
                self.change_routes(RouteChange::Missing {
                    node: find(node)?.index,
                    to: find(to)?.index,
                })
            }
            Fault::OverlayPortBlocked { at } => {
                self.filter_at(at, |node| Rules::overlay_port_blocked(&node.namespace))
            }
            Fault::PathOneWay { from, to } => {
                self.check_distinct(from, to)?;
                self.filter(&Rules::path_one_way(find(to)?, find(from)?))
            }
            Fault::ZonePartition { zone, other } => {
                self.check_distinct(zone, other)?;
                self.filter(&Rules::zone_partition(
                    find_zone(&lab, zone)?,
                    find_zone(&lab, other)?,
                ))
            }
            Fault::Loss {
                percent,
                at,
                direction,
            } => self.filter_at(at, |node| {
                Rules::loss(&node.namespace, *percent, *direction)
            }),
            Fault::UdpBlocked { at } => {
                self.filter_at(at, |node| Rules::udp_blocked(&node.namespace))
            }
            Fault::TcpBlocked { at } => {
                self.filter_at(at, |node| Rules::tcp_blocked(&node.namespace))
            }
            Fault::DnsInstanceDown { instance } => self.take_away(Held::Dns {
                instance: dns_instance(&lab, instance)?,
            }),
            Fault::DnsServfail => self.take_away(Held::DnsUpstream),
            Fault::DnsNxdomain { name } => self.take_away(Held::Record {
                name: record(&lab, name)?,
            }),
            Fault::DnsThrottled { percent, instance } => {
                let named = instance.as_ref().map(|name| dns_instance(&lab, name));
                let named = named.transpose()?;
                lab.dns_instances()
                    .iter()
                    .filter(|dns| named.as_ref().is_none_or(|name| *name == dns.name))
                    .try_for_each(|dns| {
                        self.filter(&Rules::dns_throttled(&dns.namespace, *percent))
                    })
            }
            Fault::DnsVip { node } => self.take_away(Held::DnsService {
                node: find(node)?.name.clone(),
            }),
            Fault::DnsConfigDrift { node, drift } => self.take_away(Held::ResolvConf {
                node: find(node)?.name.clone(),
                drift: *drift,
            }),
            Fault::VipStaleEndpoint => self.take_away(Held::Endpoint),
            Fault::ExternalTargetDown { target, how } => {
                let target = external_target(&lab, target)?;
                match how {
                    TargetDown::Refused => self.take_away(Held::Target {
                        target: target.name.to_owned(),
                    }),
                    TargetDown::Silent => self.filter(&Rules::external_silence(target)),
                }
            }
            Fault::TlsExpired { target } => {
                self.filter(&Rules::tls_expired(external_target(&lab, target)?))
            }
            Fault::TlsHandshake { target } => {
                self.filter(&Rules::tls_handshake(external_target(&lab, target)?))
            }
            Fault::HttpStatus { target, status } => {
                self.filter(&Rules::http_status(external_target(&lab, target)?, *status))
            }
            Fault::ExternalNode { node } => self.filter(&Rules::external_node(find(node)?)),
            Fault::ExternalAll => self.take_away(Held::Masquerade),
            Fault::DnsBlocked { node } => {
                let node = find(node)?;
                self.filter(&Rules::dns_blocked(&node.namespace, node.index))
            }
            Fault::VipBroken { node } => self.take_away(Held::Services {
                node: find(node)?.name.clone(),
            }),
            Fault::MtuBlackhole {
                node,
                bytes,
                direction,
            } => self.filter(&Rules::mtu_blackhole(
                &find(node)?.namespace,
                *bytes,
                *direction,
            )),
            Fault::MtuSignalled { node, bytes } => self.signal_mtu(find(node)?, *bytes),
            Fault::MtuOverlayTooBig { bytes } => lab
                .nodes()
                .iter()
                .try_for_each(|node| self.filter(&Rules::small_fabric(&node.namespace, *bytes))),
            Fault::EcmpMember {
                zone,
                other,
                failing,
                ways,
            } => {
                self.check_distinct(zone, other)?;
                let (zone, other) = (find_zone(&lab, zone)?, find_zone(&lab, other)?);
                self.filter(&Rules::ecmp_member(zone, other, *failing, *ways))
            }
            Fault::ZoneLossy {
                percent,
                zone,
                other,
            } => {
                self.check_distinct(zone, other)?;
                let (zone, other) = (find_zone(&lab, zone)?, find_zone(&lab, other)?);
                self.filter(&Rules::zone_lossy(zone, other, *percent))
            }
            Fault::SlowNode { node } => self.congest(find(node)?),
            Fault::ConntrackFull { node } => {
                self.filter(&Rules::conntrack_full(&find(node)?.namespace))
            }
            Fault::V6Dead { at } => self.kill_v6(at),
            Fault::ThrottledProber { node, percent } => self.throttle(&find(node)?.name, *percent),
            Fault::AddressConflict { node, other } => {
                self.check_distinct(node, other)?;
                self.duplicate_address(find(node)?, find(other)?)
            }
            Fault::OverlayBackendMix { node } => self.mix_backends(find(node)?),
            Fault::Flapping { node, period } => self.flap(find(node)?, *period),
        }
    }

    fn filter(&mut self, rules: &Rules) -> Result<(), FaultError> {
        let table = self.table_name();
        self.lab
            .shared
            .nft_in(&rules.namespace, &rules.script(&table))?;
        self.undo.push(Undo::RemoveTable {
            namespace: rules.namespace.clone(),
            table,
        });
        Ok(())
    }

    fn filter_at(
        &mut self,
        at: &Place,
        rules: impl Fn(&LabNode) -> Rules,
    ) -> Result<(), FaultError> {
        let lab = self.lab.clone();
        let nodes = match at {
            Place::Node(node) => std::slice::from_ref(lab.shared.find_node(node)?),
            Place::Everywhere => lab.nodes(),
        };
        nodes.iter().try_for_each(|node| self.filter(&rules(node)))
    }

    fn take_away(&mut self, thing: Held) -> Result<(), FaultError> {
        self.lab.shared.take_away(&thing)?;
        self.undo.push(Undo::GiveBack(thing));
        Ok(())
    }

    fn freeze(&mut self, node: &LabNode, duration: Duration) -> Result<(), FaultError> {
        self.filter(&Rules::freeze(&node.namespace))?;
        let Some(Undo::RemoveTable { namespace, table }) = self.undo.last() else {
            unreachable!("a filter that was put in place is undone by removing its table");
        };
        let (lab, namespace, removal) =
            (self.lab.clone(), namespace.clone(), Rules::removal(table));
        let timer = thread::Builder::new()
            .name("thaw".to_owned())
            .spawn(move || {
                thread::sleep(duration);
                Ok(lab.shared.nft_in(&namespace, &removal)?)
            });
        // From here the timer removes the table; without a timer the caller's drop does.
        let timer = timer.map_err(FaultError::Timer)?;
        self.undo = vec![Undo::Await(timer)];
        Ok(())
    }

    fn table_name(&self) -> String {
        format!(
            "fault-{}-{}",
            self.lab.shared.next_fault_serial(),
            self.fault.name()
        )
    }

    fn check_distinct(&self, left: &str, right: &str) -> Result<(), FaultError> {
        if left == right {
            return Err(FaultError::SamePlace {
                fault: self.fault.to_string(),
            });
        }
        Ok(())
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        if let Err(error) = self.take_back() {
            tracing::warn!(fault = %self.fault, error = &error as &dyn std::error::Error, "Could not heal a fault");
        }
    }
}

fn undo(lab: &Lab, step: Undo) -> Result<(), FaultError> {
    match step {
        Undo::RemoveTable { namespace, table } => {
            Ok(lab.shared.nft_in(&namespace, &Rules::removal(&table))?)
        }
        Undo::GiveBack(thing) => lab.shared.give_back(&thing),
        Undo::RestoreRoutes(serial) => lab.shared.restore_routes(serial),
        Undo::ForgetPathMtus => network::forget_path_mtus(lab),
        Undo::End(background) => background.end(),
        Undo::Await(timer) => timer
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

fn link_of(node: &LabNode) -> Held {
    Held::Link {
        node: node.name.clone(),
    }
}

fn find_zone<'lab>(lab: &'lab Lab, name: &str) -> Result<&'lab LabZone, FaultError> {
    let zones = lab.zones();
    zones
        .iter()
        .find(|zone| zone.name == name)
        .ok_or_else(|| FaultError::UnknownZone {
            name: name.to_owned(),
            known: names(zones.iter().map(|zone| zone.name.as_str())),
        })
}

fn dns_instance(lab: &Lab, name: &str) -> Result<String, FaultError> {
    let instances = lab.dns_instances();
    let instance = instances.iter().find(|instance| instance.name == name);
    instance
        .map(|instance| instance.name.clone())
        .ok_or_else(|| FaultError::UnknownInstance {
            name: name.to_owned(),
            known: names(instances.iter().map(|instance| instance.name.as_str())),
        })
}

fn record(lab: &Lab, name: &str) -> Result<String, FaultError> {
    let known = lab.shared.dns.cluster_names();
    if known.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(FaultError::UnknownRecord {
        name: name.to_owned(),
        known: names(known.into_iter()),
    })
}

fn external_target<'lab>(lab: &'lab Lab, name: &str) -> Result<&'lab LabTarget, FaultError> {
    let targets = lab.external_targets();
    let target = targets.iter().find(|target| target.name == name);
    target.ok_or_else(|| FaultError::UnknownTarget {
        name: name.to_owned(),
        known: names(targets.iter().map(|target| target.name)),
    })
}
