//! An assignment as the aggregator sends it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use meshprobe_core::stamp::{Key, Keys};
use meshprobe_proto::{convert, v1};

use super::{
    AggregatorAddress, AssignmentError, DnsTarget, Peer, PeerAddress, SearchTarget, ServiceTarget,
    TargetSet, Timing, node, port, ssid,
};
use crate::spool::Way;

impl TryFrom<v1::Assignment> for TargetSet {
    type Error = AssignmentError;

    fn try_from(message: v1::Assignment) -> Result<Self, AssignmentError> {
        let v1::Assignment {
            generation,
            ssid: own_ssid,
            peers,
            dns,
            schedules,
            report_interval_millis,
            stamp_keys,
            aggregators,
            search,
            services,
            external,
        } = message;
        let mut timings = BTreeMap::new();
        for schedule in schedules {
            let kind = convert::probe_kind(schedule.kind)?;
            let plane = convert::plane(schedule.plane)?;
            let timing = Timing {
                interval: Duration::from_millis(schedule.interval_millis.into()),
                timeout: Duration::from_millis(schedule.timeout_millis.into()),
            };
            let is_off = schedule.interval_millis == 0;
            timings.insert((kind, plane), (!is_off).then_some(timing));
        }
        Self {
            generation,
            ssid: ssid("this prober", own_ssid)?,
            peers: peers.into_iter().map(peer).collect::<Result<_, _>>()?,
            dns: dns.into_iter().map(dns_target).collect::<Result<_, _>>()?,
            search: search
                .into_iter()
                .map(|target| SearchTarget { name: target.name })
                .collect(),
            services: services
                .into_iter()
                .map(service)
                .collect::<Result<_, _>>()?,
            external: external
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            timings,
            report_interval: Duration::from_millis(report_interval_millis.into()),
            stamp_keys: keys(&stamp_keys)?,
            aggregators: aggregators
                .into_iter()
                .filter_map(|entry| {
                    // A way that this version does not know is one that it cannot use.
                    let way = match entry.way() {
                        v1::WayHome::Overlay => Way::Overlay,
                        v1::WayHome::Underlay => Way::Underlay,
                        v1::WayHome::Unspecified => return None,
                    };
                    Some(AggregatorAddress {
                        way,
                        address: entry.address,
                    })
                })
                .collect(),
        }
        .check()
    }
}

fn peer(message: v1::PeerTarget) -> Result<Peer, AssignmentError> {
    let name = node(&message.node)?;
    let address = |entry: v1::Address| -> Result<PeerAddress, AssignmentError> {
        Ok(PeerAddress {
            plane: convert::plane(entry.plane)?,
            ip: entry.ip.parse().map_err(|_| AssignmentError::Address {
                who: message.node.clone(),
                text: entry.ip.clone(),
                expected: "an IP address",
            })?,
            udp_port: port(&message.node, entry.udp_port)?,
            tcp_port: port(&message.node, entry.tcp_port)?,
            quic_port: port(&message.node, entry.quic_port)?,
        })
    };
    Ok(Peer {
        ssid: ssid(&message.node, message.ssid)?,
        addresses: message
            .addresses
            .into_iter()
            .map(address)
            .collect::<Result<_, _>>()?,
        phase: message.phase as u16,
        answer_only: message.answer_only,
        quic: message.quic,
        node: name,
    })
}

fn service(message: v1::ServiceTarget) -> Result<ServiceTarget, AssignmentError> {
    Ok(ServiceTarget {
        address: message
            .address
            .parse()
            .map_err(|_| AssignmentError::Address {
                who: message.name.clone(),
                text: message.address.clone(),
                expected: "an IP address and a port",
            })?,
        name: message.name,
    })
}

fn dns_target(message: v1::DnsTarget) -> Result<DnsTarget, AssignmentError> {
    let address: SocketAddr = message
        .address
        .parse()
        .map_err(|_| AssignmentError::Address {
            who: message.server.clone(),
            text: message.address.clone(),
            expected: "an IP address and a port",
        })?;
    Ok(DnsTarget {
        address,
        expected_rcode: u8::try_from(message.expected_rcode).map_err(|_| {
            AssignmentError::Rcode {
                server: message.server.clone(),
                rcode: message.expected_rcode,
            }
        })?,
        plane: convert::plane(message.plane)?,
        server: message.server,
        name: message.name,
    })
}

/// The key to send with first, the one that is still accepted second.
pub(super) fn keys<T: AsRef<[u8]>>(secrets: &[T]) -> Result<Option<Keys>, AssignmentError> {
    let key = |(index, secret): (usize, &T)| {
        Key::new(secret.as_ref()).map_err(|source| AssignmentError::Key { index, source })
    };
    let mut keys = secrets.iter().enumerate().map(key);
    let Some(current) = keys.next().transpose()? else {
        return Ok(None);
    };
    let previous = keys.next().transpose()?;
    Ok(Some(Keys { current, previous }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment() -> v1::Assignment {
        v1::Assignment {
            generation: 3,
            ssid: 1,
            peers: vec![v1::PeerTarget {
                node: "b".into(),
                ssid: 2,
                addresses: vec![v1::Address {
                    plane: v1::Plane::Pod.into(),
                    ip: "10.0.0.2".into(),
                    udp_port: 4862,
                    tcp_port: 0,
                    quic_port: 0,
                }],
                phase: 65_535,
                answer_only: false,
                quic: false,
            }],
            report_interval_millis: 10_000,
            ..v1::Assignment::default()
        }
    }

    #[test]
    fn a_good_assignment_is_taken_as_it_is() {
        let set = TargetSet::try_from(assignment()).unwrap();
        assert_eq!(set.generation, 3);
        assert_eq!(set.peers[0].addresses[0].tcp_port, None);
        assert_eq!(set.peers[0].phase, 65_535);
        assert!(set.stamp_keys.is_none());
    }

    #[test]
    fn each_thing_that_is_wrong_is_named() {
        type Change = fn(&mut v1::Assignment);
        let cases: [(&str, Change); 9] = [
            ("session identifier 0", |a| a.ssid = 0),
            ("b: session identifier 65536", |a| a.peers[0].ssid = 65_536),
            ("belongs to another node", |a| a.peers[0].ssid = 1),
            ("listed twice", |a| {
                let mut twin = a.peers[0].clone();
                twin.ssid = 9;
                a.peers.push(twin);
            }),
            ("\"B b\"", |a| a.peers[0].node = "B b".into()),
            ("\"10.0.0\" is not an IP address", |a| {
                a.peers[0].addresses[0].ip = "10.0.0".into();
            }),
            ("port 70000", |a| a.peers[0].addresses[0].udp_port = 70_000),
            ("report interval 0ns", |a| a.report_interval_millis = 0),
            ("STAMP key 0", |a| {
                a.stamp_keys = vec![b"short".to_vec()];
            }),
        ];
        for (expected, change) in cases {
            let mut message = assignment();
            change(&mut message);
            let error = TargetSet::try_from(message).unwrap_err().to_string();
            assert!(
                error.contains(expected),
                "{error:?} should contain {expected:?}"
            );
        }
    }
}
