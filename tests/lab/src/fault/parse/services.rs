//! The arguments of the faults of DNS servers, virtual IPs and external targets.

use super::{ParseFaultError, Words};
use crate::external::STATUSES;
use crate::fault::{Drift, Fault, Percent, TargetDown};

/// What a starved DNS server loses.
const DEFAULT_THROTTLE: f64 = 20.0;

/// The fault, or nothing where it is one of another kind.
pub(super) fn parse(words: &mut Words<'_>) -> Option<Result<Fault, ParseFaultError>> {
    Some(match words.info.name {
        "dns-servfail" => Ok(Fault::DnsServfail),
        "dns-nxdomain" => words.next("a name").map(|name| Fault::DnsNxdomain {
            name: name.trim_end_matches('.').to_ascii_lowercase(),
        }),
        "dns-throttled" => Ok(parse_throttled(words)),
        "dns-vip" => words.next("a node").map(|node| Fault::DnsVip { node }),
        "dns-config-drift" => parse_drift(words),
        "vip-stale-endpoint" => Ok(Fault::VipStaleEndpoint),
        "external-target-down" => parse_target_down(words),
        "tls-expired" => target(words).map(|target| Fault::TlsExpired { target }),
        "tls-handshake" => target(words).map(|target| Fault::TlsHandshake { target }),
        "http-status" => parse_status(words),
        "external-node" => words
            .next("a node")
            .map(|node| Fault::ExternalNode { node }),
        "external-all" => Ok(Fault::ExternalAll),
        _ => return None,
    })
}

fn target(words: &mut Words<'_>) -> Result<String, ParseFaultError> {
    words.next("an external target")
}

/// Both words may be left out: an instance's name is no number.
fn parse_throttled(words: &mut Words<'_>) -> Fault {
    let mut next = words.words.next();
    let mut percent = Percent::new(DEFAULT_THROTTLE)
        .unwrap_or_else(|_| unreachable!("the default is a share of packets"));
    if let Some(given) = next.and_then(|word| word.parse().ok()) {
        percent = given;
        next = words.words.next();
    }
    Fault::DnsThrottled {
        percent,
        instance: next.map(str::to_owned),
    }
}

fn parse_drift(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    let node = words.next("a node")?;
    let drift = match words.words.next() {
        None | Some("search") => Drift::Search,
        Some("nameserver") => Drift::Nameserver,
        Some(word) => return Err(words.error(format!("`{word}` is no line of a resolv.conf"))),
    };
    Ok(Fault::DnsConfigDrift { node, drift })
}

fn parse_target_down(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    let target = target(words)?;
    let how = match words.words.next() {
        None | Some("refused") => TargetDown::Refused,
        Some("silent") => TargetDown::Silent,
        Some(word) => return Err(words.error(format!("`{word}` is no way to be down"))),
    };
    Ok(Fault::ExternalTargetDown { target, how })
}

fn parse_status(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    let target = target(words)?;
    let word = words.next("an HTTP status")?;
    let status = STATUSES
        .into_iter()
        .find(|status| word.parse() == Ok(*status));
    let status = status.ok_or_else(|| {
        let known = STATUSES.map(|status| status.to_string()).join(", ");
        words.error(format!(
            "`{word}` is no status that the lab can serve ({known})"
        ))
    })?;
    Ok(Fault::HttpStatus { target, status })
}

#[cfg(test)]
mod tests {
    use crate::fault::Fault;

    #[test]
    fn what_may_be_left_out_has_its_default() {
        for (short, full) in [
            ("dns-throttled", "dns-throttled 20%"),
            ("dns-throttled 5", "dns-throttled 5%"),
            ("dns-throttled dns-1", "dns-throttled 20% dns-1"),
            ("dns-throttled 30% dns-2", "dns-throttled 30% dns-2"),
            (
                "dns-nxdomain Kubernetes.default.svc.cluster.local.",
                "dns-nxdomain kubernetes.default.svc.cluster.local",
            ),
            ("dns-config-drift mesh-2", "dns-config-drift mesh-2 search"),
            (
                "external-target-down www.example.com",
                "external-target-down www.example.com refused",
            ),
        ] {
            let fault: Fault = short.parse().expect("a fault");
            assert_eq!(fault.to_string(), full);
            assert_eq!(full.parse::<Fault>(), Ok(fault));
        }
    }

    #[test]
    fn a_wrong_argument_is_refused_with_what_to_write() {
        for (text, message) in [
            (
                "http-status www.example.com 299",
                "`299` is no status that the lab can serve (400, 401, 403, 404, 429, 500, 502, 503, 504); \
                 write `http-status TARGET STATUS`",
            ),
            (
                "dns-config-drift mesh-2 options",
                "`options` is no line of a resolv.conf; write `dns-config-drift NODE [search|nameserver]`",
            ),
            (
                "external-target-down www.example.com loudly",
                "`loudly` is no way to be down; write `external-target-down TARGET [refused|silent]`",
            ),
            (
                "tls-expired",
                "`tls-expired` needs an external target; write `tls-expired TARGET`",
            ),
        ] {
            let error = text.parse::<Fault>().expect_err(text);
            assert_eq!(error.to_string(), message);
        }
    }
}
