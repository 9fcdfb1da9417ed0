//! The three kinds of DNS servers that a node has, played by a real one: an instance, a virtual IP, the node-local cache.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use meshprobe_proto::v1;

use crate::fake_aggregator::FakeAggregator;
use crate::mesh::{Prober, address, eventually};

const CLUSTER: &str = "kubernetes.default.svc.cluster.local.";
const ABSENT: &str = "absent.default.svc.cluster.local.";

/// Unbound, until the end of the test.
struct Unbound {
    process: Child,
    config: PathBuf,
}

impl Unbound {
    fn start(addresses: &[Ipv4Addr]) -> Self {
        let mut interfaces = String::new();
        for ip in addresses {
            writeln!(interfaces, "  interface: {ip}").unwrap();
        }
        let text = format!(
            "server:\n{interfaces}  port: 53\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  directory: \"\"\n  \
             pidfile: \"\"\n  use-syslog: no\n  num-threads: 1\n  module-config: \"iterator\"\n  \
             access-control: 0.0.0.0/0 allow\n  local-zone: \"cluster.local.\" static\n  \
             local-data: \"{CLUSTER} 5 IN A 10.96.0.1\"\nremote-control:\n  control-enable: no\n"
        );
        let name = format!("meshprobe-unbound-{}.conf", std::process::id());
        let config = std::env::temp_dir().join(name);
        std::fs::write(&config, text).unwrap();
        // An ordinary user's search path lacks the folder where Debian has it.
        let process = Command::new("/usr/sbin/unbound")
            .args(["-d", "-c"])
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .expect("unbound is needed: cargo xtask test installs it");
        Self { process, config }
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_file(&self.config).ok();
    }
}

const KINDS: [v1::ProbeKind; 2] = [v1::ProbeKind::DnsUdp, v1::ProbeKind::DnsTcp];
const PLANES: [v1::Plane; 3] = [v1::Plane::Pod, v1::Plane::Service, v1::Plane::Host];

fn assignment(servers: &[(v1::Plane, Ipv4Addr)]) -> v1::Assignment {
    let name = |plane: v1::Plane, ip: &Ipv4Addr, name: &str, rcode| v1::DnsTarget {
        server: plane.as_str_name().to_lowercase(),
        address: format!("{ip}:53"),
        name: name.to_owned(),
        expected_rcode: rcode,
        plane: plane.into(),
    };
    let schedules = KINDS.iter().flat_map(|kind| {
        PLANES.iter().map(|plane| v1::KindSchedule {
            kind: (*kind).into(),
            plane: (*plane).into(),
            interval_millis: 200,
            timeout_millis: 2_000,
        })
    });
    v1::Assignment {
        generation: 1,
        ssid: 1,
        schedules: schedules.collect(),
        report_interval_millis: 500,
        dns: servers
            .iter()
            .flat_map(|(plane, ip)| [name(*plane, ip, CLUSTER, 0), name(*plane, ip, ABSENT, 3)])
            .collect(),
        ..v1::Assignment::default()
    }
}

/// Probes that were sent and answered as configured, of this kind in this plane, over all reports.
fn count(aggregator: &FakeAggregator, kind: v1::ProbeKind, plane: v1::Plane) -> (u32, u32) {
    let reports = aggregator.reports();
    let blocks = reports.iter().flat_map(|(_, report)| &report.blocks);
    let blocks = blocks.filter(|block| block.kind() == kind && block.plane() == plane);
    blocks.fold((0, 0), |(sent, replied), block| {
        (
            sent + block.sent.iter().sum::<u32>(),
            replied + block.replied.iter().sum::<u32>(),
        )
    })
}

#[tokio::test]
async fn instance_virtual_ip_and_node_local_cache_are_paths_of_their_own() {
    let [instance, virtual_ip, local, nobody] = [(); 4].map(|()| address());
    let unbound = Unbound::start(&[instance, virtual_ip, local]);
    let servers = [
        (v1::Plane::Pod, instance),
        (v1::Plane::Service, virtual_ip),
        (v1::Plane::Host, local),
    ];
    let aggregator = FakeAggregator::default();
    let a = address();
    let home = aggregator.serve(a, assignment(&servers)).await;
    let prober = Prober::start("a", a, &home);
    for plane in PLANES {
        for kind in KINDS {
            let what = format!("{} by {}", kind.as_str_name(), plane.as_str_name());
            eventually(&what, || count(&aggregator, kind, plane).1 >= 6).await;
        }
    }
    prober.stop().await;
    drop(unbound);
    // The cache died and left the others alone: what fails is the node's own plane.
    let _unbound = Unbound::start(&[instance, virtual_ip]);
    let servers = [
        (v1::Plane::Pod, instance),
        (v1::Plane::Service, virtual_ip),
        (v1::Plane::Host, nobody),
    ];
    let aggregator = FakeAggregator::default();
    let a = address();
    let home = aggregator.serve(a, assignment(&servers)).await;
    let prober = Prober::start("a", a, &home);
    for kind in KINDS {
        for plane in [v1::Plane::Pod, v1::Plane::Service] {
            let what = format!("{} by {}", kind.as_str_name(), plane.as_str_name());
            eventually(&what, || count(&aggregator, kind, plane).1 >= 6).await;
        }
        let what = format!("{} of the cache", kind.as_str_name());
        eventually(&what, || count(&aggregator, kind, v1::Plane::Host).0 >= 6).await;
    }
    prober.stop().await;
    let answered = KINDS.map(|kind| count(&aggregator, kind, v1::Plane::Host).1);
    assert_eq!(answered, [0, 0], "nobody listens there");
}
