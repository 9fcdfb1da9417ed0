//! Breaking and healing.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::hold::{Held, names};
use super::rules::Rules;
use super::{Fault, LossPlace};
use crate::batch::CommandError;
use crate::lab::{Lab, LabError};
use crate::wiring::LabNode;

/// A fault could not be injected or healed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    #[error("there is no node `{name}`; the nodes are {known}")]
    UnknownNode { name: String, known: String },
    #[error("there is no zone `{name}`; the zones are {known}")]
    UnknownZone { name: String, known: String },
    #[error("there is no DNS instance `{name}`; the instances are {known}")]
    UnknownInstance { name: String, known: String },
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

/// A fault that is in effect. Heal it, or drop it: dropping heals too, and logs what goes wrong.
#[derive(Debug)]
#[must_use = "dropping this heals the fault"]
pub struct Injected {
    lab: Lab,
    fault: Fault,
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
            undo: Vec::new(),
        };
        injected.apply()?;
        tracing::info!(fault = %self, "Injected a fault");
        Ok(injected)
    }
}

impl Injected {
    pub fn fault(&self) -> &Fault {
        &self.fault
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
            Fault::OverlayRoutesMissing { node } => {
                let node = find(node)?;
                let peers = lab.nodes().iter().filter(|peer| peer.index != node.index);
                peers
                    .map(|peer| route(node, peer))
                    .try_for_each(|thing| self.take_away(thing))
            }
            Fault::OverlayOneRoute { node, to } => {
                self.check_distinct(node, to)?;
                self.take_away(route(find(node)?, find(to)?))
            }
            Fault::OverlayPortBlocked { node } => {
                self.filter(&Rules::overlay_port_blocked(&find(node)?.namespace))
            }
            Fault::PathOneWay { from, to } => {
                self.check_distinct(from, to)?;
                self.filter(&Rules::path_one_way(
                    &find(to)?.namespace,
                    find(from)?.host_ip,
                ))
            }
            Fault::ZonePartition { zone, other } => {
                self.check_distinct(zone, other)?;
                self.filter(&Rules::zone_partition(
                    zone_index(&lab, zone)?,
                    zone_index(&lab, other)?,
                ))
            }
            Fault::Loss {
                percent,
                at,
                direction,
            } => {
                let nodes = match at {
                    LossPlace::Node(node) => std::slice::from_ref(find(node)?),
                    LossPlace::Everywhere => lab.nodes(),
                };
                nodes.iter().try_for_each(|node| {
                    self.filter(&Rules::loss(&node.namespace, *percent, *direction))
                })
            }
            Fault::UdpBlocked { node } => self.filter(&Rules::udp_blocked(&find(node)?.namespace)),
            Fault::TcpBlocked { node } => self.filter(&Rules::tcp_blocked(&find(node)?.namespace)),
            Fault::DnsInstanceDown { instance } => self.take_away(Held::Dns {
                instance: dns_instance(&lab, instance)?,
            }),
            Fault::DnsBlocked { node } => {
                let node = find(node)?;
                self.filter(&Rules::dns_blocked(&node.namespace, node.index))
            }
            Fault::VipBroken { node } => self.take_away(Held::Services {
                node: find(node)?.name.clone(),
            }),
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

fn route(node: &LabNode, to: &LabNode) -> Held {
    Held::Route {
        node: node.name.clone(),
        cidr: to.pod_cidr.clone(),
    }
}

fn zone_index(lab: &Lab, name: &str) -> Result<u8, FaultError> {
    let zones = lab.zones();
    let zone = zones.iter().find(|zone| zone.name == name);
    zone.map(|zone| zone.index)
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
