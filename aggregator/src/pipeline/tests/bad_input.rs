use meshprobe_proto::v1;
use meshprobe_proto::v1::prober_message::Message as Up;
use prost::Message as _;
use tonic::Code;

use super::client::{Aggregator, Prober, hello, padding, report};
use crate::ingest::IngestConfig;
use crate::membership::Remembered;
use crate::pipeline::PipelineConfig;

/// An aggregator with two probers, of which a has reported about b.
async fn reported() -> (Aggregator, Prober, Prober) {
    let config = PipelineConfig {
        ingest: IngestConfig {
            max_message_bytes: 16_384,
            hello_timeout: std::time::Duration::from_millis(200),
            ..IngestConfig::default()
        },
        ..PipelineConfig::default()
    };
    let aggregator = Aggregator::start(config, Remembered::default()).await;
    let mut a = aggregator.prober("a", 7, 1).await;
    let b = aggregator.prober("b", 7, 2).await;
    a.assignment(1).await;
    a.dictionary(7, &["b"]).await;
    a.say(Up::Report(report(7, 1, 10))).await;
    a.ack(1).await;
    (aggregator, a, b)
}

type Change = fn(&mut v1::Report);

/// Each refused report is counted by its reason and changes nothing but its acknowledgement.
#[tokio::test]
async fn a_malformed_report_is_counted_and_changes_nothing() {
    let (aggregator, mut a, _b) = reported().await;
    let before = aggregator.path_state().await;
    let faults: [(&str, Change); 7] = [
        ("window_length", |r| r.window_millis = 0),
        ("column_length", |r| r.blocks[0].sent.clear()),
        ("count", |r| r.blocks[0].replied[0] = 11),
        ("duplicate_layer", |r| r.blocks.push(r.blocks[0].clone())),
        ("unknown_number", |r| r.blocks[0].kind = 99),
        ("unknown_target", |r| r.blocks[0].target_delta[0] = 44),
        ("wrong_target", |r| {
            r.blocks[0].kind = v1::ProbeKind::DnsUdp.into();
        }),
    ];
    let mut sequence = 1;
    for (reason, change) in faults {
        sequence += 1;
        let mut wrong = report(7, sequence, 3);
        change(&mut wrong);
        a.say(Up::Report(wrong)).await;
        a.ack(sequence).await;
        assert_eq!(aggregator.metrics.rejected(reason), 1, "{reason}");
        assert_eq!(aggregator.path_state().await, before, "{reason}");
    }
    let rejected = faults.len() as u64;
    assert_eq!(aggregator.metrics.reports("rejected"), rejected);
    assert_eq!(aggregator.progress().map(|p| p.taken), Some(1));

    a.say(Up::Report(report(7, sequence + 1, 10))).await;
    a.ack(sequence + 1).await;
    assert_ne!(
        aggregator.path_state().await,
        before,
        "a good one is still taken"
    );
}

#[tokio::test]
async fn a_report_without_a_number_or_of_another_start_is_not_acknowledged() {
    let (aggregator, mut a, _b) = reported().await;
    let before = aggregator.path_state().await;
    a.say(Up::Report(report(7, 0, 3))).await;
    a.say(Up::Report(report(6, 2, 3))).await;
    a.say(Up::Report(report(8, 3, 3))).await;
    // Had one of them been acknowledged, this would be number 3.
    a.say(Up::Report(report(7, 2, 10))).await;
    a.ack(2).await;
    assert_eq!(aggregator.metrics.rejected("sequence_zero"), 1);
    assert_eq!(aggregator.metrics.rejected("foreign_incarnation"), 2);
    assert_ne!(aggregator.path_state().await, before);
}

#[tokio::test]
async fn a_replayed_report_is_counted_once() {
    let (aggregator, a, _b) = reported().await;
    let before = aggregator.path_state().await;
    for _ in 0..3 {
        a.say(Up::Report(report(7, 1, 0))).await;
    }
    while aggregator.metrics.reports("duplicate") < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(aggregator.path_state().await, before);
    assert_eq!(aggregator.metrics.reports("taken"), 1);
}

