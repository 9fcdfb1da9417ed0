//! Each failure in virtual time, from its beginning to half a minute after its end: the expected finding comes in time, no
//! other one ever stands for as long as an incident needs, and it goes away.

mod columns;
mod faults;
mod mesh;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use self::columns::CLUSTER_NAME;
use self::faults::Faults;
use self::world::World;
use crate::diagnosis::{DiagnosisConfig, diagnose};

/// Seconds for which a finding has to stand to be told.
const HOLD: u32 = 4;
/// Seconds from the failure to the finding, without the hold.
const SOON: u32 = 12;
const SIZES: [usize; 3] = [3, 6, 12];

fn found(world: &World) -> BTreeSet<String> {
    let diagnosis = diagnose(&world.picture(), &DiagnosisConfig::default());
    let findings = diagnosis.findings.iter();
    findings
        .map(|f| format!("{} {}", f.pattern, f.scope))
        .collect()
}

struct Run {
    label: String,
    world: World,
    standing: BTreeMap<String, u32>,
    told: BTreeMap<String, u32>,
    second: u32,
}

impl Run {
    fn new(label: &str, world: World) -> Self {
        Self {
            label: label.to_owned(),
            world,
            standing: BTreeMap::new(),
            told: BTreeMap::new(),
            second: 0,
        }
    }

    fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.world.run(1.0);
            self.second += 1;
            let found = found(&self.world);
            self.standing.retain(|finding, _| found.contains(finding));
            for finding in found {
                let stands = self.standing.entry(finding.clone()).or_default();
                *stands += 1;
                if *stands > HOLD {
                    self.told.entry(finding).or_insert(self.second);
                }
            }
        }
    }

    /// Exactly these were told, each in time.
    fn told_only(&self, expected: &[&str], within: u32) {
        let told: BTreeSet<&str> = self.told.keys().map(String::as_str).collect();
        let wanted: BTreeSet<&str> = expected.iter().copied().collect();
        assert_eq!(told, wanted, "{}: {:?}", self.label, self.told);
        for (finding, second) in &self.told {
            assert!(
                *second <= within + HOLD,
                "{}: {finding} after {second} s",
                self.label
            );
        }
    }

    fn is_silent(&self) {
        let found = found(&self.world);
        assert!(found.is_empty(), "{}: still {found:?}", self.label);
    }
}

/// Breaks, waits, heals, waits.
fn story(
    name: &str,
    targets: bool,
    within: u32,
    expected: &[&str],
    break_it: impl Fn(&mut Faults),
) {
    for nodes in SIZES {
        for seed in 1..3 {
            let world = World::new(nodes, targets, seed).with_noise(0.001);
            let mut run = Run::new(&format!("{name}, {nodes} nodes, seed {seed}"), world);
            break_it(&mut run.world.faults);
            run.pass(50);
            run.told_only(expected, within);
            run.world.faults = Faults::default();
            run.pass(40);
            run.told_only(expected, within);
            run.is_silent();
        }
    }
}

#[test]
fn healthy_traffic_with_one_loss_in_a_thousand_says_nothing_for_hours() {
    let mut run = Run::new("healthy", World::new(6, true, 7).with_noise(0.001));
    run.pass(3_600);
    run.told_only(&[], 0);
}

#[test]
fn a_freeze_of_a_second_is_nothing() {
    for seed in 1..6 {
        let mut run = Run::new("freeze", World::new(12, true, seed));
        run.pass(5);
        run.world.faults.freeze = true;
        run.world.run(0.8);
        run.world.faults.freeze = false;
        run.pass(40);
        run.told_only(&[], 0);
    }
}

#[test]
fn a_killed_dns_server_is_one_finding() {
    for targets in [false, true] {
        story("dead dns", targets, SOON, &["dns-server dns-1"], |f| {
            f.dead_dns.insert(0);
        });
        story("silent dns", targets, SOON, &["dns-server dns-1"], |f| {
            f.silent_dns.insert(0);
        });
    }
}

