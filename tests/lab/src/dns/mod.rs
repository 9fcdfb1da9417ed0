//! Real DNS servers: the cluster's instances behind the virtual IP, and the internet's.
//!
//! The cluster's servers know the names of services, answer NXDOMAIN with authority for absent ones below `cluster.local`,
//! and forward all other names to the internet's server, which knows a few.

mod coredns;
mod unbound;

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::addressing as at;
use crate::tools::DnsServer;
use crate::wiring::LabDns;

/// Answers may be cached this long: as clusters do, but shorter, so that a broken upstream shows.
const TTL_SECONDS: u32 = 5;

/// What one server answers.
#[derive(Debug)]
pub(crate) struct DnsRole {
    /// Its process, its files.
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) address: Ipv4Addr,
    /// The zone in which only these names exist.
    zone: &'static str,
    names: Vec<(&'static str, Ipv4Addr)>,
    /// Who is asked for names outside of the zone.
    forward: Option<Ipv4Addr>,
}

impl DnsRole {
    /// A server behind the cluster's virtual IP.
    pub(crate) fn cluster(dns: &LabDns) -> Self {
        Self {
            name: dns.name.clone(),
            namespace: dns.namespace.clone(),
            address: at::dns_ip(dns.node_index),
            zone: at::CLUSTER_DOMAIN,
            names: vec![
                (at::KUBERNETES_NAME, at::KUBERNETES_VIP),
                (at::DNS_NAME, at::DNS_VIP),
                (at::AGGREGATOR_NAME, at::AGGREGATOR_VIP),
            ],
            forward: Some(at::INTERNET_DNS_IP),
        }
    }

    /// The server that the cluster's forward to; what it does not know does not exist.
    pub(crate) fn internet() -> Self {
        Self {
            name: "dns-internet".to_owned(),
            namespace: at::INTERNET.to_owned(),
            address: at::INTERNET_DNS_IP,
            zone: ".",
            names: at::EXTERNAL_NAMES.to_vec(),
            forward: None,
        }
    }
}

/// How to start a server.
#[derive(Debug)]
pub(crate) struct DnsCommand {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// Writes the server's files to `directory`.
pub(crate) fn configure(
    server: &DnsServer,
    role: &DnsRole,
    directory: &Path,
) -> io::Result<DnsCommand> {
    fs::create_dir_all(directory)?;
    match server {
        DnsServer::Unbound(program) => {
            let config = directory.join(format!("{}.conf", role.name));
            fs::write(&config, unbound::config(role))?;
            // Debian's AppArmor profile lets /usr/sbin/unbound read /etc/unbound only; it is attached by path, so a copy is free.
            let copy = directory.join("unbound");
            if !copy.exists() {
                fs::copy(program, &copy)?;
            }
            Ok(DnsCommand {
                program: copy,
                arguments: vec![
                    "-d".to_owned(),
                    "-c".to_owned(),
                    config.display().to_string(),
                ],
            })
        }
        DnsServer::CoreDns(program) => {
            let zone_file = directory.join(format!("{}.zone", role.name));
            fs::write(&zone_file, coredns::zone(role))?;
            let config = directory.join(format!("{}.Corefile", role.name));
            fs::write(&config, coredns::config(role, &zone_file))?;
            Ok(DnsCommand {
                program: program.clone(),
                arguments: vec!["-conf".to_owned(), config.display().to_string()],
            })
        }
    }
}

/// `resolv.conf` of a pod, as the kubelet writes it.
pub(crate) fn pod_resolv_conf() -> String {
    let domain = at::CLUSTER_DOMAIN;
    format!(
        "search meshprobe.svc.{domain} svc.{domain} {domain}\nnameserver {}\noptions ndots:5\n",
        at::DNS_VIP
    )
}

/// `resolv.conf` of a node.
pub(crate) fn node_resolv_conf() -> String {
    format!("nameserver {}\n", at::INTERNET_DNS_IP)
}
