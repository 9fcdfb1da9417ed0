//! The underlay: a bridge for each zone, a router between them, and the way to the internet.

use super::{Plan, v6};
use crate::addressing as at;
use crate::script::push;

/// The router's port towards the internet.
pub(crate) const UPLINK: &str = "uplink";

/// `ip -batch` in the fabric.
pub(crate) fn links(plan: &Plan) -> String {
    let mut script = format!(
        "link set lo up\n\
         address add {}/24 dev {UPLINK}\n\
         link set {UPLINK} up\n",
        at::FABRIC_PUBLIC_IP
    );
    for zone in &plan.zones {
        // No snooping and no spanning tree: a port forwards from the moment that it is up.
        push(
            &mut script,
            format_args!(
                "link add name {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
                 address add {gateway}/24 dev {name}\n\
                 link set {name} up",
                name = zone.name,
                gateway = zone.gateway,
            ),
        );
    }
    for node in &plan.nodes {
        push(
            &mut script,
            format_args!("link set {} master {} up", node.name, node.zone),
        );
    }
    script += &v6::fabric_links(plan);
    script
}

/// `nft -f` in the fabric: the provider's translation to a public address.
pub(crate) fn translation(plan: &Plan) -> String {
    format!(
        "table ip provider {{\n\
         chain postrouting {{\n\
         type nat hook postrouting priority srcnat; policy accept;\n\
         }}\n\
         }}\n\
         {}{}",
        masquerade(),
        v6::fabric_translation(plan)
    )
}

/// `nft -f` in the fabric: everything from the underlay leaves with the router's address.
pub(crate) fn masquerade() -> String {
    format!(
        "flush chain ip provider postrouting\n\
         add rule ip provider postrouting ip saddr {} oifname \"{UPLINK}\" masquerade\n",
        at::UNDERLAY_NETWORK
    )
}

/// `nft -f` in the fabric: only what goes to the webhook receiver is translated. Nobody could be told otherwise.
pub(crate) fn no_masquerade() -> String {
    format!(
        "flush chain ip provider postrouting\n\
         add rule ip provider postrouting ip saddr {} oifname \"{UPLINK}\" ip daddr {} masquerade\n",
        at::UNDERLAY_NETWORK,
        at::WEBHOOK_IP
    )
}

/// `ip -batch` in the internet: no route back to the underlay, only what was translated gets an answer.
pub(crate) fn internet_links(plan: &Plan) -> String {
    let mut script = "link set lo up\nlink set eth0 up\n".to_owned();
    for address in [
        at::WWW_IP,
        at::REGISTRY_IP,
        at::WEBHOOK_IP,
        at::PROXY_IP,
        at::INTERNET_DNS_IP,
    ] {
        push(
            &mut script,
            format_args!("address add {address}/24 dev eth0"),
        );
    }
    script += &v6::internet_links(plan);
    script
}