#[test]
fn a_node_that_may_not_use_port_53_is_one_finding() {
    for targets in [false, true] {
        story("blocked", targets, SOON, &["dns-blocked mesh-2"], |f| {
            f.blocked.insert(1);
        });
    }
}

/// What one node could not ask for a while is in no other node's counts, and in those of the virtual IP for the longest.
#[test]
fn a_block_that_is_over_leaves_no_share_of_the_virtual_ip_behind() {
    for nodes in SIZES {
        for (seconds, seed) in (15..35).step_by(2).flat_map(|s| [(s, 1), (s, 2)]) {
            let mut world = World::new(nodes, false, seed);
            world.run(15.0);
            world.faults.blocked.insert(1);
            world.run(f64::from(seconds));
            world.faults = Faults::default();
            for second in 0..40 {
                world.run(1.0);
                let found = found(&world);
                assert!(
                    !found.contains("service-vip mesh-2 vip"),
                    "{nodes} nodes, blocked for {seconds} s, seed {seed}, {second} s later: {found:?}"
                );
            }
        }
    }
}

/// Until every node has asked it again and said so, a server that is back looks as if it lost a share.
#[test]
fn a_server_that_is_back_was_not_overloaded() {
    for nodes in SIZES {
        for (before, lasts, seed) in [
            (15.0, 22.0, 1),
            (15.0, 22.0, 2),
            (15.0, 22.0, 3),
            (15.0, 45.0, 1),
            (15.0, 45.0, 2),
            (90.0, 22.0, 1),
            (90.0, 22.0, 2),
            (90.0, 45.0, 1),
            (90.0, 45.0, 2),
        ] {
            let mut world = World::new(nodes, false, seed);
            world.run(before);
            world.faults.dead_dns.insert(0);
            world.run(lasts);
            world.faults = Faults::default();
            for second in 0..40 {
                world.run(1.0);
                let found = found(&world);
                assert!(
                    !found
                        .iter()
                        .any(|finding| finding.starts_with("dns-overloaded")),
                    "{nodes} nodes, {before} s old, dead for {lasts} s, seed {seed}, {second} s later: {found:?}"
                );
            }
        }
    }
}

#[test]
fn a_broken_upstream_is_one_finding() {
    story("servfail", false, SOON, &["dns-upstream everywhere"], |f| {
        f.servfail = true;
    });
    story("servfail", true, 25, &["dns-upstream everywhere"], |f| {
        f.servfail = true;
    });
}

#[test]
fn servers_that_remember_that_nobody_answered_them_have_no_broken_upstream() {
    for nodes in SIZES {
        let mut world = World::new(nodes, false, 1);
        world.run(40.0);
        world.faults.cut_lately = true;
        world.faults.servfail = true;
        let is_upstream = |world: &World| found(world).contains("dns-upstream everywhere");
        for second in 0..20 {
            world.run(1.0);
            assert!(!is_upstream(&world), "{nodes} nodes, {second} s");
        }
        // What goes on long after the cut is no memory of it.
        world.faults.cut_lately = false;
        world.run(1.0);
        assert!(is_upstream(&world), "{nodes} nodes");
    }
}

#[test]
fn a_missing_record_is_one_finding() {
    let expected = ["dns-name kubernetes.default.svc.cluster.local."];
    for targets in [false, true] {
        story("nxdomain", targets, SOON, &expected, |f| {
            f.absent.insert(CLUSTER_NAME);
        });
    }
}

#[test]
fn servers_that_lose_a_share_are_one_finding() {
    for targets in [false, true] {
        story("all", targets, 35, &["dns-overloaded everywhere"], |f| {
            f.dns_loss.extend([(0, 0.25), (1, 0.25)]);
        });
        story("one", targets, 35, &["dns-overloaded dns-2"], |f| {
            f.dns_loss.insert(1, 0.33);
        });
    }
}

