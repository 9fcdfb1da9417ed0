//! The node's `resolv.conf`: which servers are asked, in which order, for which names. Read again when it changes.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use hickory_resolver::config::{ProtocolConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::system_conf::parse_resolv_conf;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;

/// Servers that the C library asks; further ones are ignored (`MAXNS`).
const MAX_SERVERS: usize = 3;

/// Search domains that are tried.
const MAX_SEARCH: usize = 32;

/// The largest values of `ndots`, `timeout` and `attempts` that the C library takes.
const MAX_NDOTS: usize = 15;
const MAX_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ATTEMPTS: usize = 5;

/// A file that is longer is no `resolv.conf`.
const MAX_FILE: u64 = 64 << 10;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// Whom to ask, in this order.
    pub servers: Vec<SocketAddr>,
    /// Domains that are appended to a name.
    pub search: Vec<Name>,
    /// A name with so many dots is tried as it is first.
    pub ndots: usize,
    /// How often the list of servers is gone through.
    pub attempts: usize,
    /// How long an answer of one server is waited for.
    pub timeout: Duration,
    /// Questions say how large an answer can be.
    pub edns: bool,
}

/// Why there is no way to ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct ResolvConfError {
    path: String,
    reason: String,
}

impl ResolvConf {
    /// Reads the content of a file.
    pub fn parse(octets: &[u8]) -> Result<Self, String> {
        let (config, options) = parse_resolv_conf(octets).map_err(|error| error.to_string())?;
        Ok(Self::new(&config, &options))
    }

    fn new(config: &ResolverConfig, options: &ResolverOpts) -> Self {
        let server = |server: &hickory_resolver::config::NameServerConfig| {
            let udp = |c: &&hickory_resolver::config::ConnectionConfig| {
                matches!(c.protocol, ProtocolConfig::Udp)
            };
            let port = server.connections.iter().find(udp)?.port;
            Some(SocketAddr::new(server.ip, port))
        };
        // Without a list, the host's own domain is the list.
        let search = match config.search() {
            [] => config.domain().cloned().into_iter().collect(),
            search => search.iter().take(MAX_SEARCH).cloned().collect(),
        };
        Self {
            servers: config
                .name_servers()
                .iter()
                .filter_map(server)
                .take(MAX_SERVERS)
                .collect(),
            search,
            ndots: options.ndots.min(MAX_NDOTS),
            attempts: options.attempts.clamp(1, MAX_ATTEMPTS),
            timeout: options.timeout.clamp(Duration::from_secs(1), MAX_TIMEOUT),
            edns: options.edns0,
        }
    }

    /// The fully qualified names that stand for `name`, in the order in which they are tried.
    pub fn candidates(&self, name: &str) -> Vec<Name> {
        let Ok(asked) = Name::from_ascii(name) else {
            return Vec::new();
        };
        let mut as_it_is = asked.clone();
        as_it_is.set_fqdn(true);
        if asked.is_fqdn() {
            return vec![as_it_is];
        }
        let dots = name.matches('.').count();
        let mut names = Vec::new();
        if dots >= self.ndots {
            names.push(as_it_is.clone());
        }
        for domain in &self.search {
            // A name that becomes too long is none.
            let Ok(mut longer) = asked.clone().append_domain(domain) else {
                continue;
            };
            longer.set_fqdn(true);
            if !names.contains(&longer) {
                names.push(longer);
            }
        }
        if !names.contains(&as_it_is) {
            names.push(as_it_is);
        }
        names
    }
}

/// The file, and what it said when it was last read.
#[derive(Debug)]
pub struct ResolvConfFile {
    path: PathBuf,
    known: Mutex<Option<Known>>,
}

type Read = Result<Arc<ResolvConf>, ResolvConfError>;

#[derive(Debug)]
struct Known {
    octets: Vec<u8>,
    read: Read,
}

impl ResolvConfFile {
    /// The file at `path`; it need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            known: Mutex::new(None),
        }
    }

    /// What it says now. It is parsed only when its content has changed.
    pub async fn read(&self) -> Read {
        let failed = |reason: String| ResolvConfError {
            path: self.path.display().to_string(),
            reason,
        };
        let octets = self
            .content()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let mut known = self.known.lock();
        if let Some(known) = known.as_ref()
            && known.octets == octets
        {
            return known.read.clone();
        }
        let read = ResolvConf::parse(&octets).map(Arc::new).map_err(failed);
        *known = Some(Known {
            octets,
            read: read.clone(),
        });
        read
    }

    async fn content(&self) -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        let file = tokio::fs::File::open(&self.path).await?;
        file.take(MAX_FILE).read_to_end(&mut octets).await?;
        Ok(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "\
search shop.svc.cluster.local svc.cluster.local cluster.local
nameserver 10.96.0.10
options ndots:5
";

    fn names(conf: &str, name: &str) -> Vec<String> {
        let conf = ResolvConf::parse(conf.as_bytes()).unwrap();
        let names = conf.candidates(name);
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_with_few_dots_goes_through_the_list_first() {
        assert_eq!(
            names(POD, "www.example.com"),
            [
                "www.example.com.shop.svc.cluster.local.",
                "www.example.com.svc.cluster.local.",
                "www.example.com.cluster.local.",
                "www.example.com.",
            ]
        );
    }

    #[test]
    fn a_name_with_enough_dots_is_tried_as_it_is_first() {
        let conf = POD.replace("ndots:5", "ndots:2");
        assert_eq!(names(&conf, "www.example.com")[0], "www.example.com.");
        assert_eq!(names(&conf, "www.example.com").len(), 4);
    }

    #[test]
    fn a_final_dot_ends_the_search() {
        assert_eq!(names(POD, "www.example.com."), ["www.example.com."]);
        assert!(names(POD, &"a".repeat(70)).is_empty());
    }

    #[test]
    fn what_the_c_library_would_ignore_is_ignored() {
        let conf = "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver fd00::1\nnameserver 10.0.0.4\n\
                    search a b\noptions ndots:99 timeout:99 attempts:9 rotate\n";
        let conf = ResolvConf::parse(conf.as_bytes()).unwrap();
        assert_eq!(conf.servers.len(), 3);
        assert_eq!(conf.servers[2], "[fd00::1]:53".parse().unwrap());
        assert_eq!((conf.ndots, conf.attempts), (15, 5));
        assert_eq!(conf.timeout, Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_missing_one_is_named() {
        let path = std::env::temp_dir().join(format!("meshprobe-resolv-{}", std::process::id()));
        let file = ResolvConfFile::new(path.clone());
        let error = file.read().await.unwrap_err().to_string();
        assert!(error.contains("meshprobe-resolv-"), "{error}");
        std::fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        let first = file.read().await.unwrap();
        assert!(Arc::ptr_eq(&first, &file.read().await.unwrap()));
        std::fs::write(&path, "nameserver 10.0.0.2\n").unwrap();
        let second = file.read().await.unwrap();
        assert_eq!(second.servers, ["10.0.0.2:53".parse().unwrap()]);
        std::fs::write(&path, "search example.com\n").unwrap();
        let error = file.read().await.unwrap_err().to_string();
        assert!(error.contains("no nameservers"), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
}
