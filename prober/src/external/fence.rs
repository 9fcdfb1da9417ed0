//! The fence: which addresses outside the mesh this prober may connect to. Pure.
//!
//! Assignments come from elsewhere; the fence is this prober's own configuration and has the last word. Without one,
//! everything is allowed but what a request from outside must never reach: this machine, its link (with the metadata
//! service of most clouds), groups and broadcasts, and the prober's own ports. An entry of the allow list opens a
//! protected range only if it lies wholly inside it: 0.0.0.0/0 does not mean 127.0.0.1, 127.0.0.2/32 does.
//!
//! It is asked for each address of each hop, right before the connect to that very address: what a name pointed to a
//! moment before plays no role.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Entries of one list.
pub const MAX_RULES: usize = 1_024;

/// Addresses and ports that are allowed or denied.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The addresses.
    pub cidr: IpNet,
    /// The ports; empty: all.
    #[serde(default)]
    pub ports: Vec<Ports>,
}

/// A port, or a range of them such as `8000-8999`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(RangeInclusive<u16>);

/// Which addresses may be connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// Empty: everything that is not protected.
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    own: Vec<SocketAddr>,
}

/// Why an address is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A port of this prober.
    #[error("it is a port of this prober")]
    Own,
    /// An address that a request from outside must not reach.
    #[error("it is {0}; to allow it, list a network inside it under external.allow")]
    Protected(&'static str),
    /// An address that no connection can have.
    #[error("it is {0}")]
    Impossible(&'static str),
    /// On the deny list.
    #[error("external.deny has {0}")]
    Denied(IpNet),
    /// Not on the allow list.
    #[error("external.allow does not have it")]
    NotAllowed,
}

/// Ranges that only an entry inside them opens.
const PROTECTED: [(&str, &str); 8] = [
    ("127.0.0.0/8", "a loopback address"),
    ("::1/128", "a loopback address"),
    ("169.254.0.0/16", "a link-local address"),
    ("fe80::/10", "a link-local address"),
    ("100.100.100.200/32", "a cloud's metadata service"),
    ("192.0.0.192/32", "a cloud's metadata service"),
    ("fd00:ec2::254/128", "a cloud's metadata service"),
    ("fd20:ce::254/128", "a cloud's metadata service"),
];

impl Fence {
    /// With two lists, and the addresses where this prober itself listens. An unspecified one stands for all of them.
    pub fn new(allow: Vec<Rule>, deny: Vec<Rule>, own: Vec<SocketAddr>) -> Self {
        Self { allow, deny, own }
    }

    /// May this address be connected to? `is_local` says whether it is one of this machine; it is asked only where that
    /// matters.
    pub fn check(
        &self,
        address: SocketAddr,
        is_local: impl FnOnce(IpAddr) -> bool,
    ) -> Result<(), Refusal> {
        let ip = meant(address.ip());
        let port = address.port();
        if let Some(what) = impossible(ip) {
            return Err(Refusal::Impossible(what));
        }
        let is_own = |own: &&SocketAddr| own.port() == port;
        let mut own = self.own.iter().filter(is_own).map(|own| meant(own.ip()));
        let mut everywhere = self.own.iter().filter(is_own);
        if own.any(|own| own == ip)
            || (everywhere.any(|own| own.ip().is_unspecified()) && is_local(ip))
        {
            return Err(Refusal::Own);
        }
        if let Some(rule) = self.deny.iter().find(|rule| rule.has(ip, port)) {
            return Err(Refusal::Denied(rule.cidr));
        }
        let range = PROTECTED.iter().find_map(|(range, what)| {
            let range: IpNet = range.parse().ok()?;
            range.contains(&ip).then_some((range, *what))
        });
        if let Some((range, what)) = range {
            let opens = |rule: &Rule| range.contains(&rule.cidr) && rule.has(ip, port);
            return if self.allow.iter().any(opens) {
                Ok(())
            } else {
                Err(Refusal::Protected(what))
            };
        }
        if self.allow.is_empty() || self.allow.iter().any(|rule| rule.has(ip, port)) {
            Ok(())
        } else {
            Err(Refusal::NotAllowed)
        }
    }

    /// The same for a name that somebody else resolves, a proxy: at least its port has to be allowed for some address,
    /// and the name must not mean this machine.
    pub fn check_name(&self, name: &str, port: u16) -> Result<(), Refusal> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") {
            return Err(Refusal::Protected("a loopback address"));
        }
        let all = |rule: &&Rule| rule.cidr.prefix_len() == 0 && rule.has_port(port);
        if let Some(rule) = self.deny.iter().find(all) {
            return Err(Refusal::Denied(rule.cidr));
        }
        if self.allow.is_empty() || self.allow.iter().any(|rule| rule.has_port(port)) {
            Ok(())
        } else {
            Err(Refusal::NotAllowed)
        }
    }
}

