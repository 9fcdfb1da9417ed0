//! Targets that are no peers: DNS servers, names, services, and what lies outside the mesh.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use meshprobe_core::detail::{Detail, ExternalDetail, SearchDetail, ServiceDetail};
use meshprobe_proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::fake_aggregator::FakeAggregator;
use crate::mesh::{MeshFile, PORT, Prober, address, eventually};

/// A name that the DNS server below knows.
const KNOWN: &str = "www.example.com.";

/// All details that were reported.
fn details(aggregator: &FakeAggregator) -> Vec<Detail> {
    let reports = aggregator.reports();
    let admitted = |report| {
        let admitted = meshprobe_proto::report::admit(report).unwrap();
        admitted
            .details()
            .map(|(_, _, detail)| detail)
            .collect::<Vec<_>>()
    };
    reports
        .iter()
        .flat_map(|(_, report)| admitted(report))
        .collect()
}

fn services(aggregator: &FakeAggregator) -> Vec<ServiceDetail> {
    let pick = |detail| match detail {
        Detail::Service(service) => Some(service),
        _ => None,
    };
    details(aggregator).into_iter().filter_map(pick).collect()
}

fn searches(aggregator: &FakeAggregator) -> Vec<SearchDetail> {
    let pick = |detail| match detail {
        Detail::Search(search) => Some(search),
        _ => None,
    };
    details(aggregator).into_iter().filter_map(pick).collect()
}

fn externals(aggregator: &FakeAggregator) -> Vec<ExternalDetail> {
    let pick = |detail| match detail {
        Detail::External(external) => Some(external),
        _ => None,
    };
    details(aggregator).into_iter().filter_map(pick).collect()
}

fn often(kinds: &[(v1::ProbeKind, v1::Plane)]) -> Vec<v1::KindSchedule> {
    let schedule = |(kind, plane): &(v1::ProbeKind, v1::Plane)| v1::KindSchedule {
        kind: (*kind).into(),
        plane: (*plane).into(),
        interval_millis: 200,
        timeout_millis: 2_000,
    };
    kinds.iter().map(schedule).collect()
}

/// An assignment without peers.
fn assignment() -> v1::Assignment {
    v1::Assignment {
        generation: 1,
        ssid: 1,
        schedules: often(&[
            (v1::ProbeKind::Service, v1::Plane::Service),
            (v1::ProbeKind::DnsSearch, v1::Plane::Pod),
            (v1::ProbeKind::TcpConnect, v1::Plane::Pod),
            (v1::ProbeKind::Http, v1::Plane::Pod),
            (v1::ProbeKind::DnsUdp, v1::Plane::Service),
            (v1::ProbeKind::DnsTcp, v1::Plane::Service),
        ]),
        report_interval_millis: 500,
        ..v1::Assignment::default()
    }
}

/// A server that treats each connection with `handle`; ends with the returned set.
async fn serve<F>(
    ip: Ipv4Addr,
    handle: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> (SocketAddr, JoinSet<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(handle(stream));
        }
    });
    (address, tasks)
}

/// A DNS server that knows one name. First it sends a wrong answer from another port.
async fn name_server(ip: Ipv4Addr) -> JoinSet<()> {
    let socket = UdpSocket::bind((ip, 53)).await.unwrap();
    let elsewhere = UdpSocket::bind((ip, 0)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut octets = [0; 512];
        loop {
            let (length, asker) = socket.recv_from(&mut octets).await.unwrap();
            let query = Message::from_vec(&octets[..length]).unwrap();
            let mut answer = Message::response(query.metadata.id, OpCode::Query);
            answer.add_queries(query.queries.clone());
            let known = Name::from_ascii(KNOWN).unwrap();
            if *query.queries[0].name() != known {
                answer.metadata.response_code = ResponseCode::NXDomain;
            } else if query.queries[0].query_type() == RecordType::A {
                let data = RData::from("192.0.2.7".parse::<std::net::IpAddr>().unwrap());
                answer.answers.push(Record::from_rdata(known, 5, data));
            }
            let octets = answer.to_vec().unwrap();
            elsewhere.send_to(&octets, asker).await.unwrap();
            socket.send_to(&octets, asker).await.unwrap();
        }
    });
    tasks
}

