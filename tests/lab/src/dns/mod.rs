//! Real DNS servers: the cluster's instances behind the virtual IP, and the internet's.
//!
//! The cluster's servers know the names of services, answer NXDOMAIN with authority for absent ones below `cluster.local`,
//! and forward all other names to the internet's server, which knows a few.

mod coredns;
mod servers;
mod unbound;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::addressing as at;
use crate::fault::Drift;
use crate::spec::Families;
use crate::tools::DnsServer;
use crate::wiring::LabDns;

pub(crate) use servers::{DnsServers, Wrongs};

/// Answers may be cached this long: as clusters do, but shorter, so that a broken upstream shows.
const TTL_SECONDS: u32 = 5;

/// Below which domains a pod's short names are looked for.
const CLUSTER_SEARCH: &str = "default.svc.cluster.local svc.cluster.local cluster.local";

/// What one server answers.
#[derive(Debug)]
struct DnsRole {
    /// Its process, its files.
    name: String,
    namespace: String,
    address: Ipv4Addr,
    /// Where it listens too, in a cluster of two families.
    address_v6: Option<Ipv6Addr>,
    /// The zone in which only these names exist.
    zone: &'static str,
    names: Vec<(&'static str, IpAddr)>,
    /// Who is asked for names outside of the zone.
    forward: Option<Ipv4Addr>,
}

impl DnsRole {
    /// A server behind the cluster's virtual IP.
    fn cluster(dns: &LabDns) -> Self {
        let names = [
            (at::KUBERNETES_NAME, at::KUBERNETES_VIP),
            (at::DNS_NAME, at::DNS_VIP),
            (at::AGGREGATOR_NAME, at::AGGREGATOR_VIP),
            (at::RESPONDER_NAME, at::RESPONDER_VIP),
        ];
        let names_v6 = [
            (at::DNS_NAME, at::DNS_VIP_V6),
            (at::AGGREGATOR_NAME, at::AGGREGATOR_VIP_V6),
        ];
        Self {
            name: dns.name.clone(),
            namespace: dns.namespace.clone(),
            address: at::dns_ip(dns.node_index),
            address_v6: dns.address_v6.map(|_| at::dns_ip_v6(dns.node_index)),
            zone: at::CLUSTER_DOMAIN,
            names: records(&names, &names_v6, dns.address_v6.is_some()),
            forward: Some(at::INTERNET_DNS_IP),
        }
    }

    /// The server that the cluster's forward to; what it does not know does not exist.
    fn internet(families: Families) -> Self {
        let has_v6 = families.has_v6();
        Self {
            name: "dns-internet".to_owned(),
            namespace: at::INTERNET.to_owned(),
            address: at::INTERNET_DNS_IP,
            address_v6: has_v6.then_some(at::INTERNET_DNS_IP_V6),
            zone: ".",
            names: records(&at::EXTERNAL_NAMES, &at::EXTERNAL_NAMES_V6, has_v6),
            forward: None,
        }
    }

    fn is_cluster(&self) -> bool {
        self.forward.is_some()
    }

