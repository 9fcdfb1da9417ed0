//! Details of probes: messages to domain values and back.
//!
//! What comes in is bounded: texts are cut, lists are shortened, numbers that do not fit are refused by name. An address
//! that is none becomes no address: a detail is evidence, and the rest of it is still worth having.

use std::time::Duration;

use meshprobe_core::detail::{
    BackendCount, Detail, DnsDetail, ExternalDetail, FlowLoss, IcmpDetail, MAX_ENTRIES, MtuDetail,
    MtuLimit, Phases, QuicDetail, SearchDetail, ServiceDetail, UdpDetail, bounded_text,
};

use crate::convert::UnknownNumber;
use crate::v1;
use crate::v1::detail::Detail as Wire;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl From<&Detail> for v1::Detail {
    fn from(detail: &Detail) -> Self {
        let wire = match detail {
            Detail::Udp(udp) => Wire::Udp(udp_to_wire(udp)),
            Detail::Mtu(mtu) => Wire::Mtu(mtu_to_wire(mtu)),
            Detail::Quic(quic) => Wire::Quic(quic_to_wire(quic)),
            Detail::Icmp(icmp) => Wire::Icmp(v1::IcmpDetail {
                ttl: icmp.ttl.map(Into::into),
            }),
            Detail::Dns(dns) => Wire::Dns(v1::DnsDetail {
                rcode: dns.rcode.map(Into::into),
                truncated: dns.truncated,
                answers: dns.answers.into(),
                wrong_answers: dns.wrong_answers,
            }),
            Detail::Search(search) => Wire::Search(v1::SearchDetail {
                queries: search.queries,
                answered_name: search.answered_name.clone(),
                server: text_of(search.server),
                failure: search.failure.clone(),
            }),
            Detail::Service(service) => Wire::Service(service_to_wire(service)),
            Detail::External(external) => Wire::External(external_to_wire(external)),
        };
        Self { detail: Some(wire) }
    }
}

impl TryFrom<&v1::Detail> for Detail {
    type Error = UnknownNumber;

    fn try_from(message: &v1::Detail) -> Result<Self, UnknownNumber> {
        let unknown = UnknownNumber {
            what: "detail",
            number: 0,
        };
        Ok(match message.detail.as_ref().ok_or(unknown)? {
            Wire::Udp(udp) => Self::Udp(udp_from_wire(udp)?),
            Wire::Mtu(mtu) => Self::Mtu(mtu_from_wire(mtu)?),
            Wire::Quic(quic) => Self::Quic(quic_from_wire(quic)?),
            Wire::Icmp(icmp) => Self::Icmp(IcmpDetail {
                ttl: icmp.ttl.map(|ttl| small("hop limit", ttl)).transpose()?,
            }),
            Wire::Dns(dns) => Self::Dns(DnsDetail {
                rcode: dns
                    .rcode
                    .map(|rcode| small("response code", rcode))
                    .transpose()?,
                truncated: dns.truncated,
                answers: small("answer count", dns.answers)?,
                wrong_answers: dns.wrong_answers,
            }),
            Wire::Search(search) => Self::Search(SearchDetail {
                queries: search.queries,
                answered_name: bounded_text(&search.answered_name),
                server: search.server.parse().ok(),
                failure: bounded_text(&search.failure),
            }),
            Wire::Service(service) => Self::Service(service_from_wire(service)),
            Wire::External(external) => Self::External(external_from_wire(external)?),
        })
    }
}

/// A number that has to fit a smaller type.
fn small<T: TryFrom<u32>>(what: &'static str, number: u32) -> Result<T, UnknownNumber> {
    T::try_from(number).map_err(|_| UnknownNumber {
        what,
        number: i32::try_from(number).unwrap_or(i32::MAX),
    })
}

