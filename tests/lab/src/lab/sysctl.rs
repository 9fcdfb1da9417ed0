//! Kernel settings of the namespaces, so that the host's own do not shine through.

use std::fs;
use std::io;
use std::path::Path;

use super::LabError;
use crate::namespace;
use crate::spec::Families;

/// A new namespace starts with the host's IPv4 settings; routing between links needs the strict ones off.
const EVERYWHERE: [(&str, &str); 8] = [
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/all/arp_notify", "0"),
    ("net/ipv4/conf/default/arp_notify", "0"),
];

/// Not in every kernel: `br_netfilter` is a module. A bridge must not filter: what is dropped where is the routers' and the nodes'
/// business.
const BRIDGES: [(&str, &str); 2] = [
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
];

/// Links of a cluster without IPv6 have none; the kernel may be without it altogether.
const WITHOUT_V6: [(&str, &str); 1] = [("net/ipv6/conf/default/disable_ipv6", "1")];

/// Addresses and routes are the lab's alone.
const WITH_V6: [(&str, &str); 4] = [
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
];

/// Who may open an unprivileged ICMP socket. Container runtimes allow every group; a user namespace knows only its own.
const PING_GROUPS: &str = "net/ipv4/ping_group_range";

/// What a namespace is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Router,
    Host,
}

pub(super) fn set(namespace: &str, kind: Kind, families: Families) -> Result<(), LabError> {
    namespace::run_in(namespace, || write_all(kind, families))?.map_err(|(setting, source)| {
        LabError::Setting {
            setting: setting.to_owned(),
            namespace: namespace.to_owned(),
            source,
        }
    })
}

fn write_all(kind: Kind, families: Families) -> Result<(), (&'static str, io::Error)> {
    for (setting, value) in EVERYWHERE {
        write(setting, value)?;
    }
    write_where_present(&BRIDGES)?;
    if families.has_v6() {
        for (setting, value) in WITH_V6 {
            write(setting, value)?;
        }
    } else {
        write_where_present(&WITHOUT_V6)?;
    }
    if kind == Kind::Router {
        write("net/ipv4/ip_forward", "1")?;
        if families.has_v6() {
            write("net/ipv6/conf/all/forwarding", "1")?;
        }
    }
    write(PING_GROUPS, "0 2147483647").or_else(|_| write(PING_GROUPS, "0 0"))
}

fn write_where_present(settings: &[(&'static str, &str)]) -> Result<(), (&'static str, io::Error)> {
    for (setting, value) in settings {
        match write(setting, value) {
            Err((_, error)) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

fn write(setting: &'static str, value: &str) -> Result<(), (&'static str, io::Error)> {
    // The thread's own view: /proc/sys/net shows the namespace of whoever opens it.
    fs::write(Path::new("/proc/sys").join(setting), value).map_err(|error| (setting, error))
}