    /// The names that exist now.
    fn present(&self, wrongs: &Wrongs) -> impl Iterator<Item = (&'static str, IpAddr)> {
        let names = self.names.iter().copied();
        names.filter(|(name, _)| !wrongs.absent.contains(*name))
    }
}

fn records(
    v4: &[(&'static str, Ipv4Addr)],
    v6: &[(&'static str, Ipv6Addr)],
    has_v6: bool,
) -> Vec<(&'static str, IpAddr)> {
    let v4 = v4.iter().map(|(name, ip)| (*name, IpAddr::V4(*ip)));
    let v6 = v6.iter().map(|(name, ip)| (*name, IpAddr::V6(*ip)));
    v4.chain(v6.filter(|_| has_v6)).collect()
}

/// The type of the record that holds an address.
fn record_type(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "A",
        IpAddr::V6(_) => "AAAA",
    }
}

/// How to start a server.
#[derive(Debug)]
struct DnsCommand {
    program: PathBuf,
    arguments: Vec<String>,
}

/// The program to run instead: Debian's profile for `AppArmor` lets `/usr/sbin/unbound` read `/etc/unbound` only, and is attached by path.
fn unconfined(server: &DnsServer, directory: &Path) -> io::Result<DnsServer> {
    match server {
        DnsServer::Unbound(program) => {
            let copy = directory.join("unbound");
            fs::copy(program, &copy)?;
            Ok(DnsServer::Unbound(copy))
        }
        DnsServer::CoreDns(program) => Ok(DnsServer::CoreDns(program.clone())),
    }
}

/// Writes the server's files to `directory`.
fn configure(
    server: &DnsServer,
    role: &DnsRole,
    wrongs: &Wrongs,
    directory: &Path,
) -> io::Result<DnsCommand> {
    match server {
        DnsServer::Unbound(program) => {
            let config = directory.join(format!("{}.conf", role.name));
            replace(&config, &unbound::config(role, wrongs))?;
            Ok(DnsCommand {
                program: program.clone(),
                arguments: vec![
                    "-d".to_owned(),
                    "-c".to_owned(),
                    config.display().to_string(),
                ],
            })
        }
        DnsServer::CoreDns(program) => {
            let zone_file = directory.join(format!("{}.zone", role.name));
            replace(&zone_file, &coredns::zone(role, wrongs))?;
            let config = directory.join(format!("{}.Corefile", role.name));
            replace(&config, &coredns::config(role, wrongs, &zone_file))?;
            Ok(DnsCommand {
                program: program.clone(),
                arguments: vec!["-conf".to_owned(), config.display().to_string()],
            })
        }
    }
}

/// A server that looks at the wrong moment sees the old file or the new one, and no half of one.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    fs::rename(new, path)
}

/// `resolv.conf` of a pod, as the kubelet writes it for namespace `default`.
pub(crate) fn pod_resolv_conf() -> String {
    let [search, nameserver] = [Drift::Search, Drift::Nameserver].map(right_line);
    format!("{search}\n{nameserver}\noptions ndots:5\n")
}

/// A line of it on a node that was configured otherwise.
pub(crate) fn drifted_line(drift: Drift) -> String {
    match drift {
        Drift::Search => "search example.com".to_owned(),
        Drift::Nameserver => format!("nameserver {}", at::INTERNET_DNS_IP),
    }
}

/// The same line as it should be.
pub(crate) fn right_line(drift: Drift) -> String {
    match drift {
        Drift::Search => format!("search {CLUSTER_SEARCH}"),
        Drift::Nameserver => format!("nameserver {}", at::DNS_VIP),
    }
}

/// Replaces the line that begins with the same word, in the file that a running program has mounted over its own.
pub(crate) fn set_line(path: &Path, line: &str) -> io::Result<()> {
    let keyword = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let old = fs::read_to_string(path)?;
    let mut new = String::with_capacity(old.len());
    for old in old.lines() {
        let is_same = keyword(old) == keyword(line);
        new += if is_same { line } else { old };
        new.push('\n');
    }
    fs::write(path, new)
}

/// `resolv.conf` of a node.
pub(crate) fn node_resolv_conf() -> String {
    format!("nameserver {}\n", at::INTERNET_DNS_IP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_list_is_the_one_of_the_cluster_domain() {
        let domain = at::CLUSTER_DOMAIN;
        assert_eq!(
            CLUSTER_SEARCH,
            format!("default.svc.{domain} svc.{domain} {domain}")
        );
    }

    #[test]
    fn a_drift_changes_one_line_and_drifts_back_in_any_order() {
        let right = pod_resolv_conf();
        assert_eq!(
            right,
            "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
        let path =
            std::env::temp_dir().join(format!("meshprobe-resolv.{}.conf", std::process::id()));
        let set = |line: String| set_line(&path, &line).expect("a file that can be written");
        let read = || fs::read_to_string(&path).expect("a file that can be read");
        fs::write(&path, &right).expect("a file that can be written");
        set(drifted_line(Drift::Search));
        assert_eq!(
            read(),
            "search example.com\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
        set(drifted_line(Drift::Nameserver));
        set(right_line(Drift::Search));
        assert_eq!(
            read(),
            "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 203.0.113.53\noptions ndots:5\n"
        );
        set(right_line(Drift::Nameserver));
        assert_eq!(read(), right);
        fs::remove_file(path).expect("a file that can be removed");
    }
}
