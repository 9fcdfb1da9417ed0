//! Things that faults take away, and give back when the last of them is healed.
//!
//! Two faults may need the same thing gone: `overlay-routes-missing mesh-2` and `overlay-one-route mesh-2 mesh-5` both remove
//! one route. The first to come removes it and remembers what was there; the last to go puts that back.

use std::collections::BTreeMap;

use super::FaultError;
use crate::addressing as at;
use crate::batch;
use crate::lab::{Shared, lock};
use crate::script::push;
use crate::wiring::{LabNode, translation};

/// Something that can be taken away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Held {
    /// The switch port of a node.
    Link { node: String },
    /// On one node, the route to another node's pods.
    Route { node: String, cidr: String },
    /// On one node, the virtual IPs.
    Services { node: String },
    /// A DNS server's process.
    Dns { instance: String },
    /// A prober's process.
    Prober { node: String },
}

/// What is away now.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    held: BTreeMap<Held, Hold>,
}

#[derive(Debug)]
struct Hold {
    /// Faults that need it gone.
    holders: usize,
    /// `ip -batch` lines that put back exactly what was there; empty where the thing itself says how.
    saved: String,
}

impl Shared {
    /// Takes a thing away, or joins those that have.
    pub(super) fn take_away(&self, thing: &Held) -> Result<(), FaultError> {
        let mut holds = lock(&self.holds);
        if let Some(hold) = holds.held.get_mut(thing) {
            hold.holders += 1;
            return Ok(());
        }
        let saved = self.remove(thing)?;
        holds.held.insert(thing.clone(), Hold { holders: 1, saved });
        Ok(())
    }

    /// Gives a thing back, unless another fault still needs it gone.
    pub(super) fn give_back(&self, thing: &Held) -> Result<(), FaultError> {
        let mut holds = lock(&self.holds);
        let Some(hold) = holds.held.get_mut(thing) else {
            return Ok(());
        };
        hold.holders -= 1;
        if hold.holders > 0 {
            return Ok(());
        }
        let saved = holds
            .held
            .remove(thing)
            .map(|hold| hold.saved)
            .unwrap_or_default();
        self.restore(thing, &saved)
    }

    fn remove(&self, thing: &Held) -> Result<String, FaultError> {
        match thing {
            Held::Link { node } => {
                // At the switch: the node itself keeps its configuration and only sees the carrier go, as with a pulled cable.
                batch::ip(
                    &self.tools.ip,
                    Some(at::FABRIC),
                    &format!("link set {node} down\n"),
                )?;
            }
            Held::Route { node, cidr } => {
                let shown = batch::ip_output(&self.tools.ip, node, &["route", "show", cidr])?;
                let routes: Vec<&str> = shown
                    .lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty())
                    .collect();
                let (mut removal, mut saved) = (String::new(), String::new());
                for route in routes {
                    push(&mut removal, format_args!("route delete {route}"));
                    push(&mut saved, format_args!("route add {route}"));
                }
                batch::ip(&self.tools.ip, Some(node), &removal)?;
                return Ok(saved);
            }
            Held::Services { node } => self.nft_in(node, &translation::no_services())?,
            Held::Dns { instance } => self
                .stop_dns(instance)
                .map_err(|error| FaultError::Lab(Box::new(error.into())))?,
            Held::Prober { node } => self.hook(node, "kill", |hook| hook.stop(node))?,
        }
        Ok(String::new())
    }

    fn restore(&self, thing: &Held, saved: &str) -> Result<(), FaultError> {
        match thing {
            Held::Link { node } => batch::ip(
                &self.tools.ip,
                Some(at::FABRIC),
                &format!("link set {node} up\n"),
            )?,
            Held::Route { node, .. } => batch::ip(&self.tools.ip, Some(node), saved)?,
            Held::Services { node } => {
                let node = self.find_node(node)?;
                self.nft_in(&node.namespace, &translation::services(&self.plan, node))?;
            }
            Held::Dns { instance } => self
                .start_dns(instance)
                .map_err(|error| FaultError::Lab(Box::new(error)))?,
            Held::Prober { node } => self.hook(node, "start", |hook| hook.start(node))?,
        }
        Ok(())
    }

    fn hook(
        &self,
        node: &str,
        doing: &'static str,
        act: impl FnOnce(&dyn super::ProberHook) -> std::io::Result<()>,
    ) -> Result<(), FaultError> {
        let hook = self.prober_hook().ok_or(FaultError::NoProberHook)?;
        act(hook.as_ref()).map_err(|source| FaultError::Prober {
            doing,
            node: node.to_owned(),
            source,
        })
    }

    pub(super) fn find_node(&self, name: &str) -> Result<&LabNode, FaultError> {
        let nodes = &self.plan.nodes;
        nodes
            .iter()
            .find(|node| node.name == name)
            .ok_or_else(|| FaultError::UnknownNode {
                name: name.to_owned(),
                known: names(nodes.iter().map(|node| node.name.as_str())),
            })
    }
}

/// `mesh-1, mesh-2, mesh-3`, or the ends of a long list.
pub(super) fn names<'name>(names: impl Iterator<Item = &'name str>) -> String {
    const SHOWN: usize = 8;
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [first, .., last] if names.len() > SHOWN => format!("{first} to {last}"),
        all => all.join(", "),
    }
}
