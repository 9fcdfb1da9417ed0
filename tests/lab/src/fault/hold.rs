//! Things that faults take away, and give back when the last of them is healed.
//!
//! Two faults may need the same thing gone: `node-dark mesh-1` and `aggregator-isolated` both take the link of the aggregator's
//! node. The first to come takes it away; the last to go gives it back. Routes have a book of their own, see `routes`.

use std::collections::BTreeMap;

use super::{Drift, FaultError, congestion};
use crate::addressing as at;
use crate::batch;
use crate::dns;
use crate::lab::{LabError, Shared, lock, resolv_conf_path};
use crate::service;
use crate::wiring::{LabNode, fabric, translation, v6};

/// Something that can be taken away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Held {
    /// The switch port of a node.
    Link { node: String },
    /// The plain queue of a node's link: a congested one is in its place.
    Queue { node: String },
    /// `ip -batch` in a namespace: what is done, and what undoes it.
    Undone {
        namespace: String,
        done: String,
        undone: String,
    },
    /// On one node, the virtual IPs.
    Services { node: String },
    /// On one node, the virtual IP of the DNS.
    DnsService { node: String },
    /// On every node, one of the backends of the responders' virtual IP.
    Endpoint,
    /// A DNS server's process.
    Dns { instance: String },
    /// What the cluster's DNS servers ask for external names.
    DnsUpstream,
    /// A name in the cluster's DNS.
    Record { name: String },
    /// The right line in the `resolv.conf` of the prober's pod on a node.
    ResolvConf { node: String, drift: Drift },
    /// An external target's web server.
    Target { target: String },
    /// The router's translation to its public address.
    Masquerade,
    /// A prober's process.
    Prober { node: String },
}

/// What is away now.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// Faults that need each thing gone.
    holders: BTreeMap<Held, usize>,
}

impl Shared {
    /// Takes a thing away, or joins those that have.
    pub(super) fn take_away(&self, thing: &Held) -> Result<(), FaultError> {
        let mut holds = lock(&self.holds);
        if let Some(holders) = holds.holders.get_mut(thing) {
            *holders += 1;
            return Ok(());
        }
        self.remove(thing)?;
        holds.holders.insert(thing.clone(), 1);
        Ok(())
    }

    /// Gives a thing back, unless another fault still needs it gone.
    pub(super) fn give_back(&self, thing: &Held) -> Result<(), FaultError> {
        let mut holds = lock(&self.holds);
        let Some(holders) = holds.holders.get_mut(thing) else {
            return Ok(());
        };
        *holders -= 1;
        if *holders > 0 {
            return Ok(());
        }
        holds.holders.remove(thing);
        self.restore(thing)
    }

    fn remove(&self, thing: &Held) -> Result<(), FaultError> {
        match thing {
            Held::Link { node } => {
                // At the switch: the node itself keeps its configuration and only sees the carrier go, as with a pulled cable.
                batch::ip(
                    &self.tools.ip,
                    Some(at::FABRIC),
                    &format!("link set {node} down\n"),
                )?;
            }
            Held::Queue { node } => batch::tc(&self.tools.tc, node, congestion::CONGEST)?,
            Held::Undone {
                namespace, done, ..
            } => batch::ip(&self.tools.ip, Some(namespace), done)?,
            Held::Services { node } => {
                let both = translation::no_services() + v6::no_services(&self.plan);
                self.nft_in(node, &both)?;
            }
            Held::DnsService { node } => {
                let both = translation::no_dns() + v6::no_dns(&self.plan);
                self.nft_in(node, &both)?;
            }
            Held::Endpoint => {
                self.set_responders(&service::stale_rules(&self.plan.nodes))?;
            }
            Held::Dns { instance } => self.dns.stop(instance).map_err(LabError::from)?,
            Held::DnsUpstream => self.dns.set_upstream_failing(true)?,
            Held::Record { name } => self.dns.set_absent(name, true)?,
            Held::ResolvConf { node, drift } => {
                self.set_resolv_conf(node, &dns::drifted_line(*drift))?;
            }
            Held::Target { target } => self.external.stop(target).map_err(LabError::from)?,
            Held::Masquerade => {
                let both = fabric::no_masquerade() + &v6::no_masquerade(&self.plan);
                self.nft_in(at::FABRIC, &both)?;
            }
            Held::Prober { node } => self.hook(node, "kill", |hook| hook.stop(node))?,
        }
        Ok(())
    }

    fn restore(&self, thing: &Held) -> Result<(), FaultError> {
        match thing {
            Held::Link { node } => batch::ip(
                &self.tools.ip,
                Some(at::FABRIC),
                &format!("link set {node} up\n"),
            )?,
            Held::Queue { node } => batch::tc(&self.tools.tc, node, congestion::RELIEVE)?,
            Held::Undone {
                namespace, undone, ..
            } => batch::ip(&self.tools.ip, Some(namespace), undone)?,
            Held::Services { node } => {
                let node = self.find_node(node)?;
                let both = translation::services() + &v6::services(&self.plan, node);
                self.nft_in(&node.namespace, &both)?;
            }
            Held::DnsService { node } => {
                let node = self.find_node(node)?;
                let both = translation::dns(&self.plan) + &v6::dns(&self.plan);
                self.nft_in(&node.namespace, &both)?;
            }
            Held::Endpoint => {
                self.set_responders(&service::live_rules(&self.plan.nodes))?;
            }
            Held::Dns { instance } => self.dns.start(instance)?,
            Held::DnsUpstream => self.dns.set_upstream_failing(false)?,
            Held::Record { name } => self.dns.set_absent(name, false)?,
            Held::ResolvConf { node, drift } => {
                self.set_resolv_conf(node, &dns::right_line(*drift))?;
            }
            Held::Target { target } => self.external.start(target)?,
            Held::Masquerade => {
                let both = fabric::masquerade() + &v6::masquerade(&self.plan);
                self.nft_in(at::FABRIC, &both)?;
            }
            Held::Prober { node } => self.hook(node, "start", |hook| hook.start(node))?,
        }
        Ok(())
    }

    fn set_responders(&self, rules: &str) -> Result<(), FaultError> {
        let nodes = self.plan.nodes.iter();
        nodes
            .map(|node| self.nft_in(&node.namespace, rules))
            .try_for_each(|done| Ok(done?))
    }

    fn set_resolv_conf(&self, node: &str, line: &str) -> Result<(), FaultError> {
        let path = resolv_conf_path(&self.find_node(node)?.pod_namespace);
        Ok(dns::set_line(&path, line).map_err(|source| LabError::Write { path, source })?)
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
