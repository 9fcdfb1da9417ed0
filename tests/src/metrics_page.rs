//! A `/metrics` page as values, by name and labels.

use std::collections::BTreeMap;

/// One scrape of the Prometheus text format.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsPage {
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl MetricsPage {
    /// Reads a page. Lines that are no samples are left out.
    pub fn parse(page: &str) -> Self {
        let samples = page.lines().filter_map(parse_line).collect();
        Self { samples }
    }

    /// The sum of all series of that name whose labels include these; `None` if there is no such series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.matching(name, labels).peekable();
        found.peek()?;
        Some(found.map(|sample| sample.value).sum())
    }

    /// The series of that name, as the value of one label and the sum of its values.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.matching(name, &[]) {
            if let Some(value) = sample.labels.get(label) {
                *sums.entry(value.clone()).or_default() += sample.value;
            }
        }
        sums
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let has = |sample: &Sample, (label, value): &(&str, &str)| {
            sample
                .labels
                .get(*label)
                .is_some_and(|found| found == value)
        };
        self.samples.iter().filter(move |sample| {
            sample.name == name && labels.iter().all(|label| has(sample, label))
        })
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let name_end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// `a="1",b="x"} 3` → the labels, and what follows the brace.
fn parse_labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next()? {
                (_, '\\') => value.push(match letters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (end, '"') => break end,
                (_, letter) => value.push(letter),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = &after[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP probes Probes
# TYPE probes counter
probes_total{kind="udp",outcome="reply"} 41
probes_total{kind="udp",outcome="timeout"} 1
probes_total{kind="tcp",outcome="reply"} 8 1700000000
up 1
odd{text="a\"b,c}\n"} 2.5
# EOF
"#;

    #[test]
    fn series_are_added_up_by_the_labels_that_are_asked_for() {
        let page = MetricsPage::parse(PAGE);
        assert_eq!(page.sum("probes_total", &[]), Some(50.0));
        assert_eq!(page.sum("probes_total", &[("kind", "udp")]), Some(42.0));
        assert_eq!(page.sum("up", &[]), Some(1.0));
        assert_eq!(
            page.by_label("probes_total", "outcome").get("reply"),
            Some(&49.0)
        );
    }

    #[test]
    fn a_series_that_does_not_exist_is_not_zero() {
        let page = MetricsPage::parse(PAGE);
        assert_eq!(page.sum("probes_total", &[("kind", "quic")]), None);
        assert_eq!(page.sum("probes", &[]), None);
    }

    #[test]
    fn quotes_commas_and_braces_inside_a_label_belong_to_it() {
        let page = MetricsPage::parse(PAGE);
        assert_eq!(page.sum("odd", &[("text", "a\"b,c}\n")]), Some(2.5));
    }
}
