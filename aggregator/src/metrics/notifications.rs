//! Counters of the way to the receivers.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::receiver::Attempt;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReceiver {
    receiver: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    receiver: String,
    result: &'static str,
}

/// 10 ms to a day: from a good day to an outage of the receiver.
const DELIVERY_SECONDS: [f64; 12] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0, 600.0, 3_600.0, 86_400.0,
];

/// What happens to notifications. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NotificationMetrics {
    attempts: Family<ByResult, Counter>,
    refreshes: Family<ByResult, Counter>,
    digested: Family<ByReceiver, Counter>,
    pending: Family<ByReceiver, Gauge>,
    dead_letters: Gauge,
    delivery: Histogram,
}

impl NotificationMetrics {
    /// Registers them; `registry` has the prefix `meshprobe_aggregator`. `dead_letters` are those that the store holds already.
    pub fn register(registry: &mut Registry, dead_letters: u64) -> Self {
        let metrics = Self {
            attempts: Family::default(),
            refreshes: Family::default(),
            digested: Family::default(),
            pending: Family::default(),
            dead_letters: Gauge::default(),
            delivery: Histogram::new(DELIVERY_SECONDS),
        };
        let Self {
            attempts,
            refreshes,
            digested,
            pending,
            dead_letters: dead,
            delivery,
        } = metrics.clone();
        registry.register(
            "notification_attempts",
            "Attempts to deliver a notification; result is delivered, failed or refused",
            attempts,
        );
        registry.register(
            "notification_refreshes",
            "Times that a receiver that forgets was told again what stands; result is delivered, failed or refused",
            refreshes,
        );
        registry.register(
            "notifications_digested",
            "Notifications that became part of a digest because the receiver's limit was used up",
            digested,
        );
        registry.register(
            "notifications_pending",
            "Notifications that are not delivered yet",
            pending,
        );
        registry.register(
            "notifications_dead",
            "Notifications that were given up and are kept in the store",
            dead,
        );
        registry.register(
            "notification_delivery_seconds",
            "From the making of a notification to the receiver's acceptance",
            delivery,
        );
        metrics
            .dead_letters
            .set(i64::try_from(dead_letters).unwrap_or(i64::MAX));
        metrics
    }

    /// A receiver's series exist before anything happens.
    pub(crate) fn create(&self, receiver: &str) {
        for result in ["delivered", "failed", "refused"] {
            drop(self.attempts.get_or_create(&ByResult {
                receiver: receiver.to_owned(),
                result,
            }));
        }
    }

    /// A receiver is no longer configured. What it was sent stays counted.
    pub(crate) fn remove(&self, receiver: &str) {
        self.pending.remove(&ByReceiver {
            receiver: receiver.to_owned(),
        });
    }

    pub(crate) fn attempt(&self, receiver: &str, attempt: &Attempt) {
        self.attempts
            .get_or_create(&by_result(receiver, attempt))
            .inc();
    }

    /// What stands was said again.
    pub(crate) fn refreshed(&self, receiver: &str, attempt: &Attempt) {
        self.refreshes
            .get_or_create(&by_result(receiver, attempt))
            .inc();
    }

    /// A notification became part of a digest.
    pub(crate) fn digested(&self, receiver: &str) {
        let digested = self.digested.get_or_create(&ByReceiver {
            receiver: receiver.to_owned(),
        });
        digested.inc();
    }

    pub(crate) fn delivered(&self, after_millis: i64) {
        self.delivery.observe(after_millis.max(0) as f64 / 1_000.0);
    }

    pub(crate) fn pending(&self, receiver: &str, count: u64) {
        let gauge = self.pending.get_or_create(&ByReceiver {
            receiver: receiver.to_owned(),
        });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn dead(&self) {
        self.dead_letters.inc();
    }

    /// One that was given up is tried again.
    pub(crate) fn revived(&self) {
        self.dead_letters.dec();
    }
}

fn by_result(receiver: &str, attempt: &Attempt) -> ByResult {
    let result = match attempt {
        Attempt::Delivered { .. } => "delivered",
        Attempt::Later { .. } => "failed",
        Attempt::Refused { .. } => "refused",
    };
    ByResult {
        receiver: receiver.to_owned(),
        result,
    }
}
