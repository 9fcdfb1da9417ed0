//! Facts about this host that help to explain a failure: kernel, link MTUs, routes, resolv.conf, drops, full tables.
//!
//! Read from `/proc` and `/sys`, without privileges and without netlink. What cannot be read is left out. Parsing is
//! pure and bounded; a host with a full routing table sends the first [`MAX_ROUTES`] of it.

mod kernel;
mod resolver;
mod routes;

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_daemon::shutdown::Shutdown;
use meshprobe_proto::v1;
use tokio::sync::watch;

use self::resolver::ResolvConf;
use crate::self_watch::ControlGroup;

/// Most links that are told.
pub const MAX_LINKS: usize = 256;

/// Most routes that are told.
pub const MAX_ROUTES: usize = 1024;

/// How often the facts are looked at: a missing route is evidence for a failure that is announced within seconds.
const INTERVAL: Duration = Duration::from_secs(5);

/// Looks from one reading of the drop counters to the next: they change all the time.
const LOOKS_PER_COUNT: u32 = 6;

/// A file that is longer is read up to here.
const MAX_FILE: u64 = 4 << 20;

/// A task: publishes the facts now and whenever they change.
pub async fn watch_facts(facts_tx: watch::Sender<Option<Arc<v1::HostFacts>>>, shutdown: Shutdown) {
    let group = ControlGroup::of_this_process(Path::new("/"));
    let mut drops = HashMap::new();
    let mut looks = 0;
    loop {
        let mut facts = read(Path::new("/"));
        facts.cpu_quota_percent = group.as_ref().and_then(ControlGroup::quota_percent);
        if looks % LOOKS_PER_COUNT == 0 {
            drops = kernel::drops(Path::new("/"), facts.link_mtu.keys().cloned());
        }
        looks += 1;
        facts.kernel_drops.clone_from(&drops);
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

/// Reads the facts of the file system at `root`, all but the drop counters and the quota.
pub fn read(root: &Path) -> v1::HostFacts {
    let text = |path: &str| read_bounded(&root.join(path)).unwrap_or_default();
    let mut routes = routes::routes_v4(&text("proc/net/route"));
    routes.extend(routes::routes_v6(&text("proc/net/ipv6_route")));
    routes.truncate(MAX_ROUTES);
    let ResolvConf {
        nameservers,
        search,
        options,
    } = ResolvConf::parse(&text("etc/resolv.conf"));
    let number = |path: &str| kernel::number(&root.join(path));
    let (conntrack_entries, conntrack_max) = kernel::fill(
        number("proc/sys/net/netfilter/nf_conntrack_count"),
        number("proc/sys/net/netfilter/nf_conntrack_max"),
    );
    let (neighbours, neighbours_max) = kernel::fill(
        kernel::neighbours(&text("proc/net/arp")),
        number("proc/sys/net/ipv4/neigh/default/gc_thresh3"),
    );
    v1::HostFacts {
        kernel: text("proc/sys/kernel/osrelease").trim().to_owned(),
        link_mtu: link_mtus(&root.join("sys/class/net")),
        routes,
        nameservers,
        search,
        resolver_options: options,
        conntrack_entries,
        conntrack_max,
        neighbours,
        neighbours_max,
        kernel_drops: HashMap::new(),
        cpu_quota_percent: None,
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

#[cfg(test)]
mod tests {
    use super::*;

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
