//! The configuration in the words of the pipeline.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use meshprobe_proto::v1;

use crate::{
    config::{Ask, Config, ExternalTarget, Way, read_bundle},
    ingest::IngestConfig,
    judge::JudgeConfig,
    membership::{MembershipConfig, NodeAddress, Remembered, StaticNode, WayHome},
    pipeline::PipelineConfig,
    plan::{self, DnsProbe, Pace, PlanConfig, Schedule, ServiceProbe},
};

/// Everything that the pipeline wants to know. Reads the files with STAMP secrets.
pub(super) fn pipeline(config: &Config) -> anyhow::Result<PipelineConfig> {
    let report_interval = config.probing.report_interval.duration();
    let mut judge = JudgeConfig::for_report_interval(report_interval);
    judge.dark = config.detection.dark_config(report_interval);
    judge.book.opens = config.detection.diagnosis_opens;
    Ok(PipelineConfig {
        membership: membership(config),
        plan: plan(config)?,
        judge,
        ingest: IngestConfig {
            max_message_bytes: config.limits.grpc_message_bytes,
            max_streams: config.limits.grpc_connections,
            ..IngestConfig::default()
        },
    })
}

/// What is remembered, without the nodes that registered themselves when that was still allowed.
pub(super) fn still_wanted(config: &Config, mut remembered: Remembered) -> Remembered {
    if !config.membership.self_registration {
        let listed: BTreeSet<_> = config.nodes.iter().map(|node| &node.name.value).collect();
        remembered
            .nodes
            .retain(|record| listed.contains(&record.name));
    }
    remembered
}

fn membership(config: &Config) -> MembershipConfig {
    let regions: BTreeMap<&str, &str> = config
        .zones
        .iter()
        .map(|zone| (zone.name.value.as_str(), zone.region.as_str()))
        .collect();
    let static_nodes = config
        .nodes
        .iter()
        .map(|node| {
            let zone = node
                .zone
                .as_ref()
                .map(|zone| zone.value.clone())
                .unwrap_or_default();
            let addresses = node.addresses.iter().map(|address| NodeAddress {
                plane: address.plane,
                ip: address.ip.0,
                udp_port: address.udp_port,
                tcp_port: address.tcp_port,
                quic_port: address.quic_port,
            });
            StaticNode {
                name: node.name.value.clone(),
                region: regions
                    .get(zone.as_str())
                    .copied()
                    .unwrap_or_default()
                    .to_owned(),
                zone,
                labels: BTreeMap::new(),
                addresses: addresses.collect(),
            }
        })
        .collect();
    MembershipConfig {
        static_nodes,
        self_registration: config.membership.self_registration,
        max_nodes: config.membership.max_nodes as usize,
        ..MembershipConfig::default()
    }
}

fn plan(config: &Config) -> anyhow::Result<PlanConfig> {
    let intervals: BTreeMap<_, _> = config.probing.kinds().into_iter().collect();
    let schedules = plan::layers().filter_map(|(kind, plane)| {
        let every = intervals.get(&kind)?;
        Some(Schedule {
            kind,
            plane,
            interval: every.interval.duration()?,
            timeout: every.timeout.duration(),
        })
    });
    let dns = config.dns.iter().flat_map(|server| {
        server.names.iter().map(|name| DnsProbe {
            server: server.server.value.clone(),
            address: server.address.0,
            name: name.name.value.clone(),
            expected_rcode: name.expect.number() as u8,
            plane: server.plane,
        })
    });
    let names = config.dns_search.names.iter();
    let services = config.services.iter().map(|service| ServiceProbe {
        name: service.name.value.clone(),
        address: service.address.0,
    });
    let external = config.external.targets.iter().map(external_target);
    let aggregators = config.aggregators.iter().map(|other| {
        let way = match other.way {
            Way::Overlay => WayHome::Overlay,
            Way::Underlay => WayHome::Underlay,
        };
        (other.address.value.clone(), way)
    });
    Ok(PlanConfig {
        schedules: schedules.collect(),
        udp_pace: match config.probing.udp {
            Some(_) => Pace::Configured,
            None => Pace::BySize,
        },
        report_interval: config.probing.report_interval.duration(),
        dns: dns.collect(),
        search: names.map(|name| name.value.clone()).collect(),
        services: services.collect(),
        external: external.collect::<Result<_, _>>()?,
        quic_sample: config.probing.quic.sample.into(),
        stamp_keys: config.stamp.secrets().context("stamp.keys")?,
        aggregators: aggregators.collect(),
    })
}

fn external_target(target: &ExternalTarget) -> anyhow::Result<v1::ExternalTarget> {
    let name = &target.name.value;
    let ask = target
        .ask()
        .with_context(|| format!("external target {name}: nothing to ask of it"))?;
    let expect = target.expect.as_ref().map(|expect| &expect.value);
    let statuses = expect.map_or(&[][..], |expect| &expect.status);
    let ca_pem = match &target.ca_file {
        Some(file) => read_bundle(&file.value)
            .with_context(|| format!("external target {name}: {}", file.value.display()))?,
        None => String::new(),
    };
    let (address, url) = match ask {
        Ask::Tcp(end) | Ask::Tls(end) => (end.value.to_string(), String::new()),
        Ask::Http(url) => (String::new(), url.value.to_string()),
    };
    Ok(v1::ExternalTarget {
        name: name.clone(),
        kind: v1::ProbeKind::from(ask.kind()).into(),
        address,
        url,
        server_name: target
            .server_name
            .as_ref()
            .map(|name| name.value.clone())
            .unwrap_or_default(),
        expected_statuses: statuses.iter().map(|status| status.value).collect(),
        expected_body: expect.map(|expect| expect.body.clone()).unwrap_or_default(),
        max_redirects: target.redirects.as_ref().map_or(0, |most| most.value),
        family: v1::Family::from(target.family()).into(),
        ca_pem,
    })
}

#[cfg(test)]
mod tests {
    use meshprobe_core::path::{Plane, ProbeKind};

    use super::*;

    #[test]
    fn the_default_configuration_is_the_default_of_the_pipeline() {
        let ours = pipeline(&Config::default()).unwrap();
        let theirs = PipelineConfig::default();
        assert_eq!(ours.plan, theirs.plan);
        assert_eq!(ours.judge, theirs.judge);
        assert_eq!(ours.membership.static_nodes, theirs.membership.static_nodes);
    }

    #[test]
    fn a_kind_with_interval_zero_is_not_probed_and_a_nodes_region_comes_from_its_zone() {
        let text = "zones: [{name: z1, region: r1}]\nnodes: [{name: a, zone: z1}]\n\
                    probing: {udp: {interval: 0s, timeout: 1s}}\n\
                    dns: [{server: vip, address: \"10.0.0.1:53\", plane: service, names: [{name: a.b.}, {name: c.d., expect: NXDOMAIN}]}]\n";
        let config: Config =
            meshprobe_daemon::config::parse(text, std::path::Path::new("test")).unwrap();
        let settings = pipeline(&config).unwrap();
        assert_eq!(settings.plan.interval(ProbeKind::Udp, Plane::Pod), None);
        assert!(settings.plan.interval(ProbeKind::Tcp, Plane::Pod).is_some());
        assert_eq!(settings.plan.udp_pace, Pace::Configured);
        assert_eq!(settings.membership.static_nodes[0].region, "r1");
        assert_eq!(
            settings
                .plan
                .dns
                .iter()
                .map(|dns| dns.expected_rcode)
                .collect::<Vec<_>>(),
            [0, 3]
        );
    }
}
