//! Kernel settings of the namespaces, so that the host's own do not shine through.

use std::fs;
use std::io;
use std::path::Path;

use super::LabError;
use crate::namespace;

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

/// Not in every kernel: IPv6 can be off, and `br_netfilter` is a module. The lab's links speak IPv4 only, and a bridge must not
/// filter: what is dropped where is the routers' and the nodes' business.
const WHERE_PRESENT: [(&str, &str); 2] = [
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/bridge/bridge-nf-call-iptables", "0"),
];

/// Who may open an unprivileged ICMP socket. Container runtimes allow every group; a user namespace knows only its own.
const PING_GROUPS: &str = "net/ipv4/ping_group_range";

/// What a namespace is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Router,
    Host,
}

pub(super) fn set(namespace: &str, kind: Kind) -> Result<(), LabError> {
    namespace::run_in(namespace, || write_all(kind))?.map_err(|(setting, source)| {
        LabError::Setting {
            setting: setting.to_owned(),
            namespace: namespace.to_owned(),
            source,
        }
    })
}

fn write_all(kind: Kind) -> Result<(), (&'static str, io::Error)> {
    for (setting, value) in EVERYWHERE {
        write(setting, value)?;
    }
    for (setting, value) in WHERE_PRESENT {
        match write(setting, value) {
            Err((_, error)) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    if kind == Kind::Router {
        write("net/ipv4/ip_forward", "1")?;
    }
    write(PING_GROUPS, "0 2147483647").or_else(|_| write(PING_GROUPS, "0 0"))
}

fn write(setting: &'static str, value: &str) -> Result<(), (&'static str, io::Error)> {
    // The thread's own view: /proc/sys/net shows the namespace of whoever opens it.
    fs::write(Path::new("/proc/sys").join(setting), value).map_err(|error| (setting, error))
}
