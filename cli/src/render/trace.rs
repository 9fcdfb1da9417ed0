//! Where packets end: the hops of a trace.

use meshprobe_core::icmp;
use meshprobe_core::path::Family;
use meshprobe_proto::v1;

use super::style::{BAD, GOOD, paint};
use super::table::{Cell, Table};
use super::time;

/// The conclusion, then a line for each hop.
pub fn render(route: &v1::TraceRoute) -> String {
    let last = route.hops.iter().rfind(|hop| !hop.address.is_empty());
    let conclusion = match (route.reached, last) {
        (true, _) => paint(GOOD, "the target answers"),
        (false, Some(hop)) => paint(
            BAD,
            &format!("ends after {} (hop {})", hop.address, hop.ttl),
        ),
        (false, None) => paint(BAD, "no hop answers"),
    };
    let ports = format!("{} -> {}", route.source_port, route.destination_port);
    let mut text = format!("  trace, ports {ports}: {conclusion}\n");
    let mut table = Table::new(&["    HOP", "ADDRESS", "TIME", "ICMP"]);
    for hop in &route.hops {
        let silent = hop.address.is_empty();
        let address = if silent { "*" } else { hop.address.as_str() };
        let icmp = hop.icmp_type.map_or(String::new(), |kind| {
            meaning(kind, hop.icmp_code.unwrap_or(0), hop.address.contains(':'))
        });
        let time = if silent {
            String::new()
        } else {
            time::rtt(hop.rtt_micros as f64 / 1e6)
        };
        table.push(vec![
            Cell::from(format!("    {}", hop.ttl)),
            Cell::from(address),
            Cell::from(time),
            Cell::from(icmp),
        ]);
    }
    text.push_str(&table.render());
    text
}

/// In words; numbers that no message has are shown as they are.
fn meaning(kind: u32, code: u32, is_v6: bool) -> String {
    let family = if is_v6 { Family::V6 } else { Family::V4 };
    match (u8::try_from(kind), u8::try_from(code)) {
        (Ok(kind), Ok(code)) => icmp::meaning(kind, code, family),
        _ => format!("type {kind} code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_ends_names_the_last_hop_that_answered() {
        let hop = |ttl, address: &str, icmp_type| v1::Hop {
            ttl,
            address: address.into(),
            rtt_micros: 310,
            icmp_type,
            icmp_code: icmp_type.map(|_| 0),
        };
        let route = v1::TraceRoute {
            source_port: 40_000,
            destination_port: 4_862,
            hops: vec![hop(1, "10.244.1.1", Some(11)), hop(2, "", None)],
            ..v1::TraceRoute::default()
        };
        let text = anstream::adapter::strip_str(&render(&route)).to_string();
        assert!(text.contains("ends after 10.244.1.1 (hop 1)"), "{text}");
        assert!(text.contains("hop limit exceeded"), "{text}");
        let reached = v1::TraceRoute {
            reached: true,
            ..route
        };
        assert!(render(&reached).contains("the target answers"));
    }

    #[test]
    fn an_unknown_message_keeps_its_numbers() {
        assert_eq!(meaning(3, 4, false), "fragmentation needed");
        assert_eq!(meaning(2, 0, true), "packet too big");
        assert_eq!(meaning(42, 7, false), "type 42 code 7");
        assert_eq!(meaning(300, 7, false), "type 300 code 7");
    }
}
