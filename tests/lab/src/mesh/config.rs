//! The daemons' configuration files for a lab.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};

use crate::addressing as at;
use crate::{Lab, LabNode};

/// Where notifications go.
pub const WEBHOOK_URL: &str = "http://203.0.113.20:8080/meshprobe";
/// Port in [`WEBHOOK_URL`].
pub(super) const WEBHOOK_PORT: u16 = 8080;

/// What the DNS servers are asked: a name of the cluster, one of the internet, and one that must not exist.
const NAMES: [(&str, &str); 3] = [
    ("kubernetes.default.svc.cluster.local.", "NOERROR"),
    ("www.example.com.", "NOERROR"),
    ("absent.default.svc.cluster.local.", "NXDOMAIN"),
];

/// What applications ask, as they write it: a name of the cluster that the search list completes, and one of the internet.
const SEARCH_NAMES: [&str; 2] = ["kubernetes.default", "www.example.com"];

/// A cluster in a lab is all new: nobody wants to wait two minutes until its nodes count.
const WARM_UP: &str = "2s";

pub(super) fn aggregator(lab: &Lab, log_level: &str, external_url: Option<&str>) -> Value {
    let directory = lab.state_directory();
    let mut config = json!({
        "listen": {
            "grpc": [format!("0.0.0.0:{}", at::AGGREGATOR_PORT)],
            "http": ["0.0.0.0:4861"],
            "admin": format!("0.0.0.0:{}", super::AGGREGATOR_ADMIN_PORT),
        },
        "zones": lab.zones().iter().map(|zone| json!({"name": zone.name})).collect::<Vec<_>>(),
        "dns": dns(lab),
        "aggregators": ways_home(lab),
        "detection": {"warm_up": WARM_UP},
        "store": {"path": directory.join("aggregator.db")},
        "receivers": [{"name": "lab", "webhook": {"url": WEBHOOK_URL}}],
        // Whoever breaks something in a lab wants to see its end when it comes.
        "notifications": {"resolve_hold": "0s"},
        "log": {"level": log_level},
    });
    if let Some(url) = external_url {
        config["external_url"] = json!(url);
    }
    config
}

/// What the aggregator is told beside that where the mesh probes the lab's names, virtual IPs and servers: names as applications
/// ask them, the service in front of the responders, each external server in every way that there is, and the API server.
pub(super) fn targets(lab: &Lab) -> Value {
    let service = lab.responder_service();
    let ca_file = lab.ca_file();
    let mut targets: Vec<Value> = lab
        .external_targets()
        .iter()
        .flat_map(|target| {
            let name = target.name;
            let end = format!("{name}:{}", target.https().port());
            let page = json!({"status": [200], "body": name});
            [
                json!({"name": format!("{name}-tcp"), "tcp": end}),
                json!({"name": format!("{name}-tls"), "tls": end, "ca_file": ca_file}),
                json!({"name": format!("{name}-http"), "url": format!("http://{name}/"), "expect": page}),
                json!({"name": format!("{name}-https"), "url": format!("https://{name}/"), "expect": page, "ca_file": ca_file}),
            ]
        })
        .collect();
    targets.push(json!({"name": "kubernetes-tcp", "tcp": at::kubernetes().to_string()}));
    json!({
        "dns_search": {"names": SEARCH_NAMES},
        "services": [{"name": "responders", "address": service.address.to_string()}],
        "external": {"allow": fence(lab), "targets": targets},
    })
}

/// Where external targets may lie, in the opinion of the aggregator and of every prober.
fn fence(lab: &Lab) -> Vec<Value> {
    let server = |ip: Ipv4Addr, ports: &[u16]| {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        json!({"cidr": format!("{ip}/32"), "ports": ports})
    };
    lab.external_targets()
        .iter()
        .map(|target| {
            server(
                target.address,
                &[target.http().port(), target.https().port()],
            )
        })
        .chain([server(at::KUBERNETES_VIP, &[at::KUBERNETES_PORT])])
        .collect()
}