impl Rule {
    fn has(&self, ip: IpAddr, port: u16) -> bool {
        self.cidr.contains(&ip) && self.has_port(port)
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|ports| ports.0.contains(&port))
    }
}

/// The address that a packet to `ip` arrives at: an IPv4 address in an IPv6 one is that IPv4 address.
fn meant(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip.to_canonical() else {
        return ip.to_canonical();
    };
    // The well-known prefix of NAT64 (RFC 6052).
    match v6.octets() {
        [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => {
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => v6.into(),
    }
}

fn impossible(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(v4) if v4.is_broadcast() => Some("a broadcast address"),
        // On Linux a connect to 0.0.0.0 reaches this machine.
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an unspecified address"),
        IpAddr::V6(v6) if v6 == Ipv6Addr::UNSPECIFIED => Some("an unspecified address"),
        ip if ip.is_multicast() => Some("a multicast address"),
        _ => None,
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.start(), self.0.end()) {
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Ports;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port such as 443, or a range such as 8000-8999")
            }

            fn visit_u64<E: de::Error>(self, port: u64) -> Result<Ports, E> {
                match u16::try_from(port) {
                    Ok(port) if port != 0 => Ok(Ports(port..=port)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(port), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ports, E> {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
                match (port(first), port(last)) {
                    (Some(first), Some(last)) if first <= last => Ok(Ports(first..=last)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_daemon::config::parse;
    use proptest::prelude::*;

    use super::*;

    fn rules(text: &str) -> Vec<Rule> {
        parse(text, std::path::Path::new("fence.yaml")).unwrap()
    }

    fn check(fence: &Fence, address: &str) -> Result<(), Refusal> {
        fence.check(address.parse().unwrap(), |_| false)
    }

    #[test]
    fn without_a_list_only_this_machine_and_its_link_are_outside() {
        let fence = Fence::default();
        for allowed in ["192.0.2.1:443", "10.0.0.1:80", "[2001:db8::1]:443"] {
            assert_eq!(check(&fence, allowed), Ok(()), "{allowed}");
        }
        for outside in [
            "127.0.0.1:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "169.254.169.254:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[fe80::1]:80",
            "100.100.100.200:80",
            "[fd00:ec2::254]:80",
            "0.0.0.0:80",
            "[::]:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
            "255.255.255.255:80",
        ] {
            assert!(check(&fence, outside).is_err(), "{outside}");
        }
    }

    #[test]
    fn an_allow_list_allows_only_what_it_names() {
        let allow = rules("- {cidr: 192.0.2.0/24, ports: [443, 8000-8999]}\n- {cidr: '::/0'}\n");
        let fence = Fence::new(allow, Vec::new(), Vec::new());
        assert_eq!(check(&fence, "192.0.2.7:443"), Ok(()));
        assert_eq!(check(&fence, "192.0.2.7:8500"), Ok(()));
        assert_eq!(check(&fence, "192.0.2.7:80"), Err(Refusal::NotAllowed));
        assert_eq!(check(&fence, "192.0.3.7:443"), Err(Refusal::NotAllowed));
        assert_eq!(check(&fence, "[2001:db8::1]:22"), Ok(()));
    }

    #[test]
    fn a_protected_range_is_opened_only_from_inside() {
        let wide = Fence::new(rules("- {cidr: 0.0.0.0/0}\n"), Vec::new(), Vec::new());
        assert!(matches!(
            check(&wide, "127.0.0.2:80"),
            Err(Refusal::Protected(_))
        ));
        let inside = "- {cidr: 127.0.0.2/32}\n- {cidr: 169.254.20.0/24, ports: [53]}\n";
        let inside = Fence::new(rules(inside), Vec::new(), Vec::new());
        assert_eq!(check(&inside, "127.0.0.2:80"), Ok(()));
        assert_eq!(check(&inside, "169.254.20.10:53"), Ok(()));
        assert!(check(&inside, "169.254.20.10:80").is_err());
        assert!(check(&inside, "169.254.169.254:80").is_err());
    }

    #[test]
    fn deny_beats_allow_and_the_own_ports_beat_both() {
        let allow = rules("- {cidr: 10.0.0.0/8}\n- {cidr: 127.0.0.0/8}\n");
        let deny = rules("- {cidr: 10.1.0.0/16}\n");
        let denied = Refusal::Denied(deny[0].cidr);
        let own = vec![
            "10.0.0.5:4862".parse().unwrap(),
            "0.0.0.0:4864".parse().unwrap(),
        ];
        let fence = Fence::new(allow, deny, own);
        assert_eq!(check(&fence, "10.1.2.3:80"), Err(denied));
        assert_eq!(check(&fence, "10.0.0.5:4862"), Err(Refusal::Own));
        assert_eq!(check(&fence, "10.0.0.5:80"), Ok(()));
        let local = fence.check("127.0.0.9:4864".parse().unwrap(), |_| true);
        assert_eq!(local, Err(Refusal::Own));
        assert_eq!(check(&fence, "10.0.0.6:4864"), Ok(()));
    }

    #[test]
    fn a_name_that_a_proxy_resolves_is_judged_by_its_port() {
        let fence = Fence::new(
            rules("- {cidr: 192.0.2.0/24, ports: [443]}\n"),
            Vec::new(),
            Vec::new(),
        );
        assert_eq!(fence.check_name("shop.example.com", 443), Ok(()));
        assert_eq!(
            fence.check_name("shop.example.com", 22),
            Err(Refusal::NotAllowed)
        );
        assert!(fence.check_name("LocalHost.", 443).is_err());
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_to_write() {
        let refused = |text: &str| {
            let path = std::path::Path::new("fence.yaml");
            parse::<Vec<Rule>>(text, path).unwrap_err().to_string()
        };
        for ports in ["[0]", "[70000]", "['9-1']", "[https]"] {
            let error = refused(&format!("- {{cidr: 10.0.0.0/8, ports: {ports}}}\n"));
            assert!(error.contains("a range such as 8000-8999"), "{error}");
        }
        assert!(refused("- {cidr: 10.0.0.0/8, port: 1}\n").contains("port"));
        assert!(refused("- {cidr: 10.0.0.0/40}\n").contains("fence.yaml:1"));
    }

    proptest! {
        #[test]
        fn no_list_reaches_a_group_or_the_own_ports(v4 in any::<u32>(), v6 in any::<u128>(), port in 1_u16..) {
            let own = vec![SocketAddr::new(Ipv4Addr::from(v4).into(), port)];
            let allow = rules("- {cidr: 0.0.0.0/0}\n- {cidr: '::/0'}\n- {cidr: 127.0.0.0/8}\n");
            let fence = Fence::new(allow, Vec::new(), own.clone());
            prop_assert!(fence.check(own[0], |_| false).is_err());
            let mapped = SocketAddr::new(Ipv4Addr::from(v4).to_ipv6_mapped().into(), port);
            prop_assert!(fence.check(mapped, |_| false).is_err());
            let ip = IpAddr::from(Ipv6Addr::from(v6));
            if fence.check(SocketAddr::new(ip, port), |_| false).is_ok() {
                prop_assert!(!ip.is_multicast() && !ip.is_unspecified() && !ip.is_loopback());
            }
        }
    }
}
