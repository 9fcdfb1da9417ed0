//! The configuration of `coredns`: a zone file for what exists, a forward for the rest.

use std::path::Path;

use super::{DnsRole, TTL_SECONDS};
use crate::script::push;

pub(super) fn config(role: &DnsRole, zone_file: &Path) -> String {
    let DnsRole { address, zone, .. } = role;
    let mut config = format!(
        "{zone}:53 {{\n    bind {address}\n    errors\n    file {} {zone}\n}}\n",
        zone_file.display()
    );
    if let Some(forward) = role.forward {
        push(
            &mut config,
            format_args!(
                ".:53 {{\n    bind {address}\n    errors\n    cache {TTL_SECONDS}\n    forward . {forward}\n}}"
            ),
        );
    }
    config
}

/// The zone in master file format.
pub(super) fn zone(role: &DnsRole) -> String {
    let origin = if role.zone == "." {
        ".".to_owned()
    } else {
        format!("{}.", role.zone)
    };
    let mut zone = format!(
        "$ORIGIN {origin}\n\
         @ {TTL_SECONDS} IN SOA {origin} {origin} 1 7200 1800 86400 {TTL_SECONDS}\n\
         @ {TTL_SECONDS} IN NS {origin}\n"
    );
    for (name, address) in &role.names {
        push(
            &mut zone,
            format_args!("{name}. {TTL_SECONDS} IN A {address}"),
        );
    }
    zone
}
