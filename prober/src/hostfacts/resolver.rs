//! What `resolv.conf` says.

/// Entries of each list that are told.
const MAX_ENTRIES: usize = 32;

/// The resolver's configuration, each list in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) nameservers: Vec<String>,
    /// The last `search` or `domain` line counts, as the C library has it.
    pub(super) search: Vec<String>,
    pub(super) options: Vec<String>,
}

impl ResolvConf {
    /// Reads the text of the file; what is no known keyword is passed over, as the C library does.
    pub(super) fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => conf.nameservers.extend(words.next()),
                Some("search" | "domain") => conf.search = words.take(MAX_ENTRIES).collect(),
                Some("options") => conf.options.extend(words),
                _ => {}
            }
        }
        conf.nameservers.truncate(MAX_ENTRIES);
        conf.options.truncate(MAX_ENTRIES);
        conf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_and_the_last_search_line_are_kept() {
        let text = "# comment\nnameserver 10.96.0.10\nnameserver 8.8.8.8\nsearch a\nsearch ns.svc.cluster.local svc.cluster.local\noptions ndots:5 timeout:1\n";
        let conf = ResolvConf::parse(text);
        assert_eq!(conf.nameservers, ["10.96.0.10", "8.8.8.8"]);
        assert_eq!(conf.search, ["ns.svc.cluster.local", "svc.cluster.local"]);
        assert_eq!(conf.options, ["ndots:5", "timeout:1"]);
    }
}