fn text_of(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn udp_to_wire(udp: &UdpDetail) -> v1::UdpDetail {
    v1::UdpDetail {
        reordered: udp.reordered,
        duplicated: udp.duplicated,
        ttl: udp.ttl.map(Into::into),
        ttl_changed: udp.ttl_changed,
        dscp_changed_to: udp.dscp_changed_to.map(Into::into),
        delay_variation_micros: micros(udp.delay_variation),
        flows: udp.flows.as_ref().map(|flows| v1::FlowLoss {
            tested: flows.tested,
            failing: flows.failing,
            failing_ports: flows.failing_ports.iter().map(|p| u32::from(*p)).collect(),
            living_sent: flows.living_sent,
            living_lost: flows.living_lost,
        }),
        answered_by: udp.answered_by.clone(),
    }
}

fn udp_from_wire(udp: &v1::UdpDetail) -> Result<UdpDetail, UnknownNumber> {
    let flows = |flows: &v1::FlowLoss| -> Result<FlowLoss, UnknownNumber> {
        let ports = flows.failing_ports.iter().take(MAX_ENTRIES);
        Ok(FlowLoss {
            tested: flows.tested,
            failing: flows.failing,
            failing_ports: ports
                .map(|port| small("port", *port))
                .collect::<Result<_, _>>()?,
            living_sent: flows.living_sent,
            living_lost: flows.living_lost.min(flows.living_sent),
        })
    };
    Ok(UdpDetail {
        reordered: udp.reordered,
        duplicated: udp.duplicated,
        ttl: udp.ttl.map(|ttl| small("hop limit", ttl)).transpose()?,
        ttl_changed: udp.ttl_changed,
        dscp_changed_to: udp
            .dscp_changed_to
            .map(|dscp| small("DSCP", dscp))
            .transpose()?,
        delay_variation: Duration::from_micros(udp.delay_variation_micros),
        flows: udp.flows.as_ref().map(flows).transpose()?,
        answered_by: bounded_text(&udp.answered_by),
    })
}

fn limit_to_wire(limit: MtuLimit) -> i32 {
    match limit {
        MtuLimit::Unknown => v1::MtuLimit::Unspecified,
        MtuLimit::Interface => v1::MtuLimit::Interface,
        MtuLimit::BlackHole => v1::MtuLimit::BlackHole,
        MtuLimit::Signalled => v1::MtuLimit::Signalled,
        MtuLimit::Local => v1::MtuLimit::Local,
    }
    .into()
}

fn limit_from_wire(number: i32) -> Result<MtuLimit, UnknownNumber> {
    let known = u8::try_from(number).ok().and_then(MtuLimit::from_number);
    known.ok_or(UnknownNumber {
        what: "MTU limit",
        number,
    })
}

fn mtu_to_wire(mtu: &MtuDetail) -> v1::MtuDetail {
    v1::MtuDetail {
        forward: mtu.forward.into(),
        forward_limit: limit_to_wire(mtu.forward_limit),
        reverse: mtu.reverse.into(),
        reverse_limit: limit_to_wire(mtu.reverse_limit),
        signalled_mtu: mtu.signalled_mtu.into(),
        signalled_by: text_of(mtu.signalled_by),
        interface_mtu: mtu.interface_mtu.into(),
        route_mtu: mtu.route_mtu.into(),
    }
}

fn mtu_from_wire(mtu: &v1::MtuDetail) -> Result<MtuDetail, UnknownNumber> {
    Ok(MtuDetail {
        forward: small("packet size", mtu.forward)?,
        forward_limit: limit_from_wire(mtu.forward_limit)?,
        reverse: small("packet size", mtu.reverse)?,
        reverse_limit: limit_from_wire(mtu.reverse_limit)?,
        signalled_mtu: small("MTU", mtu.signalled_mtu)?,
        signalled_by: mtu.signalled_by.parse().ok(),
        interface_mtu: small("MTU", mtu.interface_mtu)?,
        route_mtu: small("MTU", mtu.route_mtu)?,
    })
}

fn quic_to_wire(quic: &QuicDetail) -> v1::QuicDetail {
    v1::QuicDetail {
        handshake_micros: quic.handshake.map(micros),
        long_flow_age_millis: quic.long_flow_age.map(|age| micros(age) / 1_000),
        long_flow_breaks: quic.long_flow_breaks,
        black_holes_detected: quic.black_holes_detected,
        mtu: quic.mtu.into(),
        failure: quic.failure.clone(),
    }
}

fn quic_from_wire(quic: &v1::QuicDetail) -> Result<QuicDetail, UnknownNumber> {
    Ok(QuicDetail {
        handshake: quic.handshake_micros.map(Duration::from_micros),
        long_flow_age: quic.long_flow_age_millis.map(Duration::from_millis),
        long_flow_breaks: quic.long_flow_breaks,
        black_holes_detected: quic.black_holes_detected,
        mtu: small("MTU", quic.mtu)?,
        failure: bounded_text(&quic.failure),
    })
}

fn service_to_wire(service: &ServiceDetail) -> v1::ServiceDetail {
    let backend = |count: &BackendCount| v1::BackendCount {
        backend: count.backend.clone(),
        connections: count.connections,
    };
    v1::ServiceDetail {
        tried: service.tried,
        failed: service.failed,
        backends: service.backends.iter().map(backend).collect(),
    }
}

fn service_from_wire(service: &v1::ServiceDetail) -> ServiceDetail {
    let backend = |count: &v1::BackendCount| BackendCount {
        backend: bounded_text(&count.backend),
        connections: count.connections,
    };
    let backends = service.backends.iter().take(MAX_ENTRIES);
    ServiceDetail {
        tried: service.tried,
        failed: service.failed,
        backends: backends.map(backend).collect(),
    }
}

fn external_to_wire(external: &ExternalDetail) -> v1::ExternalDetail {
    let phases = external.phases;
    v1::ExternalDetail {
        address: text_of(external.address),
        proxy: external.proxy.clone(),
        dns_micros: phases.dns.map(micros),
        connect_micros: phases.connect.map(micros),
        tls_micros: phases.tls.map(micros),
        first_byte_micros: phases.first_byte.map(micros),
        total_micros: phases.total.map(micros),
        status: external.status.map(Into::into),
        redirects: external.redirects.into(),
        body_matched: external.body_matched,
        tls_version: external.tls_version.clone(),
        certificate_not_after: external.certificate_not_after,
        certificate_subject: external.certificate_subject.clone(),
        certificate_issuer: external.certificate_issuer.clone(),
        failure: external.failure.clone(),
    }
}

fn external_from_wire(external: &v1::ExternalDetail) -> Result<ExternalDetail, UnknownNumber> {
    let time = |micros: Option<u64>| micros.map(Duration::from_micros);
    Ok(ExternalDetail {
        address: external.address.parse().ok(),
        proxy: bounded_text(&external.proxy),
        phases: Phases {
            dns: time(external.dns_micros),
            connect: time(external.connect_micros),
            tls: time(external.tls_micros),
            first_byte: time(external.first_byte_micros),
            total: time(external.total_micros),
        },
        status: external
            .status
            .map(|status| small("status", status))
            .transpose()?,
        redirects: small("redirect count", external.redirects)?,
        body_matched: external.body_matched,
        tls_version: bounded_text(&external.tls_version),
        certificate_not_after: external.certificate_not_after,
        certificate_subject: bounded_text(&external.certificate_subject),
        certificate_issuer: bounded_text(&external.certificate_issuer),
        failure: bounded_text(&external.failure),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Detail> {
        let ms = Duration::from_millis;
        vec![
            Detail::Udp(UdpDetail {
                reordered: 1,
                duplicated: 2,
                ttl: Some(63),
                ttl_changed: true,
                dscp_changed_to: Some(0),
                delay_variation: ms(3),
                flows: Some(FlowLoss {
                    tested: 16,
                    failing: 1,
                    failing_ports: vec![40_001],
                    living_sent: 100,
                    living_lost: 2,
                }),
                answered_by: "mesh-2".to_owned(),
            }),
            Detail::Mtu(MtuDetail {
                forward: 1_400,
                forward_limit: MtuLimit::Signalled,
                reverse: 1_400,
                reverse_limit: MtuLimit::Unknown,
                signalled_mtu: 1_400,
                signalled_by: "10.244.1.1".parse().ok(),
                interface_mtu: 1_450,
                route_mtu: 1_450,
            }),
            Detail::Quic(QuicDetail {
                handshake: Some(ms(2)),
                long_flow_age: Some(ms(90_000)),
                long_flow_breaks: 1,
                black_holes_detected: 1,
                mtu: 1_422,
                failure: "idle timeout".into(),
            }),
            Detail::Icmp(IcmpDetail { ttl: Some(62) }),
            Detail::Dns(DnsDetail {
                rcode: Some(2),
                truncated: true,
                answers: 3,
                wrong_answers: 4,
            }),
            Detail::Search(SearchDetail {
                queries: 4,
                answered_name: "www.example.com.".into(),
                server: "10.96.0.10:53".parse().ok(),
                failure: String::new(),
            }),
            Detail::Service(ServiceDetail {
                tried: 60,
                failed: 20,
                backends: vec![BackendCount {
                    backend: "mesh-1".into(),
                    connections: 40,
                }],
            }),
            Detail::External(ExternalDetail {
                address: "203.0.113.10:443".parse().ok(),
                phases: Phases {
                    connect: Some(ms(1)),
                    ..Phases::default()
                },
                status: Some(502),
                body_matched: Some(false),
                certificate_not_after: Some(-1),
                failure: "status 502".into(),
                ..ExternalDetail::default()
            }),
        ]
    }

    #[test]
    fn details_survive_the_wire() {
        for detail in samples() {
            let wire = v1::Detail::from(&detail);
            assert_eq!(Detail::try_from(&wire), Ok(detail));
        }
    }

    #[test]
    fn every_limit_has_its_number() {
        for limit in MtuLimit::ALL {
            assert_eq!(limit_from_wire(limit_to_wire(limit)), Ok(limit));
        }
        assert!(limit_from_wire(5).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused_and_what_is_too_long_is_cut() {
        let mtu = v1::MtuDetail {
            forward: 65_536,
            ..v1::MtuDetail::default()
        };
        let error = mtu_from_wire(&mtu).unwrap_err();
        assert_eq!(error.to_string(), "unknown packet size number 65536");
        let search = v1::SearchDetail {
            failure: "x".repeat(1_000),
            ..v1::SearchDetail::default()
        };
        let message = v1::Detail {
            detail: Some(Wire::Search(search)),
        };
        let Ok(Detail::Search(search)) = Detail::try_from(&message) else {
            panic!("not a search detail");
        };
        assert_eq!(search.failure.len(), 256);
        assert!(Detail::try_from(&v1::Detail::default()).is_err());
    }
}