/// A file for one test.
fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("meshprobe-{name}-{}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_service_is_told_with_the_backends_that_answered() {
    let b = address();
    let mesh = MeshFile::new(&[("b", b)], "");
    let backend = Prober::start("b", b, &mesh.line());
    // Somebody else's echo server.
    let (foreign, _tasks) = serve(address(), |mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        tokio::io::copy(&mut reader, &mut writer).await.ok();
    })
    .await;
    let aggregator = FakeAggregator::default();
    let service = |name: &str, address: SocketAddr| v1::ServiceTarget {
        name: name.into(),
        address: address.to_string(),
    };
    let assignment = v1::Assignment {
        services: vec![
            service("echo", SocketAddr::from((b, PORT))),
            service("foreign", foreign),
            service("dead", SocketAddr::from((address(), PORT))),
        ],
        ..assignment()
    };
    let lines = aggregator.serve(address(), assignment).await;
    let a = Prober::start("a", address(), &lines);
    let answered_by = |name: &str| {
        services(&aggregator).iter().any(|service| {
            let backends = &service.backends;
            service.failed == 0 && backends.len() == 1 && backends[0].backend == name
        })
    };
    eventually("the backend names itself", || answered_by("b")).await;
    eventually("a foreign one is unknown", || answered_by("unknown")).await;
    eventually("a dead one fails", || {
        let services = services(&aggregator);
        services.iter().any(|s| s.tried > 4 && s.failed == s.tried)
    })
    .await;
    let refused = ["kind=\"service\"", "outcome=\"refused\""];
    a.until_metric("meshprobe_prober_probes_total{", &refused, 5)
        .await;
    a.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn a_name_is_asked_by_resolv_conf_and_a_change_of_it_is_followed() {
    let server = address();
    let _server = name_server(server).await;
    let conf = file("resolv.conf", &format!("nameserver {}\n", address()));
    let aggregator = FakeAggregator::default();
    let assignment = v1::Assignment {
        search: vec![v1::SearchTarget { name: "www".into() }],
        dns: vec![v1::DnsTarget {
            server: "only".into(),
            address: format!("{server}:53"),
            name: KNOWN.into(),
            expected_rcode: 0,
            plane: v1::Plane::Service.into(),
        }],
        ..assignment()
    };
    let lines = aggregator.serve(address(), assignment).await;
    let lines = format!("{lines}dns: {{resolv_conf: '{}'}}\n", conf.display());
    let a = Prober::start("a", address(), &lines);
    eventually("nobody listens at the first server", || {
        let searches = searches(&aggregator);
        searches.iter().any(|s| s.failure.contains("refused"))
    })
    .await;
    let text = format!("nameserver {server}\nsearch absent.test example.com\noptions ndots:2\n");
    std::fs::write(&conf, text).unwrap();
    eventually("the second one answers after the search list", || {
        searches(&aggregator).contains(&SearchDetail {
            queries: 4,
            answered_name: KNOWN.into(),
            server: Some(SocketAddr::from((server, 53))),
            failure: String::new(),
        })
    })
    .await;
    eventually("what the server itself answered", || {
        details(&aggregator).iter().any(|detail| match detail {
            Detail::Dns(dns) => dns.rcode == Some(0) && dns.answers == 1 && dns.wrong_answers >= 2,
            _ => false,
        })
    })
    .await;
    a.stop().await;
    std::fs::remove_file(conf).unwrap();
}

#[tokio::test]
async fn a_closed_dns_port_is_refused_at_once_over_udp_too() {
    let server = address();
    let dns = format!("dns:\n  - {{server: dead, address: '{server}:53', name: {KNOWN}}}\n");
    let a = address();
    let mesh = MeshFile::new(&[("a", a)], &dns);
    let a = Prober::start("a", a, &mesh.line());
    for kind in ["kind=\"dns-udp\"", "kind=\"dns-tcp\""] {
        a.until_metric(
            "meshprobe_prober_probes_total{",
            &[kind, "outcome=\"refused\""],
            3,
        )
        .await;
        assert_eq!(a.probes(&[kind, "outcome=\"timeout\""]).await, 0);
    }
    a.stop().await;
}

#[tokio::test]
async fn what_lies_outside_the_mesh_is_probed_inside_the_fence_only() {
    let (web, _web) = serve(address(), |mut stream| async move {
        let mut request = [0; 1024];
        if stream
            .read(&mut request)
            .await
            .is_ok_and(|length| length > 0)
        {
            let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(response.as_bytes()).await.ok();
        }
    })
    .await;
    let visits = Arc::new(AtomicU32::new(0));
    let visited = Arc::clone(&visits);
    let (forbidden, _forbidden) = serve(address(), move |_| {
        visited.fetch_add(1, Ordering::Relaxed);
        async {}
    })
    .await;
    let aggregator = FakeAggregator::default();
    let target = |name: &str, kind: v1::ProbeKind, what: String| v1::ExternalTarget {
        name: name.into(),
        kind: kind.into(),
        address: what.clone(),
        url: what,
        expected_body: "ok".into(),
        ..v1::ExternalTarget::default()
    };
    let assignment = v1::Assignment {
        external: vec![
            target("web", v1::ProbeKind::Http, format!("http://{web}/health")),
            target("db", v1::ProbeKind::TcpConnect, forbidden.to_string()),
        ],
        ..assignment()
    };
    let lines = aggregator.serve(address(), assignment).await;
    let (ip, port) = (web.ip(), web.port());
    let lines = format!("{lines}external: {{allow: [{{cidr: {ip}/32, ports: [{port}]}}]}}\n");
    let a = Prober::start("a", address(), &lines);
    eventually("the web server answers", || {
        externals(&aggregator).iter().any(|external| {
            external.status == Some(200)
                && external.body_matched == Some(true)
                && external.phases.first_byte.is_some()
                && external.failure.is_empty()
        })
    })
    .await;
    eventually("the other one is outside", || {
        let externals = externals(&aggregator);
        externals
            .iter()
            .any(|e| e.failure.contains("outside the fence"))
    })
    .await;
    a.until_metric("meshprobe_prober_external_outside_total", &[], 3)
        .await;
    let invalid = ["kind=\"tcp-connect\"", "outcome=\"invalid\""];
    a.until_metric("meshprobe_prober_probes_total{", &invalid, 3)
        .await;
    assert_eq!(visits.load(Ordering::Relaxed), 0, "no packet was sent");
    a.stop().await;
}
