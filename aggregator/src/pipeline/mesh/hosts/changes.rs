//! Host facts in the words of the diagnosis, and what changed between two of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;

use meshprobe_core::diagnosis::{FactChange, HostFacts};
use meshprobe_core::time::Moment;
use meshprobe_proto::v1;

/// Changes of one prober's facts that are kept.
const KEPT: usize = 32;
/// Routes and links that are named one by one; of more that change together the rest is counted.
const NAMED: usize = 8;
/// Shares of a table that are told when they are passed: from the second on new entries are about to be refused.
const FILLS: [u32; 2] = [75, 90];

/// The facts, without what only people read.
pub(super) fn facts(wire: &v1::HostFacts) -> HostFacts {
    let sorted = |map: &std::collections::HashMap<String, u32>| {
        let mut list: Vec<(String, u32)> = map.iter().map(|(k, v)| (k.clone(), *v)).collect();
        list.sort_unstable();
        list
    };
    let mut kernel_drops: Vec<(String, u64)> = wire
        .kernel_drops
        .iter()
        .map(|(place, count)| (place.clone(), *count))
        .collect();
    kernel_drops.sort_unstable();
    HostFacts {
        links: sorted(&wire.link_mtu),
        routes: wire.routes.clone(),
        nameservers: wire.nameservers.clone(),
        search: wire.search.clone(),
        resolver_options: wire.resolver_options.clone(),
        conntrack: wire.conntrack_entries.zip(wire.conntrack_max),
        neighbours: wire.neighbours.zip(wire.neighbours_max),
        kernel_drops,
    }
}

/// What changed lately, newest last; bounded.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(VecDeque<FactChange>);

impl Changes {
    /// Notes the differences between two words of a prober.
    pub(super) fn note(&mut self, before: &HostFacts, after: &HostFacts, at: Moment) {
        for what in differences(before, after) {
            if self.0.len() == KEPT {
                self.0.pop_front();
            }
            self.0.push_back(FactChange { at, what });
        }
    }

    pub(super) fn list(&self) -> Vec<FactChange> {
        self.0.iter().cloned().collect()
    }
}

fn differences(before: &HostFacts, after: &HostFacts) -> Vec<String> {
    let mut told = Vec::new();
    let (old, new): (BTreeSet<&String>, BTreeSet<&String>) = (
        before.routes.iter().collect(),
        after.routes.iter().collect(),
    );
    tell_each(&mut told, "route", "disappeared", old.difference(&new));
    tell_each(&mut told, "route", "appeared", new.difference(&old));
    links(&mut told, before, after);
    for (what, before, after) in [
        ("name servers", &before.nameservers, &after.nameservers),
        ("search domains", &before.search, &after.search),
        (
            "resolver options",
            &before.resolver_options,
            &after.resolver_options,
        ),
    ] {
        if before != after {
            let (before, after) = (listed(before), listed(after));
            told.push(format!("the {what} changed from {before} to {after}"));
        }
    }
    for (what, before, after) in [
        ("connection table", before.conntrack, after.conntrack),
        ("neighbour table", before.neighbours, after.neighbours),
    ] {
        fill(&mut told, what, before, after);
    }
    told
}

fn links(told: &mut Vec<String>, before: &HostFacts, after: &HostFacts) {
    let old: BTreeMap<&str, u32> = before.links.iter().map(|(n, m)| (n.as_str(), *m)).collect();
    let new: BTreeMap<&str, u32> = after.links.iter().map(|(n, m)| (n.as_str(), *m)).collect();
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    tell_each(told, "link", "disappeared", gone);
    let come = new.keys().filter(|name| !old.contains_key(*name));
    tell_each(told, "link", "appeared", come);
    let other = new.iter().filter_map(|(name, mtu)| {
        let was = *old.get(name)?;
        (was != *mtu).then(|| format!("the MTU of {name} changed from {was} to {mtu}"))
    });
    told.extend(other.take(NAMED));
}

fn tell_each<T: Display>(
    told: &mut Vec<String>,
    what: &str,
    happened: &str,
    which: impl Iterator<Item = T>,
) {
    let mut more = 0;
    for (n, one) in which.enumerate() {
        if n < NAMED {
            told.push(format!("{what} {one} {happened}"));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        told.push(format!("{more} more {what}s {happened}"));
    }
}

/// A table that passes one of the shares, either way.
fn fill(told: &mut Vec<String>, what: &str, before: Option<(u32, u32)>, after: Option<(u32, u32)>) {
    let percent = |table: Option<(u32, u32)>| {
        let (entries, most) = table?;
        (most > 0).then(|| (u64::from(entries) * 100 / u64::from(most)) as u32)
    };
    let (Some(before), Some(now)) = (percent(before), percent(after)) else {
        return;
    };
    let passed = |share: &u32| (before < *share) != (now < *share);
    if FILLS.iter().any(passed) {
        let (entries, most) = after.unwrap_or_default();
        told.push(format!(
            "the {what} went from {before} % to {now} % of its size ({entries} of {most})"
        ));
    }
}

fn listed(texts: &[String]) -> String {
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostFacts {
        HostFacts {
            links: vec![("eth0".to_owned(), 1_500), ("flannel.1".to_owned(), 1_450)],
            routes: vec!["10.244.3.0/24 via 10.244.3.0 dev flannel.1".to_owned()],
            nameservers: vec!["10.96.0.10".to_owned()],
            conntrack: Some((10, 100)),
            ..HostFacts::default()
        }
    }

    #[test]
    fn each_difference_is_one_sentence() {
        let mut after = host();
        after.routes = vec!["10.244.3.0/24 via 10.0.0.3 dev eth0".to_owned()];
        after.links = vec![("eth0".to_owned(), 1_400)];
        after.nameservers.clear();
        after.conntrack = Some((95, 100));
        assert_eq!(
            differences(&host(), &after),
            [
                "route 10.244.3.0/24 via 10.244.3.0 dev flannel.1 disappeared",
                "route 10.244.3.0/24 via 10.0.0.3 dev eth0 appeared",
                "link flannel.1 disappeared",
                "the MTU of eth0 changed from 1500 to 1400",
                "the name servers changed from 10.96.0.10 to none",
                "the connection table went from 10 % to 95 % of its size (95 of 100)",
            ]
        );
        assert!(differences(&host(), &host()).is_empty());
    }

    #[test]
    fn a_table_that_is_only_a_little_fuller_is_no_change() {
        let mut after = host();
        after.conntrack = Some((60, 100));
        assert!(differences(&host(), &after).is_empty());
        let full = HostFacts {
            conntrack: Some((91, 100)),
            ..host()
        };
        assert_eq!(
            differences(&full, &after).len(),
            1,
            "it is told that it is over, too"
        );
    }

    #[test]
    fn a_thousand_routes_that_go_together_are_counted_and_the_list_is_bounded() {
        let mut many = host();
        many.routes = (0..1_000)
            .map(|n| format!("10.0.{n}.0/24 dev eth0"))
            .collect();
        let told = differences(&many, &host());
        assert_eq!(told.len(), NAMED + 2);
        assert!(told.contains(&"992 more routes disappeared".to_owned()));
        let mut changes = Changes::default();
        for n in 0..10 {
            let (before, after) = if n % 2 == 0 {
                (many.clone(), host())
            } else {
                (host(), many.clone())
            };
            changes.note(&before, &after, Moment::from_millis(n));
        }
        let list = changes.list();
        assert_eq!(list.len(), KEPT);
        assert!(list.is_sorted_by_key(|change| change.at));
    }
}
