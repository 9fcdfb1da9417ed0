use std::time::{Duration, Instant};

use meshprobe_daemon::clock;
use meshprobe_proto::v1;
use meshprobe_proto::v1::prober_message::Message as Up;
use tokio::task::JoinSet;

use super::client::{Aggregator, Prober, report};
use crate::membership::Remembered;
use crate::pipeline::PipelineConfig;

const PROBERS: u8 = 50;
const BACKLOG: u64 = 1_000;

/// Everything that was kept during an outage, as fast as the connection takes it.
async fn flood(prober: &Prober) {
    for sequence in 1..=BACKLOG {
        let late = v1::Report {
            age_millis: 3_600_000,
            ..report(7, sequence, 0)
        };
        prober.say(Up::Report(late)).await;
    }
}

async fn until(what: impl Fn() -> bool) -> Duration {
    let began: Instant = clock::now();
    while !what() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    clock::now().saturating_duration_since(began)
}

/// Between streams nothing is queued but what the mesh task's channel holds, so a fresh report waits for that many late
/// ones at most, however many are on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_spools_that_empty_at_once_do_not_hold_up_a_fresh_report() {
    let config = PipelineConfig::default();
    let aggregator = Aggregator::start(config, Remembered::default()).await;
    let mut witness = aggregator.prober("witness", 7, 1).await;
    witness.dictionary(7, &["p0"]).await;
    let mut probers = JoinSet::new();
    for n in 0..PROBERS {
        let prober = aggregator.prober(&format!("p{n}"), 7, n + 2).await;
        prober.dictionary(7, &["witness"]).await;
        probers.spawn(async move {
            flood(&prober).await;
            prober
        });
    }
    let late = || aggregator.metrics.reports("late");
    let all = u64::from(PROBERS) * BACKLOG;
    until(|| late() > 0).await;
    let mut longest = Duration::ZERO;
    let mut during = 0;
    for sequence in 1..=20 {
        let before = late();
        witness.say(Up::Report(report(7, sequence, 10))).await;
        longest = longest.max(until(|| aggregator.metrics.reports("taken") >= sequence).await);
        during += u64::from(late() > before && late() < all);
    }
    assert!(during > 0, "the flood was over before anything fresh came");
    // Without a bound it would be the whole backlog: half a minute at the speed of a test build.
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    println!("a fresh report waited {longest:?} at most; {during} of 20 came during the flood");
    for sent in &mut probers.join_all().await {
        sent.ack(BACKLOG).await;
    }
    witness.ack(20).await;
    assert_eq!(late(), all);
    assert_eq!(aggregator.handle.snapshot().open_incidents, 0);
}
