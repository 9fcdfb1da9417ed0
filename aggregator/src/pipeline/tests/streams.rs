use std::sync::atomic::Ordering;
use std::time::Duration;

use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;
use meshprobe_proto::v1::prober_message::Message as Up;
use tonic::Code;

use super::client::{Aggregator, UDP, hello, report};
use crate::membership::{Remembered, StoreChange};
use crate::pipeline::PipelineConfig;

async fn aggregator() -> Aggregator {
    Aggregator::start(PipelineConfig::default(), Remembered::default()).await
}

#[tokio::test]
async fn probers_that_join_are_assigned_to_each_other() {
    let aggregator = aggregator().await;
    let mut a = aggregator.prober("a", 1, 1).await;
    let mut b = aggregator.prober("b", 1, 2).await;
    let (to_a, to_b) = (a.assignment(1).await, b.assignment(1).await);
    assert_eq!(to_a.peers[0].node, "b");
    assert_eq!(to_b.peers[0].node, "a");
    assert_eq!(to_a.peers[0].ssid, to_b.ssid);
    assert_ne!(to_a.ssid, to_b.ssid);
    assert_eq!(to_a.peers[0].addresses[0].ip, "10.244.0.2");
    assert_eq!(to_a.report_interval_millis, 10_000);
    let nodes = aggregator
        .stored
        .lock()
        .iter()
        .filter(|c| matches!(c, StoreChange::Node(_)))
        .count();
    assert!(nodes >= 2, "joined nodes are remembered");
}