#[test]
fn a_node_without_virtual_ips_is_one_finding() {
    story("vips", true, SOON, &["service-vip mesh-3"], |f| {
        f.no_vips.insert(2);
    });
    story("dns vip", true, SOON, &["service-vip mesh-3 vip"], |f| {
        f.no_dns_vip.insert(2);
    });
}

#[test]
fn a_backend_that_is_gone_is_one_finding() {
    story("stale", true, 25, &["service-vip responders"], |f| {
        f.stale = true;
    });
}

#[test]
fn the_way_out_is_one_finding() {
    story("all", true, SOON, &["external everywhere"], |f| {
        f.no_way_out = true;
    });
    story("node", true, SOON + 3, &["external mesh-2"], |f| {
        f.cut.insert(1);
    });
}

#[test]
fn a_server_on_a_node_that_sends_nothing_has_no_upstream_trouble_of_its_own() {
    for (nodes, targets) in SIZES.into_iter().flat_map(|n| [(n, false), (n, true)]) {
        let mut world = World::new(nodes, targets, 1);
        // Its own node asks this server, and the server cannot ask on.
        world.faults.mute.insert(world.dns[0]);
        for second in 0..50 {
            world.run(1.0);
            let found = found(&world);
            let is_upstream = |finding: &String| finding.contains("dns-upstream");
            assert!(
                !found.iter().any(is_upstream),
                "{nodes} nodes, {second} s: {found:?}"
            );
        }
        assert!(found(&world).contains("node-egress mesh-2"));
    }
}

#[test]
fn a_target_outside_is_one_finding_with_the_phase_that_fails() {
    let name = "registry.example.net";
    story(
        "refused",
        true,
        SOON,
        &["external registry.example.net"],
        |f| {
            f.down.insert(name, true);
        },
    );
    story(
        "silent",
        true,
        SOON,
        &["external registry.example.net"],
        |f| {
            f.down.insert(name, false);
        },
    );
    story("expired", true, SOON, &["tls registry.example.net"], |f| {
        f.expired.insert(name);
    });
    story("502", true, SOON, &["http registry.example.net"], |f| {
        f.status.insert(name, 502);
    });
}

/// What is expected, and what breaks.
type Pair = (&'static [&'static str], fn(&mut Faults));

/// Two failures at once, each with its own finding and nothing else.
#[test]
fn two_failures_are_two_findings() {
    let pairs: [Pair; 4] = [
        (&["dns-server dns-1"], |f| {
            f.dark.insert(4);
            f.dead_dns.insert(0);
        }),
        // The server on a dark node is no finding of its own, nor its share of the virtual IP.
        (&[], |f| {
            f.dark.insert(1);
        }),
        (&[], |f| {
            f.dark.insert(1);
            f.has_restarted = true;
        }),
        (&["service-vip mesh-4", "tls registry.example.net"], |f| {
            f.no_vips.insert(3);
            f.expired.insert("registry.example.net");
        }),
    ];
    for (expected, break_it) in pairs {
        let mut run = Run::new("pair", World::new(6, true, 5).with_noise(0.001));
        break_it(&mut run.world.faults);
        run.pass(40);
        run.told_only(expected, SOON + 3);
    }
}

#[test]
fn the_share_that_is_told_is_the_share_that_is_lost() {
    let mut told = Vec::new();
    for seed in 1..4 {
        let mut world = World::new(12, false, seed).with_noise(0.001);
        world.faults.dns_loss.extend([(0, 0.2), (1, 0.2)]);
        world.run(40.0);
        for _ in 0..60 {
            world.run(1.0);
            let diagnosis = diagnose(&world.picture(), &DiagnosisConfig::default());
            let share = diagnosis.findings.iter().find_map(|finding| finding.loss);
            told.extend(share.map(|loss| loss.lost as f64 / loss.sent as f64));
        }
    }
    let mean = told.iter().sum::<f64>() / told.len() as f64;
    assert!(
        told.len() > 170,
        "it stands as long as the loss: {}",
        told.len()
    );
    assert!((mean - 0.2).abs() < 0.01, "{mean}");
}
