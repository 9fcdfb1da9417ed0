//! What a probe found beside its outcome, in one line.

use jiff::Timestamp;
use meshprobe_proto::v1;
use meshprobe_proto::v1::detail::Detail;

use super::time;

/// "largest packet 1400 (black hole) there, 1450 back; interface 1450". Empty where there is nothing to tell.
pub fn sentence(detail: &v1::Detail, now: Timestamp) -> String {
    let parts = match &detail.detail {
        Some(Detail::Udp(udp)) => udp_parts(udp),
        Some(Detail::Mtu(mtu)) => mtu_parts(mtu),
        Some(Detail::Quic(quic)) => quic_parts(quic),
        Some(Detail::Icmp(icmp)) => icmp
            .ttl
            .map(|ttl| format!("hop limit {ttl}"))
            .into_iter()
            .collect(),
        Some(Detail::Dns(dns)) => dns_parts(*dns),
        Some(Detail::Search(search)) => search_parts(search),
        Some(Detail::Service(service)) => service_parts(service),
        Some(Detail::External(external)) => external_parts(external, now),
        None => Vec::new(),
    };
    parts.join("; ")
}

fn micros(micros: u64) -> String {
    time::rtt(micros as f64 / 1e6)
}

fn counted(count: u32, what: &str) -> Option<String> {
    (count > 0).then(|| format!("{count} {what}"))
}

fn named(what: &str, text: &str) -> Option<String> {
    (!text.is_empty()).then(|| format!("{what}{text}"))
}

fn udp_parts(udp: &v1::UdpDetail) -> Vec<String> {
    let flows = udp.flows.as_ref().map(|flows| {
        let ports: Vec<String> = flows.failing_ports.iter().map(u32::to_string).collect();
        let from = named(" (source ports ", &ports.join(", ")).map_or(String::new(), |p| p + ")");
        format!("{} of {} flows fail{from}", flows.failing, flows.tested)
    });
    let ttl = udp.ttl.map(|ttl| {
        let changed = if udp.ttl_changed { ", changed" } else { "" };
        format!("arrives with hop limit {ttl}{changed}")
    });
    let variation = (udp.delay_variation_micros > 0)
        .then(|| format!("delay variation {}", micros(udp.delay_variation_micros)));
    let dscp = udp
        .dscp_changed_to
        .map(|dscp| format!("DSCP changed to {dscp} on the way"));
    let parts = [
        flows,
        counted(udp.reordered, "reordered"),
        counted(udp.duplicated, "duplicated"),
        dscp,
        variation,
        ttl,
    ];
    parts.into_iter().flatten().collect()
}

fn limit(limit: v1::MtuLimit) -> &'static str {
    match limit {
        v1::MtuLimit::BlackHole => " (black hole)",
        v1::MtuLimit::Signalled => " (signalled)",
        v1::MtuLimit::Local => " (own kernel)",
        v1::MtuLimit::Unspecified | v1::MtuLimit::Interface => "",
    }
}

fn mtu_parts(mtu: &v1::MtuDetail) -> Vec<String> {
    let size = |octets: u32| match octets {
        0 => "unknown".to_owned(),
        octets => octets.to_string(),
    };
    let measured = format!(
        "largest packet {}{} there, {}{} back",
        size(mtu.forward),
        limit(mtu.forward_limit()),
        size(mtu.reverse),
        limit(mtu.reverse_limit()),
    );
    let signalled = (mtu.signalled_mtu > 0).then(|| {
        let by = named(" by ", &mtu.signalled_by).unwrap_or_default();
        format!("{} allowed{by}", mtu.signalled_mtu)
    });
    let own = (mtu.interface_mtu > 0).then(|| match mtu.route_mtu {
        0 => format!("interface {}", mtu.interface_mtu),
        route if route == mtu.interface_mtu => format!("interface and route {route}"),
        route => format!("interface {}, route {route}", mtu.interface_mtu),
    });
    [Some(measured), signalled, own]
        .into_iter()
        .flatten()
        .collect()
}

fn quic_parts(quic: &v1::QuicDetail) -> Vec<String> {
    let handshake = quic
        .handshake_micros
        .map(|handshake| format!("handshake {}", micros(handshake)));
    let long = quic.long_flow_age_millis.map(|age| {
        let age = time::span(i64::try_from(age / 1_000).unwrap_or(i64::MAX));
        format!("long-lived connection for {age}")
    });
    let mtu = (quic.mtu > 0).then(|| format!("payloads up to {}", quic.mtu));
    let parts = [
        named("", &quic.failure),
        handshake,
        long,
        counted(quic.long_flow_breaks, "breaks of it"),
        counted(quic.black_holes_detected, "black holes met"),
        mtu,
    ];
    parts.into_iter().flatten().collect()
}

