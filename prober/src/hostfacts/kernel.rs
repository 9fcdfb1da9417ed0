//! Counters and tables of the kernel: what it dropped, and how full its tables are.

use std::collections::HashMap;
use std::path::Path;

use super::read_bounded;

/// Tables are told in steps of so many hundredths of what fits, so that facts change when something changes.
const STEP_PERCENT: u64 = 5;

/// How full a table is: its entries, in steps, and how many fit.
pub(super) fn fill(entries: Option<u64>, limit: Option<u64>) -> (Option<u32>, Option<u32>) {
    let (Some(entries), Some(limit)) = (entries, limit) else {
        return (None, None);
    };
    let step = (limit * STEP_PERCENT / 100).max(1);
    let small = |number: u64| u32::try_from(number).ok();
    (small(entries / step * step), small(limit))
}

/// A file that holds one number.
pub(super) fn number(path: &Path) -> Option<u64> {
    read_bounded(path)?.trim().parse().ok()
}

/// Entries of the ARP table: a line each after the heading.
pub(super) fn neighbours(table: &str) -> Option<u64> {
    let lines = table.lines().count();
    (lines > 0).then(|| (lines - 1) as u64)
}

/// What the kernel dropped since its start, by place; zeros are left out.
pub(super) fn drops(root: &Path, links: impl Iterator<Item = String>) -> HashMap<String, u64> {
    let text = |path: &str| read_bounded(&root.join(path)).unwrap_or_default();
    let (snmp, netstat) = (text("proc/net/snmp"), text("proc/net/netstat"));
    let mut drops = HashMap::new();
    let mut put = |place: String, count: Option<u64>| {
        if let Some(count) = count.filter(|count| *count > 0) {
            drops.insert(place, count);
        }
    };
    for (place, table, group, column) in [
        ("udp-receive-buffer", &snmp, "Udp", "RcvbufErrors"),
        ("udp-send-buffer", &snmp, "Udp", "SndbufErrors"),
        ("udp-no-memory", &snmp, "Udp", "MemErrors"),
        ("listen-overflow", &netstat, "TcpExt", "ListenOverflows"),
    ] {
        put(place.to_owned(), counter(table, group, column));
    }
    put(
        "softnet".to_owned(),
        softnet(&text("proc/net/softnet_stat")),
    );
    for link in links {
        let statistics = root.join("sys/class/net").join(&link).join("statistics");
        put(
            format!("{link}-receive"),
            number(&statistics.join("rx_dropped")),
        );
        put(
            format!("{link}-transmit"),
            number(&statistics.join("tx_dropped")),
        );
    }
    drops
}

/// `/proc/net/snmp` and `netstat`: for each group a line of names and a line of values.
fn counter(table: &str, group: &str, column: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        (name == group).then_some(rest)
    });
    let (names, values) = (lines.next()?, lines.next()?);
    let position = names.split_whitespace().position(|name| name == column)?;
    values.split_whitespace().nth(position)?.parse().ok()
}

/// One line for each CPU, in hexadecimal; the second column counts packets that found the backlog full.
fn softnet(table: &str) -> Option<u64> {
    let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    let mut counts = table.lines().filter_map(dropped).peekable();
    counts.peek()?;
    Some(counts.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_the_name_of_their_column() {
        let snmp = "Udp: InDatagrams NoPorts InErrors RcvbufErrors\nUdp: 10 1 2 7\nUdpLite: InDatagrams RcvbufErrors\nUdpLite: 0 9\n";
        assert_eq!(counter(snmp, "Udp", "RcvbufErrors"), Some(7));
        assert_eq!(counter(snmp, "Udp", "SndbufErrors"), None);
        assert_eq!(counter("Udp: a", "Udp", "a"), None);
        assert_eq!(
            softnet("00000010 0000000a 0\n00000010 00000001 0\n"),
            Some(11)
        );
        assert_eq!(softnet(""), None);
    }

    #[test]
    fn a_table_is_told_in_steps_so_that_it_does_not_change_all_the_time() {
        assert_eq!(fill(Some(1_049), Some(1_000)), (Some(1_000), Some(1_000)));
        assert_eq!(fill(Some(51), Some(1_000)), fill(Some(99), Some(1_000)));
        assert_eq!(fill(Some(3), Some(4)), (Some(3), Some(4)));
        assert_eq!(fill(None, Some(4)), (None, None));
        assert_eq!(neighbours("heading\na\nb\n"), Some(2));
        assert_eq!(neighbours(""), None);
    }
}
