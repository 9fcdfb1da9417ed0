//! From a host to its addresses, as the node sees them: a literal, the hosts file, the servers of `resolv.conf`.

use std::net::IpAddr;
use std::path::PathBuf;

use hickory_proto::rr::RecordType;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::path::Family;
use tokio::io::AsyncReadExt as _;

use crate::dns::resolv_conf::ResolvConfFile;
use crate::dns::search::{is_setup, lookup_failure, lookup_outcome};
use crate::dns::stub::{Cost, LookupError, lookup};

/// A hosts file that is longer is read up to here.
const MAX_FILE: u64 = 1 << 20;

/// What the node knows about names.
#[derive(Debug)]
pub struct Names {
    hosts: PathBuf,
    resolv_conf: ResolvConfFile,
}

/// Why a host has no address.
#[derive(Debug)]
pub struct Unresolved {
    /// What that says about the path.
    pub outcome: Outcome,
    /// For people.
    pub reason: String,
    /// Nobody could be asked.
    pub is_setup: bool,
}

impl Names {
    /// By these two files.
    pub fn new(hosts: PathBuf, resolv_conf: PathBuf) -> Self {
        Self {
            hosts,
            resolv_conf: ResolvConfFile::new(resolv_conf),
        }
    }

    /// Addresses of `host` in `family` (`None`: in any), at least one.
    pub async fn addresses(
        &self,
        host: &str,
        family: Option<Family>,
    ) -> Result<Vec<IpAddr>, Unresolved> {
        if let Ok(literal) = host.parse() {
            return Ok(vec![literal]);
        }
        let listed = of_hosts_file(&self.hosts_file().await, host, family);
        if !listed.is_empty() {
            return Ok(listed);
        }
        let kinds: &[RecordType] = match family {
            Some(Family::V4) => &[RecordType::A],
            Some(Family::V6) => &[RecordType::AAAA],
            None => &[RecordType::A, RecordType::AAAA],
        };
        let conf = self.resolv_conf.read().await.map_err(|error| Unresolved {
            outcome: Outcome::Invalid,
            reason: error.to_string(),
            is_setup: true,
        })?;
        let found = lookup(&conf, host, kinds, &mut Cost::default()).await;
        found
            .map(|found| found.addresses)
            .map_err(|error| Unresolved {
                outcome: lookup_outcome(&error),
                is_setup: is_setup(&error),
                reason: match (&error, family) {
                    (LookupError::NoAddress, Some(Family::V4)) => {
                        format!("{host} has no IPv4 address")
                    }
                    (LookupError::NoAddress, Some(Family::V6)) => {
                        format!("{host} has no IPv6 address")
                    }
                    _ => format!("look up {host}: {}", lookup_failure(&error)),
                },
            })
    }

    /// Its text; empty, if there is none.
    async fn hosts_file(&self) -> String {
        let mut octets = Vec::new();
        if let Ok(file) = tokio::fs::File::open(&self.hosts).await {
            // What could be read of it counts.
            file.take(MAX_FILE).read_to_end(&mut octets).await.ok();
        }
        String::from_utf8_lossy(&octets).into_owned()
    }
}

fn of_hosts_file(text: &str, host: &str, family: Option<Family>) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let line = |line: &str| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let ip: IpAddr = words.next()?.parse().ok()?;
        let named = words.any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host));
        let fits = family.is_none_or(|family| family == Family::of(ip));
        (named && fits).then_some(ip)
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_is_asked_by_name_and_family() {
        let text = "127.0.0.1 localhost\n192.0.2.7 shop.example.com shop # the shop\n2001:db8::7 SHOP.example.com.\nbroken shop\n";
        let v4 = of_hosts_file(text, "shop", Some(Family::V4));
        assert_eq!(v4, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(of_hosts_file(text, "Shop.example.com", None).len(), 2);
        assert!(of_hosts_file(text, "the", None).is_empty());
        assert!(of_hosts_file(text, "shop", Some(Family::V6)).is_empty());
    }
}