#[tokio::test]
async fn an_oversized_message_ends_the_stream() {
    let (aggregator, mut a, _b) = reported().await;
    let before = aggregator.path_state().await;
    let mut oversized = report(7, 2, 10);
    oversized.blocks[0].rtt_min = padding(16_384);
    a.say(Up::Report(oversized)).await;
    let status = a.end().await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(aggregator.metrics.streams_ended("oversized"), 1);
    assert_eq!(aggregator.path_state().await, before);
}

#[tokio::test]
async fn a_message_that_is_not_protobuf_ends_the_stream_and_changes_nothing() {
    let (aggregator, mut a, _b) = reported().await;
    let before = aggregator.path_state().await;
    let sound = hello("a", 7, 1).encode_to_vec();
    // A field that promises more bytes than there are, a wire type that does not exist, text that is no text.
    for garbage in [
        vec![0x0a, 0x7f, 1],
        vec![0x0f; 40],
        vec![0x0a, 2, 0xff, 0xfe],
    ] {
        let mut garbler = aggregator
            .garbler(vec![sound.clone(), garbage.clone()])
            .await;
        let status = garbler.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("cannot be decoded"), "{status}");
        // Nor does it get further where a Hello is due.
        let mut rude = aggregator.garbler(vec![garbage]).await;
        assert_eq!(rude.end().await.code(), Code::InvalidArgument);
    }
    assert_eq!(aggregator.metrics.streams_ended("undecodable"), 6);
    assert_eq!(aggregator.path_state().await, before);
    // A snapshot is at most half a second old, which is longer than all of this takes on an idle machine.
    while aggregator.handle.snapshot().nodes.len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(aggregator.handle.snapshot().nodes.len(), 2);
    // The prober's other stream goes on.
    a.say(Up::Report(report(7, 2, 10))).await;
    a.ack(2).await;
}

#[tokio::test]
async fn another_process_with_the_same_name_is_refused_by_name() {
    let (aggregator, _a, mut b) = reported().await;
    let before = aggregator.path_state().await;
    // As a later start of that prober, and as the start that is there.
    for incarnation in [99, 7] {
        let mut impostor = aggregator.prober("a", incarnation, 77).await;
        let status = impostor.end().await;
        assert_eq!(status.code(), Code::AlreadyExists);
        assert!(status.message().contains("10.244.0.1"), "{status}");
    }
    assert_eq!(aggregator.metrics.streams_ended("impostor"), 2);
    assert_eq!(aggregator.path_state().await, before);
    // Nobody is sent to the impostor's address.
    assert_eq!(b.assignment(1).await.peers[0].addresses[0].ip, "10.244.0.1");
}

#[tokio::test]
async fn a_stream_begins_with_one_sound_hello() {
    let (aggregator, mut a, _b) = reported().await;
    let mut rude = aggregator.caller().await;
    rude.say(Up::Report(report(1, 1, 10))).await;
    assert_eq!(rude.end().await.code(), Code::InvalidArgument);
    let mut silent = aggregator.caller().await;
    assert_eq!(silent.end().await.code(), Code::DeadlineExceeded);
    let mut nameless = aggregator.prober("Not A Name", 1, 3).await;
    assert_eq!(nameless.end().await.code(), Code::InvalidArgument);
    a.say(Up::Hello(hello("a", 7, 1))).await;
    assert_eq!(a.end().await.code(), Code::InvalidArgument);
    for reason in [
        "no_hello",
        "hello_timeout",
        "malformed_hello",
        "second_hello",
    ] {
        assert_eq!(aggregator.metrics.streams_ended(reason), 1, "{reason}");
    }
}

#[tokio::test]
async fn a_wrong_dictionary_is_counted_and_the_right_one_stays() {
    let (aggregator, mut a, _b) = reported().await;
    a.dictionary(7, &["a"]).await;
    a.dictionary(6, &["b", "c"]).await;
    a.say(Up::Report(report(7, 2, 10))).await;
    a.ack(2).await;
    assert_eq!(aggregator.metrics.rejected("dictionary_changed"), 1);
    assert_eq!(aggregator.metrics.rejected("dictionary_incarnation"), 1);
    let path = aggregator.handle.path("a", "b").await.unwrap();
    assert_eq!(path.forward[0].sent, 20);
}
