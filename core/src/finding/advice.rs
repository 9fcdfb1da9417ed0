//! What to do first about a finding: commands with the real names filled in, quoted for a shell.

use std::borrow::Cow;

use super::{Finding, Pattern};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstAction {
    /// What it tells or does.
    pub what: &'static str,
    /// To be typed as it is.
    pub command: String,
}

/// A word as a shell takes it.
fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// The commands to begin with, two to six, from the nearest cause to the farthest. Those on a node are for a shell there.
pub fn first_actions(finding: &Finding) -> Vec<FirstAction> {
    let nodes = finding.scope.named_nodes();
    let first = nodes.first().map_or("NODE", |node| node.as_str());
    let node = quoted(first).into_owned();
    let other = nodes
        .get(1)
        .map_or_else(|| "PEER".to_owned(), |n| quoted(n.as_str()).into_owned());
    let target = finding.scope.target.as_deref().unwrap_or("TARGET");
    let host = quoted(target).into_owned();
    let name = quoted(target.trim_end_matches('.')).into_owned();
    let act = |what, command: &str| FirstAction {
        what,
        command: command
            .replace("{node}", &node)
            .replace("{other}", &other)
            .replace("{host}", &host)
            .replace("{name}", &name),
    };
    let pods = act(
        "network pods on the node",
        "kubectl get pods -n kube-system -o wide --field-selector spec.nodeName={node}",
    );
    let describe = act(
        "state and events of the node",
        "kubectl describe node {node}",
    );
    let flannel = act(
        "restart Flannel there, if its routes are missing",
        "kubectl delete pod -n kube-flannel -l app=flannel --field-selector spec.nodeName={node}",
    );
    let routes = act("pod routes (on the node)", "ip route show");
    let policies = act(
        "network policies that may be in the way",
        "kubectl get networkpolicy -A",
    );
    let coredns = act(
        "CoreDNS and where it runs",
        "kubectl get pods -n kube-system -l k8s-app=kube-dns -o wide",
    );
    let dns_logs = act(
        "what CoreDNS says",
        "kubectl logs -n kube-system -l k8s-app=kube-dns --tail=50",
    );
    let links = act("errors and drops of the links (on the node)", "ip -s link");
    match finding.pattern {
        Pattern::NodeDark
        | Pattern::ZoneDark
        | Pattern::Isolated
        | Pattern::UnreachableUnconfirmed => vec![
            describe,
            act(
                "what the node's pods are doing",
                "kubectl get pods -A -o wide --field-selector spec.nodeName={node}",
            ),
            act("does it answer at all", "ping -c 3 {node}"),
        ],
        Pattern::IngressDead
        | Pattern::EgressDead
        | Pattern::NodeIngress
        | Pattern::NodeEgress
        | Pattern::NodeLink => vec![
            links,
            act(
                "firewall rules with their counters (on the node)",
                "nft list ruleset",
            ),
            act("the same with iptables (on the node)", "iptables -L -n -v"),
            routes,
        ],
        Pattern::ReportsCut
        | Pattern::ProberDown
        | Pattern::ObserverUnhealthy
        | Pattern::ProberNotRunning => vec![
            act(
                "the prober's pod on the node",
                "kubectl get pods -A -o wide --field-selector spec.nodeName={node} -l app.kubernetes.io/name=meshprobe-prober",
            ),
            act(
                "events of the last time",
                "kubectl get events -A --sort-by=.lastTimestamp --field-selector type=Warning",
            ),
            act(
                "what the kubelet says (on the node)",
                "journalctl -u kubelet --since -15min",
            ),
            describe,
        ],
        Pattern::AggregatorIsolated | Pattern::StoreUnwritable => vec![
            act(
                "the aggregator's pods",
                "kubectl get pods -A -o wide -l app.kubernetes.io/name=meshprobe-aggregator",
            ),
            act(
                "what it says",
                "kubectl logs -A -l app.kubernetes.io/name=meshprobe-aggregator --tail=50",
            ),
        ],
        Pattern::OverlayIngress
        | Pattern::OverlayEgress
        | Pattern::OverlayNode
        | Pattern::Overlay => vec![
            routes,
            pods,
            flannel,
            act("the tunnel (on the node)", "ip -d link show type vxlan"),
            act("Calico's neighbours (on the node)", "calicoctl node status"),
            act(
                "Cilium's own word",
                "kubectl exec -n kube-system ds/cilium -- cilium status",
            ),
        ],
        Pattern::Path => vec![
            act(
                "the way, hop by hop (on the first node)",
                "mtr -rwc 10 {other}",
            ),
            routes,
            act("measure it again", "meshprobe explain {node} {other}"),
        ],
        Pattern::ZonePair | Pattern::Zone | Pattern::Mesh => vec![
            act("which zones and paths fail", "meshprobe matrix"),
            links,
            act(
                "what changed in the cluster",
                "kubectl get events -A --sort-by=.lastTimestamp",
            ),
        ],
        Pattern::Flows => vec![
            act("which flows fail", "meshprobe findings -o wide"),
            act(
                "many ports, one way: some fail (on a node)",
                "mtr -u -P 4862 -rwc 20 {other}",
            ),
        ],
        Pattern::Kind | Pattern::Family => vec![
            act(
                "firewall rules with their counters (on the node)",
                "nft list ruleset",
            ),
            act("the same with iptables (on the node)", "iptables -L -n -v"),
            policies,
        ],
        Pattern::Mtu => vec![
            act("MTU of all links (on the node)", "ip -o link show"),
            act(
                "does a full packet pass (on the node)",
                "ping -M do -s 1422 -c 3 {other}",
            ),
            act(
                "path MTUs that the kernel has learned (on the node)",
                "ip route show cache",
            ),
        ],
        Pattern::Slow => vec![
            links,
            act("queues (on the node)", "tc -s qdisc show"),
            act("what needs the processor (on the node)", "top -b -n 1"),
        ],
        Pattern::NewFlows => vec![
            act(
                "how full the connection table is (on the node)",
                "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max",
            ),
            act("what it refused (on the node)", "conntrack -S"),
            act("what the kernel said (on the node)", "dmesg -T"),
        ],
        Pattern::AddressConflict => vec![
            act(
                "blocks of all nodes",
                "kubectl get nodes -o custom-columns=NAME:.metadata.name,CIDR:.spec.podCIDR",
            ),
            act("pods with their addresses", "kubectl get pods -A -o wide"),
            act("Calico's pools", "calicoctl get ippool -o wide"),
        ],
        Pattern::ConfigDrift => vec![
            act("the resolver (on the node)", "cat /etc/resolv.conf"),
            act("MTU of all links (on the node)", "ip -o link show"),
            act(
                "the kubelet's settings",
                "kubectl get --raw /api/v1/nodes/{node}/proxy/configz",
            ),
        ],
        Pattern::DnsServer => vec![
            coredns,
            dns_logs,
            act(
                "restart CoreDNS",
                "kubectl rollout restart deployment coredns -n kube-system",
            ),
        ],
        Pattern::DnsOverloaded => vec![
            act(
                "does CoreDNS have the processor that it needs",
                "kubectl top pods -n kube-system -l k8s-app=kube-dns",
            ),
            act(
                "its limits",
                "kubectl get deployment coredns -n kube-system -o yaml",
            ),
            dns_logs,
            act(
                "more of it",
                "kubectl scale deployment coredns -n kube-system --replicas=4",
            ),
        ],
        Pattern::DnsBlocked => vec![
            policies,
            act("rules about port 53 (on the node)", "nft list ruleset"),
            coredns,
        ],
        Pattern::DnsUpstream => vec![
            act(
                "what CoreDNS forwards to",
                "kubectl get configmap coredns -n kube-system -o yaml",
            ),
            dns_logs,
        ],
        Pattern::DnsName => vec![
            act(
                "what is answered",
                "kubectl run test-dns --image=busybox --rm -it --restart=Never -- nslookup {name}",
            ),
            act("does the service exist", "kubectl get svc -A"),
            dns_logs,
        ],
        Pattern::ServiceVip => vec![
            act(
                "what stands behind the services",
                "kubectl get endpointslices -A",
            ),
            act(
                "kube-proxy and where it runs",
                "kubectl get pods -n kube-system -l k8s-app=kube-proxy -o wide",
            ),
            act(
                "what kube-proxy says",
                "kubectl logs -n kube-system -l k8s-app=kube-proxy --tail=50",
            ),
            act(
                "its rules in iptables mode (on the node)",
                "iptables -t nat -L KUBE-SERVICES -n",
            ),
            act("in IPVS mode (on the node)", "ipvsadm -Ln"),
            act(
                "in nftables mode (on the node)",
                "nft list table ip kube-proxy",
            ),
        ],
        Pattern::External => vec![
            act(
                "address translation on the way out (on the node)",
                "iptables -t nat -L POSTROUTING -n -v",
            ),
            act("the default route (on the node)", "ip route show default"),
            policies,
        ],
        Pattern::Tls => vec![
            act(
                "the certificate that is shown",
                "openssl s_client -connect {host}:443 -servername {host}",
            ),
            act("certificates of cert-manager", "kubectl get certificate -A"),
        ],
        Pattern::Http => vec![
            act("what is answered", "curl -v https://{host}/"),
            act("the ingress rules", "kubectl get ingress -A"),
            act(
                "what stands behind the services",
                "kubectl get endpointslices -A",
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Scope;
    use crate::ids::NodeName;

    #[test]
    fn every_pattern_has_two_to_six_actions_with_names_filled_in() {
        let node = |name: &str| NodeName::try_from(name).unwrap();
        for pattern in Pattern::ALL {
            let scope = Scope::path(node("mesh-1"), node("mesh-2")).with_target("shop.example.com");
            let actions = first_actions(&Finding::new(*pattern, scope, ""));
            assert!((2..=6).contains(&actions.len()), "{pattern}");
            for action in actions {
                assert!(!action.command.contains(['{', '}']), "{}", action.command);
            }
        }
    }

    #[test]
    fn a_strange_name_is_one_word_of_a_shell() {
        let scope = Scope::target("x; rm -rf '/' $(reboot)");
        let actions = first_actions(&Finding::new(Pattern::Tls, scope, ""));
        let word = r"'x; rm -rf '\''/'\'' $(reboot)'";
        assert!(actions[0].command.contains(&format!("-servername {word}")));
        assert_eq!(quoted("-x"), "'-x'");
        assert_eq!(quoted("mesh-1.example"), "mesh-1.example");
    }
}
