//! The rules of faults between a pod and what it asks: DNS servers and external targets.

use std::net::{IpAddr, SocketAddr};

use super::{Hook, Rules};
use crate::addressing as at;
use crate::external::{HTTP_PORT, HTTPS_PORT, LabTarget, nginx};
use crate::fault::Percent;
use crate::script::push;
use crate::wiring::LabNode;

impl Rules {
    /// At the server: a share of the questions never gets in. Over TCP it is the connection that does not come about; what is
    /// lost later would only be late.
    pub(in crate::fault) fn dns_throttled(namespace: &str, percent: Percent) -> Self {
        let lose = super::network::lose(percent);
        let port = at::DNS_PORT;
        let rules = format!(
            "iifname eth0 udp dport {port} {lose}\n\
             iifname eth0 tcp dport {port} tcp flags & (syn | ack) == syn {lose}"
        );
        Self::new(namespace, &[(Hook::Arriving, rules)])
    }

    /// A firewall towards the internet: the cluster's own networks stay, and so do the pods that serve others. A DNS server's
    /// upstream and the aggregator's webhooks are the whole cluster's business and not the node's.
    pub(in crate::fault) fn external_node(node: &LabNode) -> Self {
        let inside = format!(
            "{{ {}, {}, {}, 127.0.0.0/8, 224.0.0.0/4 }}",
            at::UNDERLAY_NETWORK,
            at::POD_NETWORK,
            at::SERVICE_NETWORK
        );
        let inside_v6 = format!(
            "{{ {}, {}, {}, ::1, fe80::/10, ff00::/8 }}",
            at::UNDERLAY_NETWORK_V6,
            at::POD_NETWORK_V6,
            at::SERVICE_NETWORK_V6
        );
        let pods = format!(
            "iifname cni0 ip saddr != {{ {}, {} }} ip daddr != {inside} drop\n\
             iifname cni0 ip6 saddr != {{ {}, {} }} ip6 daddr != {inside_v6} drop",
            at::dns_ip(node.index),
            at::aggregator_ip(),
            at::dns_ip_v6(node.index),
            at::aggregator_ip_v6()
        );
        let host = format!("ip daddr != {inside} drop\nip6 daddr != {inside_v6} drop");
        Self::new(
            &node.namespace,
            &[(Hook::Arriving, pods), (Hook::Sent, host)],
        )
    }

    /// The target's address answers nothing.
    pub(in crate::fault) fn external_silence(target: &LabTarget) -> Self {
        let rules: Vec<String> = target
            .addresses()
            .map(|address| format!("{} drop", to(address)))
            .collect();
        Self::new(at::INTERNET, &[(Hook::Arriving, rules.join("\n"))])
    }

    /// The target's HTTPS port leads to a server with an expired certificate.
    pub(in crate::fault) fn tls_expired(target: &LabTarget) -> Self {
        Self::elsewhere(target, &[(HTTPS_PORT, nginx::EXPIRED_PORT)])
    }

    /// The target's HTTPS port leads to a server that no client agrees on a cipher with.
    pub(in crate::fault) fn tls_handshake(target: &LabTarget) -> Self {
        Self::elsewhere(target, &[(HTTPS_PORT, nginx::NO_CIPHER_PORT)])
    }

    /// Both of the target's ports lead to servers that answer every request with this status.
    pub(in crate::fault) fn http_status(target: &LabTarget, status: u16) -> Self {
        Self::elsewhere(
            target,
            &[
                (HTTP_PORT, nginx::status_port(status)),
                (HTTPS_PORT, nginx::tls_status_port(status)),
            ],
        )
    }

    /// New connections to a target's port go to another port, also those of a proxy beside the server.
    fn elsewhere(target: &LabTarget, ports: &[(u16, u16)]) -> Self {
        let mut rules = String::new();
        for address in target.addresses() {
            let family = match address {
                IpAddr::V4(_) => "ip",
                IpAddr::V6(_) => "ip6",
            };
            for (from, to_port) in ports {
                push(
                    &mut rules,
                    format_args!(
                        "{} tcp dport {from} dnat {family} to {}",
                        to(address),
                        SocketAddr::new(address, *to_port)
                    ),
                );
            }
        }
        let chains = format!(
            "chain arriving {{\ntype nat hook prerouting priority dstnat; policy accept;\n{rules}}}\n\
             chain sent {{\ntype nat hook output priority -100; policy accept;\n{rules}}}\n"
        );
        Self {
            namespace: at::INTERNET.to_owned(),
            chains,
        }
    }
}

/// Packets to an address.
fn to(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("ip daddr {address}"),
        IpAddr::V6(address) => format!("ip6 daddr {address}"),
    }
}