/// The names of RFC 1035 §4.1.1 and RFC 6895.
fn rcode(code: u32) -> String {
    let names = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
    ];
    names
        .get(code as usize)
        .map_or_else(|| format!("rcode {code}"), |name| (*name).to_owned())
}

fn dns_parts(dns: v1::DnsDetail) -> Vec<String> {
    let parts = [
        dns.rcode.map(rcode),
        counted(dns.answers, "records"),
        dns.truncated.then(|| "truncated".to_owned()),
        counted(dns.wrong_answers, "wrong answers so far"),
    ];
    parts.into_iter().flatten().collect()
}

fn search_parts(search: &v1::SearchDetail) -> Vec<String> {
    let queries = format!(
        "{} {}",
        search.queries,
        if search.queries == 1 {
            "query"
        } else {
            "queries"
        }
    );
    let parts = [
        named("", &search.failure),
        Some(queries),
        named("answered as ", &search.answered_name),
        named("by ", &search.server),
    ];
    parts.into_iter().flatten().collect()
}

fn service_parts(service: &v1::ServiceDetail) -> Vec<String> {
    let backends: Vec<String> = service
        .backends
        .iter()
        .map(|count| format!("{} {}", count.backend, count.connections))
        .collect();
    let failed = format!("{} of {} connections failed", service.failed, service.tried);
    [Some(failed), named("answered by ", &backends.join(", "))]
        .into_iter()
        .flatten()
        .collect()
}

fn external_parts(external: &v1::ExternalDetail, now: Timestamp) -> Vec<String> {
    let phases = [
        ("dns", external.dns_micros),
        ("connect", external.connect_micros),
        ("tls", external.tls_micros),
        ("first byte", external.first_byte_micros),
        ("total", external.total_micros),
    ];
    let phases: Vec<String> = phases
        .into_iter()
        .filter_map(|(phase, time)| Some(format!("{phase} {}", micros(time?))))
        .collect();
    let certificate = external.certificate_not_after.map(|end| {
        let left = end.saturating_sub(now.as_second());
        if left < 0 {
            format!("certificate expired {} ago", time::span(-left))
        } else {
            format!("certificate valid for {}", time::span(left))
        }
    });
    let parts = [
        named("", &external.failure),
        external.status.map(|status| format!("status {status}")),
        counted(external.redirects, "redirects"),
        certificate,
        named("", &external.tls_version),
        named("at ", &external.address),
        named("through ", &external.proxy),
        named("", &phases.join(", ")),
    ];
    parts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn told(detail: Detail) -> String {
        let detail = v1::Detail {
            detail: Some(detail),
        };
        sentence(&detail, now())
    }

    #[test]
    fn a_black_hole_is_told_from_a_signalled_limit() {
        let mtu = v1::MtuDetail {
            forward: 1_400,
            forward_limit: v1::MtuLimit::Signalled.into(),
            reverse: 1_400,
            signalled_mtu: 1_400,
            signalled_by: "10.244.1.1".into(),
            interface_mtu: 1_450,
            route_mtu: 1_450,
            ..v1::MtuDetail::default()
        };
        assert_eq!(
            told(Detail::Mtu(mtu)),
            "largest packet 1400 (signalled) there, 1400 back; 1400 allowed by 10.244.1.1; interface and route 1450"
        );
    }

    #[test]
    fn the_end_of_a_certificate_counts_from_now() {
        let external = |end| {
            told(Detail::External(v1::ExternalDetail {
                certificate_not_after: Some(end),
                ..v1::ExternalDetail::default()
            }))
        };
        assert_eq!(external(1_086_400), "certificate valid for 1d0h");
        assert_eq!(external(999_940), "certificate expired 1m0s ago");
    }

    #[test]
    fn each_kind_tells_what_it_saw() {
        let flows = v1::FlowLoss {
            tested: 16,
            failing: 1,
            failing_ports: vec![40_001],
            living_sent: 100,
            living_lost: 0,
        };
        let udp = v1::UdpDetail {
            flows: Some(flows),
            ttl: Some(63),
            ..v1::UdpDetail::default()
        };
        assert_eq!(
            told(Detail::Udp(udp)),
            "1 of 16 flows fail (source ports 40001); arrives with hop limit 63"
        );
        let dns = v1::DnsDetail {
            rcode: Some(2),
            ..v1::DnsDetail::default()
        };
        assert_eq!(told(Detail::Dns(dns)), "SERVFAIL");
        let service = v1::ServiceDetail {
            tried: 60,
            failed: 20,
            backends: vec![v1::BackendCount {
                backend: "mesh-1".into(),
                connections: 40,
            }],
        };
        assert_eq!(
            told(Detail::Service(service)),
            "20 of 60 connections failed; answered by mesh-1 40"
        );
        assert_eq!(sentence(&v1::Detail::default(), now()), "");
    }
}
