//! Faults that are more than a table of rules: routes, queues, addresses, and work that goes on.

use std::fs;
use std::time::Duration;

use super::{FaultError, Injected, Rules, Undo, link_of};
use crate::addressing as at;
use crate::batch;
use crate::fault::background::Background;
use crate::fault::hold::Held;
use crate::fault::routes::RouteChange;
use crate::fault::{PacketSize, Percent, Place, congestion, quota};
use crate::lab::{Lab, LabError};
use crate::namespace;
use crate::wiring::LabNode;

impl Injected {
    pub(super) fn change_routes(&mut self, change: RouteChange) -> Result<(), FaultError> {
        let serial = self.lab.shared.next_fault_serial();
        self.lab.shared.change_routes(serial, change)?;
        self.undo.push(Undo::RestoreRoutes(serial));
        Ok(())
    }

    pub(super) fn signal_mtu(
        &mut self,
        node: &LabNode,
        bytes: PacketSize,
    ) -> Result<(), FaultError> {
        // Undone last: what is learned while the routes come back is forgotten too.
        self.undo.push(Undo::ForgetPathMtus);
        self.change_routes(RouteChange::Limited {
            node: node.index,
            bytes,
        })
    }

    pub(super) fn congest(&mut self, node: &LabNode) -> Result<(), FaultError> {
        self.take_away(Held::Queue {
            node: node.namespace.clone(),
        })?;
        self.undo
            .push(Undo::End(congestion::load(&self.lab, node)?));
        Ok(())
    }

    pub(super) fn kill_v6(&mut self, at: &Place) -> Result<(), FaultError> {
        let lab = self.lab.clone();
        let nodes = match at {
            Place::Node(node) => std::slice::from_ref(lab.shared.find_node(node)?),
            Place::Everywhere => lab.nodes(),
        };
        if nodes.iter().any(|node| node.pod_ip_v6.is_none()) {
            return Err(FaultError::NoV6);
        }
        nodes
            .iter()
            .try_for_each(|node| self.filter(&Rules::v6_dead(&node.namespace)))
    }

    pub(super) fn throttle(&mut self, node: &str, percent: Percent) -> Result<(), FaultError> {
        let hook = self
            .lab
            .shared
            .prober_hook()
            .ok_or(FaultError::NoProberHook)?;
        let serial = self.lab.shared.next_fault_serial();
        let (background, means) = quota::starve(hook, node, percent, serial)?;
        self.undo.push(Undo::End(background));
        self.means = Some(means);
        Ok(())
    }

    /// As if both nodes had been given the same pod subnet, and the other one had announced it last.
    pub(super) fn duplicate_address(
        &mut self,
        node: &LabNode,
        other: &LabNode,
    ) -> Result<(), FaultError> {
        let address = node.pod_ip;
        let lab = self.lab.clone();
        self.run_undone(
            &other.pod_namespace,
            &format!("address add {address}/32 dev eth0"),
            &format!("address delete {address}/32 dev eth0"),
        )?;
        self.filter(&Rules::answers_at(
            &other.pod_namespace,
            address,
            other.pod_ip,
        ))?;
        for peer in lab.nodes().iter().filter(|peer| peer.index != node.index) {
            let way = if peer.index == other.index {
                "dev cni0".to_owned()
            } else {
                format!("via {} dev flannel.1 onlink", at::vtep_ip(other.index))
            };
            self.run_undone(
                &peer.namespace,
                &format!("route add {address}/32 {way}"),
                &format!("route delete {address}/32 {way}"),
            )?;
        }
        Ok(())
    }

    pub(super) fn mix_backends(&mut self, node: &LabNode) -> Result<(), FaultError> {
        let lab = self.lab.clone();
        self.change_routes(RouteChange::Direct { node: node.index })?;
        lab.nodes()
            .iter()
            .filter(|peer| peer.index != node.index)
            .try_for_each(|peer| self.filter(&Rules::overlay_only(&peer.namespace, node)))
    }

    pub(super) fn flap(&mut self, node: &LabNode, period: Duration) -> Result<(), FaultError> {
        let (lab, link) = (self.lab.clone(), link_of(node));
        let half = period / 2;
        lab.shared.take_away(&link)?;
        let started = Background::start("flapping", {
            let (lab, link) = (lab.clone(), link.clone());
            move |over| {
                loop {
                    let is_over = over.wait(half);
                    lab.shared.give_back(&link)?;
                    if is_over || over.wait(half) {
                        return Ok(());
                    }
                    lab.shared.take_away(&link)?;
                }
            }
        });
        match started {
            Ok(background) => {
                self.undo.push(Undo::End(background));
                Ok(())
            }
            Err(error) => lab.shared.give_back(&link).and(Err(error)),
        }
    }

    fn run_undone(&mut self, namespace: &str, done: &str, undone: &str) -> Result<(), FaultError> {
        self.take_away(Held::Undone {
            namespace: namespace.to_owned(),
            done: format!("{done}\n"),
            undone: format!("{undone}\n"),
        })
    }
}

/// A host keeps a path MTU that a router told it for ten minutes.
pub(super) fn forget_path_mtus(lab: &Lab) -> Result<(), FaultError> {
    let plan = &lab.shared.plan;
    let nodes = plan.nodes.iter().map(|node| node.namespace.clone());
    let pods = plan.pods().into_iter().map(|pod| pod.namespace);
    for name in nodes.chain(pods) {
        let flushed = namespace::run_in(&name, || fs::write("/proc/sys/net/ipv4/route/flush", "1"));
        let flushed = flushed.map_err(|error| FaultError::Lab(Box::new(error.into())))?;
        flushed.map_err(|source| {
            FaultError::Lab(Box::new(LabError::Setting {
                setting: "net/ipv4/route/flush".to_owned(),
                namespace: name.clone(),
                source,
            }))
        })?;
        if plan.families.has_v6() {
            batch::ip_output(
                &lab.shared.tools.ip,
                &name,
                &["-6", "route", "flush", "cache"],
            )?;
        }
    }
    Ok(())
}
