//! The configuration of `coredns`: a zone file for what exists, a forward for the rest.
//!
//! Nothing but what answers questions: the plugins `health` and `ready`, which clusters have, listen on every address of their
//! namespace, and the internet's is shared with others. A changed zone is taken over by itself when its serial number changes.

use std::path::Path;

use super::{DnsRole, TTL_SECONDS, Wrongs, record_type};
use crate::script::push;

/// How often it looks for a new serial number: a fault waits for that.
const RELOAD: &str = "200ms";

pub(super) fn config(role: &DnsRole, wrongs: &Wrongs, zone_file: &Path) -> String {
    let zone = role.zone;
    let address = match role.address_v6 {
        None => role.address.to_string(),
        Some(second) => format!("{} {second}", role.address),
    };
    if wrongs.fails {
        return format!(
            ".:53 {{\n    bind {address}\n    errors\n    template ANY ANY {{\n        rcode SERVFAIL\n    }}\n}}\n"
        );
    }
    let mut config = format!(
        "{zone}:53 {{\n    bind {address}\n    errors\n    file {} {zone} {{\n        reload {RELOAD}\n    }}\n}}\n",
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
pub(super) fn zone(role: &DnsRole, wrongs: &Wrongs) -> String {
    let origin = if role.zone == "." {
        ".".to_owned()
    } else {
        format!("{}.", role.zone)
    };
    let mut zone = format!(
        "$ORIGIN {origin}\n\
         @ {TTL_SECONDS} IN SOA {origin} {origin} {serial} 7200 1800 86400 {TTL_SECONDS}\n\
         @ {TTL_SECONDS} IN NS {origin}\n",
        serial = wrongs.serial,
    );
    for (name, address) in role.present(wrongs) {
        push(
            &mut zone,
            format_args!(
                "{name}. {TTL_SECONDS} IN {} {address}",
                record_type(address)
            ),
        );
    }
    zone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addressing as at;
    use crate::spec::{Families, LabSpec};
    use crate::wiring::Plan;

    fn cluster() -> DnsRole {
        DnsRole::cluster(&Plan::new(&LabSpec::default()).dns[0])
    }

    #[test]
    fn the_cluster_zone_comes_from_a_file_and_the_rest_from_upstream() {
        assert_eq!(
            config(&cluster(), &Wrongs::default(), Path::new("/run/dns-1.zone")),
            "cluster.local:53 {\n    bind 10.244.2.3\n    errors\n    file /run/dns-1.zone cluster.local {\n        reload 200ms\n    }\n}\n\
             .:53 {\n    bind 10.244.2.3\n    errors\n    cache 5\n    forward . 203.0.113.53\n}\n"
        );
    }

    #[test]
    fn a_record_that_goes_leaves_the_others_and_changes_the_serial_number() {
        let mut wrongs = Wrongs {
            serial: 1,
            ..Wrongs::default()
        };
        let before = zone(&cluster(), &wrongs);
        assert!(before.starts_with(
            "$ORIGIN cluster.local.\n@ 5 IN SOA cluster.local. cluster.local. 1 7200 1800 86400 5\n@ 5 IN NS cluster.local.\n"
        ));
        wrongs.serial = 2;
        wrongs.absent.insert(at::KUBERNETES_NAME.to_owned());
        let after = zone(&cluster(), &wrongs);
        assert!(before.contains(at::KUBERNETES_NAME) && !after.contains(at::KUBERNETES_NAME));
        assert!(after.contains(" 2 7200 ") && after.contains(at::AGGREGATOR_NAME));
    }

    #[test]
    fn a_failing_upstream_answers_everything_with_a_server_failure() {
        let wrongs = Wrongs {
            fails: true,
            ..Wrongs::default()
        };
        assert_eq!(
            config(
                &DnsRole::internet(Families::V4),
                &wrongs,
                Path::new("unused")
            ),
            ".:53 {\n    bind 203.0.113.53\n    errors\n    template ANY ANY {\n        rcode SERVFAIL\n    }\n}\n"
        );
    }
}
