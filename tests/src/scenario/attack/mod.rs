//! Bad input from inside the cluster: every packet and message is counted by its reason, none is answered, nothing else
//! changes. That no incident opens is for the steps after it to see.

mod reports;
mod responders;

use std::thread;
use std::time::Duration;

use meshprobe_daemon::clock;
use meshprobe_lab::mesh::Mesh;

use super::stage::Failed;
use super::step::Attack;
use crate::metrics_page::MetricsPage;

/// A counter follows what it counts within this.
const COUNT_PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// Attacks, and waits until everything has been counted.
pub(super) fn run(attack: Attack, mesh: &Mesh, tell: impl Fn(&str)) -> anyhow::Result<()> {
    match attack {
        Attack::Responders => responders::run(mesh, tell),
        Attack::Reports => reports::run(mesh, tell),
    }
}

/// A counter that has to grow.
#[derive(Debug, Clone, Copy)]
struct Counter {
    name: &'static str,
    /// Its one label.
    label: Option<(&'static str, &'static str)>,
}

impl Counter {
    fn read(self, page: &MetricsPage) -> f64 {
        let labels: Vec<(&str, &str)> = self.label.into_iter().collect();
        page.sum(self.name, &labels).unwrap_or(0.0)
    }

    fn words(self) -> String {
        self.label.map_or_else(
            || self.name.to_owned(),
            |(label, value)| format!("{}{{{label}={value:?}}}", self.name),
        )
    }
}

/// Waits until each counter has grown by at least as much as was sent.
fn wait_for_counts(
    expected: &[(Counter, f64)],
    before: &MetricsPage,
    scrape: impl Fn() -> anyhow::Result<MetricsPage>,
    tell: impl Fn(&str),
) -> anyhow::Result<()> {
    let deadline = clock::now() + COUNT_PATIENCE;
    loop {
        let now = scrape()?;
        let grown = |counter: Counter| counter.read(&now) - counter.read(before);
        let short: Vec<String> = expected
            .iter()
            .filter(|(counter, sent)| grown(*counter) < *sent)
            .map(|(counter, sent)| {
                format!(
                    "{} grew by {}, not {sent}",
                    counter.words(),
                    grown(*counter)
                )
            })
            .collect();
        if short.is_empty() {
            for (counter, _) in expected {
                tell(&format!("  {} +{}", counter.words(), grown(*counter)));
            }
            return Ok(());
        }
        if clock::now() >= deadline {
            return Err(Failed(short).into());
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Counter = Counter {
        name: "refused_total",
        label: Some(("reason", "too-short")),
    };

    fn page(count: u32) -> MetricsPage {
        MetricsPage::parse(&format!("refused_total{{reason=\"too-short\"}} {count}\n"))
    }

    #[test]
    fn a_counter_that_grew_enough_is_enough() {
        let counted = wait_for_counts(&[(REFUSED, 20.0)], &page(5), || Ok(page(25)), |_| {});
        assert!(counted.is_ok());
    }

    #[test]
    fn a_counter_that_does_not_exist_is_zero_before_and_after() {
        assert!(REFUSED.read(&MetricsPage::default()).abs() < f64::EPSILON);
        assert_eq!(REFUSED.words(), "refused_total{reason=\"too-short\"}");
    }
}
