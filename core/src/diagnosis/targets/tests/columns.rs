//! What the small cluster asks: the columns of its layers, each with its interval.

use std::sync::Arc;

use crate::diagnosis::{Target, TargetName};
use crate::path::{Family, Layer, Plane, ProbeKind};

pub(super) const CLUSTER_NAME: &str = "kubernetes.default.svc.cluster.local.";
pub(super) const ABSENT_NAME: &str = "absent.default.svc.cluster.local.";
pub(super) const EXTERNAL_NAME: &str = "www.example.com.";
pub(super) const fn layer(kind: ProbeKind, plane: Plane) -> Layer {
    Layer {
        kind,
        plane,
        family: Family::V4,
    }
}

pub(super) fn layers(dns: &[usize], targets: bool) -> Vec<(Layer, f64, Arc<[Target]>)> {
    let question = |server: &str, address: &str, plane: Plane, name: &str| Target {
        heading: format!("{server}/{name}"),
        name: TargetName::Dns {
            server: server.to_owned(),
            address: address.parse().unwrap(),
            name: name.to_owned(),
            expected_rcode: if name == ABSENT_NAME { 3 } else { 0 },
            plane,
        },
    };
    let names = [CLUSTER_NAME, EXTERNAL_NAME, ABSENT_NAME];
    let instances: Vec<Target> = dns
        .iter()
        .enumerate()
        .flat_map(|(instance, node)| {
            let server = format!("dns-{}", instance + 1);
            let address = format!("10.244.{}.53:53", node + 1);
            names.map(|name| question(&server, &address, Plane::Pod, name))
        })
        .collect();
    let vip: Vec<Target> = names
        .map(|name| question("vip", "10.96.0.10:53", Plane::Service, name))
        .to_vec();
    let mut layers: Vec<(Layer, f64, Arc<[Target]>)> = Vec::new();
    for kind in [ProbeKind::DnsUdp, ProbeKind::DnsTcp] {
        layers.push((layer(kind, Plane::Pod), 5.0, instances.clone().into()));
        layers.push((layer(kind, Plane::Service), 5.0, vip.clone().into()));
    }
    if !targets {
        return layers;
    }
    let search = |name: &str| Target {
        heading: name.to_owned(),
        name: TargetName::Search {
            name: name.to_owned(),
        },
    };
    let service = Target {
        heading: "responders".to_owned(),
        name: TargetName::Service {
            name: "responders".to_owned(),
            address: "10.96.0.30:4862".parse().unwrap(),
        },
    };
    let outside = |kind: ProbeKind, list: &[(&str, &str)]| -> Arc<[Target]> {
        list.iter()
            .map(|(name, endpoint)| Target {
                heading: (*name).to_owned(),
                name: TargetName::External {
                    name: (*name).to_owned(),
                    kind,
                    family: Family::V4,
                    endpoint: (*endpoint).to_owned(),
                },
            })
            .collect()
    };
    layers.push((
        layer(ProbeKind::DnsSearch, Plane::Pod),
        30.0,
        vec![search("kubernetes"), search("www.example.com")].into(),
    ));
    layers.push((
        layer(ProbeKind::Service, Plane::Service),
        1.0,
        vec![service].into(),
    ));
    let tcp = [
        ("www.example.com-tcp", "203.0.113.10:443"),
        ("registry.example.net-tcp", "203.0.113.11:443"),
    ];
    let tls = [
        ("www.example.com-tls", "www.example.com:443"),
        ("registry.example.net-tls", "registry.example.net:443"),
    ];
    let http = [
        ("www.example.com-http", "www.example.com:80"),
        ("www.example.com-https", "www.example.com:443"),
        ("registry.example.net-http", "registry.example.net:80"),
        ("registry.example.net-https", "registry.example.net:443"),
    ];
    for (kind, list) in [
        (ProbeKind::TcpConnect, &tcp[..]),
        (ProbeKind::Tls, &tls[..]),
        (ProbeKind::Http, &http[..]),
    ] {
        layers.push((layer(kind, Plane::Pod), 5.0, outside(kind, list)));
    }
    layers
}