#[tokio::test]
async fn a_report_reaches_the_matrix_and_is_acknowledged_when_it_is_stored() {
    let aggregator = aggregator().await;
    let mut a = aggregator.prober("a", 7, 1).await;
    let _b = aggregator.prober("b", 7, 2).await;
    a.assignment(1).await;
    a.dictionary(7, &["b"]).await;
    a.say(Up::Report(report(7, 1, 10))).await;
    a.ack(1).await;
    let progress = aggregator.progress().unwrap();
    assert_eq!((progress.through, progress.taken), (1, 1));

    let layer = aggregator.handle.layer(UDP).await.unwrap().unwrap();
    let names: Vec<&str> = layer.targets.iter().map(|end| end.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let verdicts = [
        Verdict::NotSampled,
        Verdict::Healthy,
        Verdict::NoData,
        Verdict::NotSampled,
    ];
    assert_eq!(layer.verdicts, verdicts.map(|v| v as u8).as_slice());
    assert_eq!(layer.loss_percent, [255, 0, 255, 255].as_slice());

    let path = aggregator.handle.path("a", "b").await.unwrap();
    assert_eq!((path.forward[0].sent, path.forward[0].replied), (10, 10));
    let back = aggregator.handle.path("b", "a").await.unwrap();
    assert_eq!(back.forward.len(), 0, "b did not report");
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_disk_is_full_and_monitoring_goes_on() {
    let aggregator = aggregator().await;
    aggregator.disk_full.store(true, Ordering::SeqCst);
    let mut a = aggregator.prober("a", 7, 1).await;
    let _b = aggregator.prober("b", 7, 2).await;
    a.assignment(1).await;
    a.dictionary(7, &["b"]).await;
    a.say(Up::Report(report(7, 1, 10))).await;
    // The matrix has it although the store does not.
    while aggregator.metrics.reports("taken") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        aggregator
            .handle
            .path("a", "b")
            .await
            .unwrap()
            .forward
            .len(),
        1
    );
    assert_eq!(aggregator.progress(), None);
    aggregator.disk_full.store(false, Ordering::SeqCst);
    a.ack(1).await;
    assert_eq!(aggregator.progress().map(|p| p.through), Some(1));
    let nodes = aggregator
        .stored
        .lock()
        .iter()
        .filter(|c| matches!(c, StoreChange::Node(_)))
        .count();
    assert!(nodes >= 2, "what could not be stored is stored later");
}

#[tokio::test]
async fn after_a_restart_stored_reports_are_duplicates_and_the_rest_is_taken() {
    let first = aggregator().await;
    let mut a = first.prober("a", 7, 1).await;
    a.dictionary(7, &["b"]).await;
    a.say(Up::Report(report(7, 1, 10))).await;
    a.ack(1).await;
    let remembered = Remembered {
        progress: first.progress().into_iter().collect(),
        ..Remembered::default()
    };
    drop(first);

    let second = Aggregator::start(PipelineConfig::default(), remembered).await;
    let mut a = second.prober("a", 7, 1).await;
    a.ack(1).await;
    a.dictionary(7, &["b"]).await;
    a.say(Up::Report(report(7, 1, 10))).await;
    a.say(Up::Report(report(7, 2, 10))).await;
    a.ack(2).await;
    assert_eq!(second.metrics.reports("duplicate"), 1);
    assert_eq!(
        second.progress().map(|p| (p.through, p.taken)),
        Some((2, 2))
    );
}

#[tokio::test]
async fn two_ways_home_are_two_streams_of_one_prober() {
    let aggregator = aggregator().await;
    let mut overlay = aggregator.prober("a", 7, 1).await;
    let mut underlay = aggregator.caller().await;
    let way = v1::Hello {
        way: v1::WayHome::Underlay.into(),
        ..hello("a", 7, 1)
    };
    underlay.say(Up::Hello(way)).await;
    underlay.assignment(0).await;
    overlay.dictionary(7, &["b"]).await;
    underlay.dictionary(7, &["b"]).await;
    overlay.say(Up::Report(report(7, 1, 10))).await;
    overlay.ack(1).await;
    underlay.ack(1).await;
    underlay.say(Up::Report(report(7, 1, 10))).await;
    underlay.say(Up::Report(report(7, 2, 10))).await;
    underlay.ack(2).await;
    overlay.ack(2).await;
    assert_eq!(aggregator.metrics.reports("duplicate"), 1);
    assert_eq!(aggregator.metrics.streams.get(), 2);
}

#[tokio::test]
async fn a_restarted_prober_takes_over_and_its_former_stream_ends() {
    let aggregator = aggregator().await;
    let mut former = aggregator.prober("a", 7, 1).await;
    former.assignment(0).await;
    let mut later = aggregator.prober("a", 8, 1).await;
    later.assignment(0).await;
    assert_eq!(former.end().await.code(), Code::Aborted);
    let mut older = aggregator.prober("a", 7, 1).await;
    assert_eq!(older.end().await.code(), Code::Aborted);
    assert_eq!(aggregator.metrics.streams_ended("older_incarnation"), 1);
}

#[tokio::test]
async fn a_goodbye_makes_the_node_leave() {
    let aggregator = aggregator().await;
    let mut a = aggregator.prober("a", 7, 1).await;
    a.assignment(0).await;
    a.say(Up::Goodbye(v1::Goodbye {
        reason: "SIGTERM".to_owned(),
        back_within_seconds: 60,
    }))
    .await;
    let mut snapshots = aggregator.handle.watch();
    let left = snapshots.wait_for(|snapshot| {
        let node = snapshot.nodes.first();
        node.is_some_and(|row| row.lifecycle == Lifecycle::Leaving)
    });
    left.await.unwrap();
}

#[tokio::test]
async fn shutdown_stores_acknowledges_and_says_so() {
    let aggregator = aggregator().await;
    let mut a = aggregator.prober("a", 7, 1).await;
    a.assignment(0).await;
    a.dictionary(7, &["b"]).await;
    a.say(Up::Report(report(7, 1, 10))).await;
    while aggregator.metrics.reports("taken") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    aggregator.shutdown.trigger();
    a.ack(1).await;
    assert_eq!(a.end().await.code(), Code::Unavailable);
    let Aggregator {
        tasks, shutdown, ..
    } = aggregator;
    tasks.run(&shutdown, Duration::from_secs(20)).await.unwrap();
}
