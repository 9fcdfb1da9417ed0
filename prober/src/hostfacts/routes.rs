//! Routing tables as `/proc/net` prints them, told as people write them.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::MAX_ROUTES;

/// Route flag: it can be used.
const RTF_UP: u32 = 0x1;
/// Route flag: it rejects.
const RTF_REJECT: u32 = 0x200;
/// Route flag: it is a local address.
const RTF_LOCAL: u32 = 0x8000_0000;

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, addresses in hexadecimal and host byte order.
pub(super) fn routes_v4(table: &str) -> Vec<String> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, destination, gateway, flags, _, _, _, mask, mtu, ..] = fields[..] else {
            return None;
        };
        let address = |text| {
            let octets = u32::from_str_radix(text, 16).ok()?.to_ne_bytes();
            Some(Ipv4Addr::from(octets))
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let prefix = u32::from(address(mask)?).count_ones();
        let via = Some(address(gateway)?).filter(|ip| !ip.is_unspecified());
        Some(format_route(
            &address(destination)?.to_string(),
            prefix,
            via.map(|ip| ip.to_string()),
            device,
            flags,
            mtu.parse().unwrap_or(0),
        ))
    };
    table
        .lines()
        .skip(1)
        .filter_map(route)
        .take(MAX_ROUTES)
        .collect()
}

/// `destination prefix source prefix gateway metric refcnt use flags device`, all in hexadecimal.
pub(super) fn routes_v6(table: &str) -> Vec<String> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix, _, _, gateway, _, _, _, flags, device] = fields[..] else {
            return None;
        };
        let address = |text: &str| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from);
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let destination = address(destination)?;
        if flags & RTF_UP == 0 || flags & RTF_LOCAL != 0 || destination.is_multicast() {
            return None;
        }
        let prefix = u32::from_str_radix(prefix, 16).ok()?;
        let via = Some(address(gateway)?).filter(|ip| !ip.is_unspecified());
        Some(format_route(
            &destination.to_string(),
            prefix,
            via.map(|ip| ip.to_string()),
            device,
            flags,
            // The table does not tell it.
            0,
        ))
    };
    table.lines().filter_map(route).take(MAX_ROUTES).collect()
}

fn format_route(
    destination: &str,
    prefix: u32,
    via: Option<String>,
    device: &str,
    flags: u32,
    mtu: u32,
) -> String {
    let mtu = if mtu == 0 {
        String::new()
    } else {
        format!(" mtu {mtu}")
    };
    let via = via.map(|via| format!(" via {via}")).unwrap_or_default();
    let reject = if flags & RTF_REJECT == 0 {
        ""
    } else {
        " unreachable"
    };
    format!("{destination}/{prefix}{via} dev {device}{mtu}{reject}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_routes_are_told_as_people_write_them() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     cni0\t0003F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t1400\t0\t0\n\
                     *\t0004F40A\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     broken line\n";
        assert_eq!(
            routes_v4(table),
            [
                "0.0.0.0/0 via 192.168.1.1 dev eth0",
                "10.244.3.0/24 dev cni0 mtu 1400",
                "10.244.4.0/24 dev * unreachable"
            ]
        );
    }

    #[test]
    fn ipv6_routes_leave_out_local_addresses_and_multicast() {
        let zero = "0".repeat(32);
        let line = |destination: &str, prefix: &str, gateway: &str, flags: &str| {
            format!(
                "{destination} {prefix} {zero} 00 {gateway} 00000400 00000001 00000000 {flags} eth0\n"
            )
        };
        let net = "fd000000000000000000000000000000";
        let gateway = "fe800000000000000000000000000001";
        let table = [
            line(net, "40", &zero, "00000001"),
            line(&zero, "00", gateway, "00000003"),
            line(net, "80", &zero, "80200001"),
            line("ff000000000000000000000000000000", "08", &zero, "00000001"),
        ]
        .concat();
        assert_eq!(
            routes_v6(&table),
            ["fd00::/64 dev eth0", "::/0 via fe80::1 dev eth0"]
        );
    }
}
