//! Routes of host facts: text as a prober tells it, and what it means.

use std::net::IpAddr;

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// `10.244.3.0/24`
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let length: u8 = length.parse().ok()?;
        (length <= width(address)).then_some(Self { address, length })
    }

    /// The block of so many common bits that the address is in; `None`: it has fewer bits.
    pub(super) fn around(address: IpAddr, length: u8) -> Option<Self> {
        (length <= width(address)).then_some(Self { address, length })
    }

    /// Is this address in it?
    pub(super) fn contains(self, ip: IpAddr) -> bool {
        let spare = u32::from(width(self.address) - self.length);
        // Of the default route no bit tells anything, and nothing is shifted by all of its bits.
        let told = |ip| bits(ip).checked_shr(spare).unwrap_or(0);
        width(ip) == width(self.address) && told(ip) == told(self.address)
    }

    /// Is all of the other block in it?
    pub(super) fn covers(self, other: Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }

    /// One address alone.
    pub(super) const fn is_host(self) -> bool {
        self.length == width(self.address)
    }

    /// Everything.
    pub(super) const fn is_default(self) -> bool {
        self.length == 0
    }

    pub(super) const fn length(self) -> u8 {
        self.length
    }

    pub(super) const fn address(self) -> IpAddr {
        self.address
    }
}

const fn width(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    /// Where to.
    pub(super) prefix: Prefix,
    /// The next hop; `None`: the destination is on the link itself.
    pub(super) via: Option<IpAddr>,
    /// Through which interface.
    pub(super) device: &'a str,
    /// It refuses.
    pub(super) is_reject: bool,
    /// As it was told.
    pub(super) text: &'a str,
}

impl<'a> Route<'a> {
    /// `10.244.3.0/24 via 10.244.3.0 dev flannel.1 mtu 1400`; `None`: something else.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let prefix = Prefix::parse(words.next()?)?;
        let (mut via, mut device, mut is_reject) = (None, "", false);
        while let Some(word) = words.next() {
            match word {
                "via" => via = words.next()?.parse().ok(),
                "dev" => device = words.next()?,
                "unreachable" => is_reject = true,
                _ => {}
            }
        }
        Some(Self {
            prefix,
            via,
            device,
            is_reject,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_it_is_told() {
        let route = Route::parse("10.244.3.0/24 via 10.244.3.0 dev flannel.1 mtu 1400").unwrap();
        assert_eq!(route.prefix.to_string(), "10.244.3.0/24");
        assert_eq!(route.via, Some("10.244.3.0".parse().unwrap()));
        assert_eq!((route.device, route.is_reject), ("flannel.1", false));
        assert!(
            Route::parse("10.244.4.0/24 dev * unreachable")
                .unwrap()
                .is_reject
        );
        for text in ["", "default dev eth0", "10.0.0.0/33 dev x", "x/3", "::/129"] {
            assert_eq!(Route::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_prefix_has_its_own_addresses_and_no_others() {
        let prefix = |text| Prefix::parse(text).unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(prefix("10.244.3.0/24").contains(ip("10.244.3.255")));
        assert!(!prefix("10.244.3.0/24").contains(ip("10.244.4.0")));
        assert!(prefix("0.0.0.0/0").contains(ip("255.0.0.1")));
        assert!(!prefix("0.0.0.0/0").contains(ip("::1")));
        assert!(prefix("::/0").contains(ip("ff00::1")));
        assert!(prefix("10.244.3.2/32").is_host());
        assert!(prefix("10.244.0.0/16").covers(prefix("10.244.3.0/24")));
        assert!(!prefix("10.244.3.0/24").covers(prefix("10.244.0.0/16")));
    }
}
