//! Which proxy the environment names for a target. Pure.
//!
//! `HTTPS_PROXY` is for everything that is not plain HTTP, `HTTP_PROXY` for that, `NO_PROXY` lists what is reached
//! directly: a domain (and all below it), an address, a network, each with a port if it has one, or `*`. Lower case
//! beats upper case, as in curl.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use ipnet::IpNet;
use url::Url;

/// Entries of `NO_PROXY` that are looked at.
const MAX_EXEMPT: usize = 1_024;

/// What the environment says, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// `http_proxy`, else `HTTP_PROXY`.
    pub http: Option<String>,
    /// `https_proxy`, else `HTTPS_PROXY`.
    pub https: Option<String>,
    /// `no_proxy`, else `NO_PROXY`.
    pub none: Option<String>,
}

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

/// Which proxy is for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exempt: Vec<Exempt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Exempt {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    Network(IpNet),
    /// A domain without its leading dot; `below`: without itself.
    Domain {
        name: String,
        below: bool,
    },
}

/// A variable that names no proxy.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {reason}; write for example http://proxy.example.com:3128")]
pub struct ProxyError {
    variable: &'static str,
    reason: &'static str,
}

impl ProxyVariables {
    /// From an environment.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |lower: &str| {
            let upper = lower.to_ascii_uppercase();
            variable(lower).or_else(|| variable(&upper))
        };
        Self {
            http: either("http_proxy"),
            https: either("https_proxy"),
            none: either("no_proxy"),
        }
    }
}

impl TryFrom<&ProxyVariables> for Proxies {
    type Error = ProxyError;

    fn try_from(variables: &ProxyVariables) -> Result<Self, ProxyError> {
        let parse = |variable: &'static str, text: &Option<String>| {
            let text = text.as_deref().map_or("", str::trim);
            if text.is_empty() {
                return Ok(None);
            }
            let proxy = Proxy::parse(text).map_err(|reason| ProxyError { variable, reason })?;
            Ok(Some(proxy))
        };
        let exempt = variables.none.as_deref().unwrap_or_default().split(',');
        Ok(Self {
            http: parse("HTTP_PROXY", &variables.http)?,
            https: parse("HTTPS_PROXY", &variables.https)?,
            exempt: exempt.filter_map(Exempt::parse).take(MAX_EXEMPT).collect(),
        })
    }
}

impl Proxies {
    /// The proxy for this host and port; `plain`: for an `http` URL.
    pub fn choose(&self, plain: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if plain { &self.http } else { &self.https }.as_ref()?;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let exempt = self.exempt.iter().any(|exempt| exempt.has(&host, port));
        (!exempt).then_some(proxy)
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let text = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let url = Url::parse(&text).map_err(|_| "not a URL")?;
        if url.scheme() != "http" {
            return Err("only http:// proxies are supported");
        }
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(ip)) => ip.to_string(),
            Some(url::Host::Ipv6(ip)) => ip.to_string(),
            None => return Err("no host"),
        };
        let authorization = (!url.username().is_empty()).then(|| {
            let decode = |text: &str| percent_decode(text);
            let password = decode(url.password().unwrap_or_default());
            let pair = [&decode(url.username())[..], b":", &password].concat();
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            format!("Basic {pair}")
        });
        Ok(Self {
            host,
            port: url.port_or_known_default().unwrap_or(80),
            authorization,
        })
    }
}

/// Octets of a part of a URL.
fn percent_decode(text: &str) -> Vec<u8> {
    let octets = text.as_bytes();
    let mut decoded = Vec::with_capacity(octets.len());
    let mut i = 0;
    while i < octets.len() {
        let digits = octets.get(i + 1..i + 3);
        let value = digits
            .filter(|_| octets[i] == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(value.unwrap_or(octets[i]));
        i += if value.is_some() { 3 } else { 1 };
    }
    decoded
}

/// Without its password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Exempt {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        let whole = |hosts| Some(Self { hosts, port: None });
        if text == "*" {
            return whole(Hosts::All);
        }
        if let Some(network) = network(&text) {
            return whole(Hosts::Network(network));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        let hosts = if let Some(network) = network(host) {
            Hosts::Network(network)
        } else {
            let below = host.starts_with('.') || host.starts_with("*.");
            let name = host.trim_start_matches('*').trim_start_matches('.');
            Hosts::Domain {
                name: name.trim_end_matches('.').to_owned(),
                below,
            }
        };
        Some(Self { hosts, port })
    }

    fn has(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        match &self.hosts {
            Hosts::All => true,
            Hosts::Network(network) => host.parse().is_ok_and(|ip: IpAddr| network.contains(&ip)),
            Hosts::Domain { name, below } => match host.strip_suffix(name.as_str()) {
                Some("") => !below && !name.is_empty(),
                Some(rest) => rest.ends_with('.') && !name.is_empty(),
                None => false,
            },
        }
    }
}

