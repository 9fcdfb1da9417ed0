//! Facts about this host that help to explain a failure: kernel, link MTUs, routes, resolv.conf.
//!
//! Read from `/proc` and `/sys`, without privileges and without netlink. What cannot be read is left out. Parsing is
//! pure and bounded; a host with a full routing table sends the first [`MAX_ROUTES`] of it.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_daemon::shutdown::Shutdown;
use meshprobe_proto::v1;
use tokio::sync::watch;

/// Most links that are told.
pub const MAX_LINKS: usize = 256;

/// Most routes that are told.
pub const MAX_ROUTES: usize = 1024;

/// Most name servers and search domains that are told.
const MAX_RESOLV: usize = 32;

/// How often the facts are looked at.
const INTERVAL: Duration = Duration::from_secs(30);

/// A file that is longer is read up to here.
const MAX_FILE: u64 = 4 << 20;

/// Route flag: it can be used.
const RTF_UP: u32 = 0x1;
/// Route flag: it rejects.
const RTF_REJECT: u32 = 0x200;
/// Route flag: it is a local address.
const RTF_LOCAL: u32 = 0x8000_0000;

/// A task: publishes the facts now and whenever they change.
pub async fn watch_facts(facts_tx: watch::Sender<Option<Arc<v1::HostFacts>>>, shutdown: Shutdown) {
    loop {
        let facts = read(Path::new("/"));
        facts_tx.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&facts);
            if changed {
                *known = Some(Arc::new(facts));
            }
            changed
        });
        if shutdown
            .or_signaled(tokio::time::sleep(INTERVAL))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// Reads the facts of the file system at `root`.
pub fn read(root: &Path) -> v1::HostFacts {
    let text = |path: &str| read_bounded(&root.join(path)).unwrap_or_default();
    let mut routes = routes_v4(&text("proc/net/route"));
    routes.extend(routes_v6(&text("proc/net/ipv6_route")));
    routes.truncate(MAX_ROUTES);
    let (nameservers, search) = resolv_conf(&text("etc/resolv.conf"));
    v1::HostFacts {
        kernel: text("proc/sys/kernel/osrelease").trim().to_owned(),
        link_mtu: link_mtus(&root.join("sys/class/net")),
        routes,
        nameservers,
        search,
    }
}

fn read_bounded(path: &Path) -> Option<String> {
    let mut octets = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(MAX_FILE)
        .read_to_end(&mut octets)
        .ok()?;
    Some(String::from_utf8_lossy(&octets).into_owned())
}

fn link_mtus(directory: &Path) -> HashMap<String, u32> {
    let Ok(entries) = fs::read_dir(directory) else {
        return HashMap::new();
    };
    let mut links: Vec<(String, u32)> = entries
        .flatten()
        .filter_map(|entry| {
            let mtu = read_bounded(&entry.path().join("mtu"))?
                .trim()
                .parse()
                .ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), mtu))
        })
        .collect();
    // The order of a directory is not stable; which links are cut off must be.
    links.sort_unstable();
    links.truncate(MAX_LINKS);
    links.into_iter().collect()
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, addresses in hexadecimal and host byte order.
fn routes_v4(table: &str) -> Vec<String> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, destination, gateway, flags, _, _, _, mask, ..] = fields[..] else {
            return None;
        };
        let address = |text| {
            let octets = u32::from_str_radix(text, 16).ok()?.to_ne_bytes();
            Some(Ipv4Addr::from(octets))
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let prefix = u32::from(address(mask)?).count_ones();
        let via = Some(address(gateway)?).filter(|ip| !ip.is_unspecified());
        Some(format_route(
            &address(destination)?.to_string(),
            prefix,
            via.map(|ip| ip.to_string()),
            device,
            flags,
        ))
    };
    table
        .lines()
        .skip(1)
        .filter_map(route)
        .take(MAX_ROUTES)
        .collect()
}

/// `destination prefix source prefix gateway metric refcnt use flags device`, all in hexadecimal.
fn routes_v6(table: &str) -> Vec<String> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix, _, _, gateway, _, _, _, flags, device] = fields[..] else {
            return None;
        };
        let address = |text: &str| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from);
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let destination = address(destination)?;
        if flags & RTF_UP == 0 || flags & RTF_LOCAL != 0 || destination.is_multicast() {
            return None;
        }
        let prefix = u32::from_str_radix(prefix, 16).ok()?;
        let via = Some(address(gateway)?).filter(|ip| !ip.is_unspecified());
        Some(format_route(
            &destination.to_string(),
            prefix,
            via.map(|ip| ip.to_string()),
            device,
            flags,
        ))
    };
    table.lines().filter_map(route).take(MAX_ROUTES).collect()
}

fn format_route(
    destination: &str,
    prefix: u32,
    via: Option<String>,
    device: &str,
    flags: u32,
) -> String {
    let via = via.map(|via| format!(" via {via}")).unwrap_or_default();
    let reject = if flags & RTF_REJECT == 0 {
        ""
    } else {
        " unreachable"
    };
    format!("{destination}/{prefix}{via} dev {device}{reject}")
}

/// Name servers and search domains, in order. The last `search` or `domain` line counts, as the C library has it.
fn resolv_conf(text: &str) -> (Vec<String>, Vec<String>) {
    let mut nameservers = Vec::new();
    let mut search = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => nameservers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => {
                search = words.map(str::to_owned).take(MAX_RESOLV).collect();
            }
            _ => {}
        }
    }
    nameservers.truncate(MAX_RESOLV);
    (nameservers, search)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_routes_are_told_as_people_write_them() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     cni0\t0003F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     *\t0004F40A\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     broken line\n";
        assert_eq!(
            routes_v4(table),
            [
                "0.0.0.0/0 via 192.168.1.1 dev eth0",
                "10.244.3.0/24 dev cni0",
                "10.244.4.0/24 dev * unreachable"
            ]
        );
    }

    #[test]
    fn ipv6_routes_leave_out_local_addresses_and_multicast() {
        let zero = "0".repeat(32);
        let line = |destination: &str, prefix: &str, gateway: &str, flags: &str| {
            format!(
                "{destination} {prefix} {zero} 00 {gateway} 00000400 00000001 00000000 {flags} eth0\n"
            )
        };
        let net = "fd000000000000000000000000000000";
        let gateway = "fe800000000000000000000000000001";
        let table = [
            line(net, "40", &zero, "00000001"),
            line(&zero, "00", gateway, "00000003"),
            line(net, "80", &zero, "80200001"),
            line("ff000000000000000000000000000000", "08", &zero, "00000001"),
        ]
        .concat();
        assert_eq!(
            routes_v6(&table),
            ["fd00::/64 dev eth0", "::/0 via fe80::1 dev eth0"]
        );
    }

    #[test]
    fn resolv_conf_keeps_the_order_and_the_last_search_line() {
        let text = "# comment\nnameserver 10.96.0.10\nnameserver 8.8.8.8\nsearch a\nsearch ns.svc.cluster.local svc.cluster.local\noptions ndots:5\n";
        let (nameservers, search) = resolv_conf(text);
        assert_eq!(nameservers, ["10.96.0.10", "8.8.8.8"]);
        assert_eq!(search, ["ns.svc.cluster.local", "svc.cluster.local"]);
    }

    #[test]
    fn this_host_has_a_kernel_and_a_loopback() {
        let facts = read(Path::new("/"));
        assert!(!facts.kernel.is_empty());
        assert!(facts.link_mtu.contains_key("lo"));
        assert!(facts.routes.len() <= MAX_ROUTES);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(read(Path::new("/nonexistent")), v1::HostFacts::default());
    }
}
