//! Targets that are no nodes, as the diagnosis sees them.

use meshprobe_core::diagnosis::{Target, TargetName};
use meshprobe_core::path::{Layer, ProbeKind};
use meshprobe_proto::convert;
use meshprobe_proto::v1;

use super::targets::{TargetKey, Targets};
use crate::plan::PlanConfig;

impl Targets {
    /// The targets of a layer that are shown, each with its place in the rows.
    pub(crate) fn pictures(&self, layer: Layer, plan: &PlanConfig) -> Vec<(usize, Target)> {
        self.of_layer(layer)
            .map(|(index, key)| {
                let target = Target {
                    heading: key.to_string(),
                    name: name(key, plan),
                };
                (index, target)
            })
            .collect()
    }
}

/// What only the plan knows of a target is empty for those out of a prober's own target file.
fn name(key: &TargetKey, plan: &PlanConfig) -> TargetName {
    match key {
        TargetKey::Dns {
            server,
            address,
            name,
            plane,
        } => {
            let asked = plan.dns.iter().find(|probe| {
                (&probe.server, &probe.address, &probe.name) == (server, address, name)
            });
            TargetName::Dns {
                server: server.clone(),
                address: *address,
                name: name.clone(),
                expected_rcode: asked.map_or(0, |probe| probe.expected_rcode),
                plane: *plane,
            }
        }
        TargetKey::Search { name } => TargetName::Search { name: name.clone() },
        TargetKey::Service { name, address } => TargetName::Service {
            name: name.clone(),
            address: *address,
        },
        TargetKey::External { name, kind, family } => {
            let planned = plan
                .external
                .iter()
                .find(|one| one.name == *name && convert::probe_kind(one.kind) == Ok(*kind));
            TargetName::External {
                name: name.clone(),
                kind: *kind,
                family: *family,
                endpoint: planned.and_then(endpoint).unwrap_or_default(),
            }
        }
    }
}

/// `host:port` of a target outside.
fn endpoint(target: &v1::ExternalTarget) -> Option<String> {
    if convert::probe_kind(target.kind) != Ok(ProbeKind::Http) {
        return Some(target.address.clone());
    }
    let url = url::Url::parse(&target.url).ok()?;
    Some(format!(
        "{}:{}",
        url.host_str()?,
        url.port_or_known_default()?
    ))
}

#[cfg(test)]
mod tests {
    use meshprobe_core::path::{Family, Plane};

    use super::*;
    use crate::plan::DnsProbe;

    #[test]
    fn what_the_plan_knows_of_a_target_is_in_its_picture() {
        let plan = PlanConfig {
            dns: vec![DnsProbe {
                server: "coredns-1".to_owned(),
                address: "10.244.1.2:53".parse().unwrap(),
                name: "nothing.example.".to_owned(),
                expected_rcode: 3,
                plane: Plane::Pod,
            }],
            external: vec![
                v1::ExternalTarget {
                    name: "shop".to_owned(),
                    kind: v1::ProbeKind::Http.into(),
                    url: "https://shop.example/cart?x=1".to_owned(),
                    family: v1::Family::V4.into(),
                    ..v1::ExternalTarget::default()
                },
                v1::ExternalTarget {
                    name: "bank".to_owned(),
                    kind: v1::ProbeKind::Tls.into(),
                    address: "bank.example:8443".to_owned(),
                    family: v1::Family::V4.into(),
                    ..v1::ExternalTarget::default()
                },
            ],
            ..PlanConfig::default()
        };
        let mut targets = Targets::default();
        targets.follow(&plan);
        let names = |kind, plane| {
            let layer = Layer {
                kind,
                plane,
                family: Family::V4,
            };
            let pictures = targets.pictures(layer, &plan);
            pictures
                .into_iter()
                .map(|(_, target)| target.name)
                .collect::<Vec<_>>()
        };
        assert!(matches!(
            names(ProbeKind::DnsUdp, Plane::Pod).as_slice(),
            [TargetName::Dns {
                expected_rcode: 3,
                ..
            }]
        ));
        for (kind, at) in [
            (ProbeKind::Http, "shop.example:443"),
            (ProbeKind::Tls, "bank.example:8443"),
        ] {
            let found = names(kind, Plane::Pod);
            let [TargetName::External { endpoint, .. }] = found.as_slice() else {
                panic!("{found:?}");
            };
            assert_eq!(endpoint, at);
        }
    }
}