/// A network or an address, which may be in brackets.
fn network(text: &str) -> Option<IpNet> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let text = bare.unwrap_or(text);
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(single)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(https: &str, none: &str) -> Proxies {
        let variables = ProxyVariables {
            http: Some("http://plain.example.com".into()),
            https: Some(https.into()),
            none: Some(none.into()),
        };
        Proxies::try_from(&variables).unwrap()
    }

    #[test]
    fn each_scheme_has_its_proxy_with_port_and_password() {
        let proxies = named("http://us%40er:p%3Aw@[fd00::1]:3128", "");
        let plain = proxies.choose(true, "a.example.com", 80).unwrap();
        assert_eq!(plain.to_string(), "plain.example.com:80");
        let secure = proxies.choose(false, "a.example.com", 443).unwrap();
        assert_eq!(secure.to_string(), "[fd00::1]:3128");
        // us@er:p:w
        assert_eq!(secure.authorization.as_deref(), Some("Basic dXNAZXI6cDp3"));
        assert!(!format!("{secure:?}").contains("dXNAZXI6cDp3"));
    }

    #[test]
    fn lower_case_beats_upper_case() {
        let read = ProxyVariables::read(|name| match name {
            "https_proxy" => Some("low:1".into()),
            "HTTPS_PROXY" => Some("up:1".into()),
            "NO_PROXY" => Some("*".into()),
            _ => None,
        });
        assert_eq!(read.https.as_deref(), Some("low:1"));
        assert_eq!(read.none.as_deref(), Some("*"));
        assert_eq!(read.http, None);
    }

    #[test]
    fn exceptions_are_domains_addresses_and_networks() {
        let none = "example.com, .svc,*.cluster.local,10.0.0.0/8, 192.0.2.1,[fd00::1]:443,shop.test:8443,fd01::/16";
        let proxies = named("proxy:3128", none);
        for (host, port, direct) in [
            ("example.com", 443, true),
            ("www.EXAMPLE.com.", 443, true),
            ("notexample.com", 443, false),
            ("svc", 443, false),
            ("a.svc", 443, true),
            ("a.cluster.local", 443, true),
            ("10.1.2.3", 443, true),
            ("11.1.2.3", 443, false),
            ("192.0.2.1", 22, true),
            ("fd00::1", 443, true),
            ("fd00::1", 80, false),
            ("fd01::7", 80, true),
            ("shop.test", 8443, true),
            ("shop.test", 443, false),
        ] {
            let chosen = proxies.choose(false, host, port);
            assert_eq!(chosen.is_none(), direct, "{host}:{port}");
        }
        let all = named("proxy:3128", "*");
        assert_eq!(all.choose(false, "a.example.com", 443), None);
    }

    #[test]
    fn what_names_no_proxy_is_refused_without_its_password() {
        for text in [
            "socks5://u:secret@proxy:1080",
            "http://",
            "http://u:secret@:80",
        ] {
            let variables = ProxyVariables {
                https: Some(text.into()),
                ..ProxyVariables::default()
            };
            let error = Proxies::try_from(&variables).unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY: "), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_proxy_or_refused(https in ".{0,60}", none in ".{0,80}", host in ".{0,30}") {
            let variables = ProxyVariables { http: None, https: Some(https), none: Some(none) };
            if let Ok(proxies) = Proxies::try_from(&variables) {
                let _chosen = proxies.choose(false, &host, 443);
            }
        }
    }
}