/// A prober's environment that names the proxy for what is outside of the cluster.
pub(super) fn proxy_variables(proxy: SocketAddr) -> Vec<(&'static str, String)> {
    let url = format!("http://{proxy}");
    vec![
        ("HTTP_PROXY", url.clone()),
        ("HTTPS_PROXY", url),
        (
            "NO_PROXY",
            format!("{},.{}", at::SERVICE_NETWORK, at::CLUSTER_DOMAIN),
        ),
    ]
}

fn dns(lab: &Lab) -> Vec<Value> {
    let names: Vec<Value> = NAMES
        .iter()
        .map(|(name, expect)| json!({"name": name, "expect": expect}))
        .collect();
    let server = |name: &str, address: String, plane: &str| json!({"server": name, "address": address, "plane": plane, "names": names});
    let instances = lab
        .dns_instances()
        .iter()
        .map(|dns| server(&dns.name, dns.address.to_string(), "pod"));
    instances
        .chain([server("vip", at::dns_service().to_string(), "service")])
        .collect()
}

fn ways_home(lab: &Lab) -> Value {
    let aggregator = lab.aggregator();
    json!([
        {"address": aggregator.service.to_string(), "way": "overlay"},
        {"address": aggregator.node_port.to_string(), "way": "underlay"},
    ])
}

pub(super) fn prober(lab: &Lab, node: &LabNode, log_level: &str) -> Value {
    one_prober(
        lab,
        node,
        log_level,
        "pod",
        &addresses(node.pod_ip, node.pod_ip_v6),
    )
}

/// The second prober, in the node's own namespace.
pub(super) fn host_prober(lab: &Lab, node: &LabNode, log_level: &str) -> Value {
    one_prober(
        lab,
        node,
        log_level,
        "host",
        &addresses(node.host_ip, node.host_ip_v6),
    )
}

fn addresses(v4: Ipv4Addr, v6: Option<Ipv6Addr>) -> Vec<IpAddr> {
    [Some(IpAddr::V4(v4)), v6.map(IpAddr::V6)]
        .into_iter()
        .flatten()
        .collect()
}

fn one_prober(
    lab: &Lab,
    node: &LabNode,
    log_level: &str,
    plane: &str,
    addresses: &[IpAddr],
) -> Value {
    json!({
        "node": {"name": node.name, "zone": node.zone, "host_ip": node.host_ip},
        "plane": plane,
        "listen": {
            "addresses": addresses,
            "admin": format!("0.0.0.0:{}", super::PROBER_ADMIN_PORT),
        },
        "aggregator": {"addresses": ways_home(lab)},
        "external": {"allow": fence(lab)},
        "log": {"level": log_level},
    })
}

/// Lays `over` over `under`: objects key by key, anything else replaces. `null` at the top changes nothing; inside an object it
/// removes the key.
pub(super) fn overlay(under: &mut Value, over: &Value) {
    match (under, over) {
        (_, Value::Null) => {}
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    under.remove(key);
                } else {
                    overlay(under.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// Writes a configuration as YAML.
pub(super) fn write(path: &Path, config: &Value) -> Result<(), super::MeshError> {
    let yaml = serde_saphyr::to_string(config)
        .map_err(|error| super::MeshError::Yaml(error.to_string()))?;
    std::fs::write(path, yaml).map_err(|source| super::MeshError::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_changes_what_it_names_and_nothing_else() {
        let mut config = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1, "e": 2});
        overlay(
            &mut config,
            &json!({"a": {"c": [3], "f": {"g": 1}}, "d": null}),
        );
        assert_eq!(
            config,
            json!({"a": {"b": 1, "c": [3], "f": {"g": 1}}, "e": 2})
        );
        overlay(&mut config, &Value::Null);
        assert_eq!(config["e"], 2);
    }

    #[test]
    fn the_address_of_the_receiver_is_the_one_of_the_lab() {
        assert_eq!(
            WEBHOOK_URL,
            format!("http://{}:{WEBHOOK_PORT}/meshprobe", at::WEBHOOK_IP)
        );
    }
}
