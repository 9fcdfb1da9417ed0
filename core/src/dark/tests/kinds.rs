//! One kind of probe fails, another is answered.

use super::*;

/// What everybody but `subject` sees: UDP lost since `first_loss_at`; TCP answered last at `tcp_reply`, or not since then.
fn udp_lost(mesh: &mut Mesh, subject: u32, first_loss_at: Moment, tcp_reply: Option<Moment>) {
    for observer in (0..mesh.nodes).filter(|o| *o != subject) {
        let udp = Sighting {
            consecutive_losses: 8,
            first_loss_at,
            ..mesh.sighting(observer, subject)
        };
        mesh.detector.handle_sighting(udp, mesh.now);
        if let Some(reply) = tcp_reply {
            let tcp = Sighting {
                kind: ProbeKind::Tcp,
                last_reply_at: Some(reply),
                last_outcome: OutcomeClass::Reply,
                ..mesh.sighting(observer, subject)
            };
            mesh.detector.handle_sighting(tcp, mesh.now);
        }
    }
}

#[test]
fn a_node_that_answers_tcp_every_few_seconds_is_not_called_isolated_for_its_udp() {
    let mut mesh = Mesh::new(3, 2);
    let since = mesh.now;
    mesh.run(300);
    for second in 0..30_u64 {
        // UDP is told of every second, TCP is probed every five.
        let reply = (second % 5 == 0).then_some(mesh.now);
        udp_lost(&mut mesh, 1, since, reply);
        mesh.run(1_000);
    }
    assert!(mesh.opened.is_empty(), "{:?}", mesh.found());
}

#[test]
fn it_is_dark_when_tcp_stops_too() {
    let mut mesh = Mesh::new(3, 2);
    let since = mesh.now;
    mesh.run(300);
    for _ in 0..5 {
        let reply = Some(mesh.now);
        udp_lost(&mut mesh, 1, since, reply);
        mesh.run(1_000);
    }
    assert!(mesh.opened.is_empty());
    mesh.silence(1);
    for _ in 0..8 {
        mesh.all_see(1, &[], DEAD);
        for observer in [0, 2] {
            let tcp = Sighting {
                kind: ProbeKind::Tcp,
                consecutive_losses: 4,
                ..mesh.sighting(observer, 1)
            };
            mesh.detector.handle_sighting(tcp, mesh.now);
        }
        mesh.run(500);
    }
    assert_eq!(mesh.found(), [(Pattern::NodeDark, vec![1])]);
}
