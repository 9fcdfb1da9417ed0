//! A fault from text: `node-dark mesh-3`.

mod network;
mod services;

use std::str::FromStr;
use std::time::Duration;

use super::catalogue::{CATALOGUE, FaultInfo};
use super::{Direction, Fault, Percent, Place, duration};

/// The pause of a virtual machine's live migration.
const DEFAULT_FREEZE: Duration = Duration::from_millis(800);
/// A name further from the text than this is no likely misspelling.
const LARGEST_TYPO: usize = 3;

/// The text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseFaultError {
    #[error("no fault is named; the faults are: {}", names())]
    Empty,
    #[error(
        "there is no fault `{name}`{}; the faults are: {}",
        suggestion(name),
        names()
    )]
    Unknown { name: String },
    #[error("{what}; write `{usage}`")]
    Arguments { what: String, usage: String },
}

fn names() -> String {
    let names: Vec<&str> = CATALOGUE.iter().map(|info| info.name).collect();
    names.join(", ")
}

fn suggestion(name: &str) -> String {
    CATALOGUE
        .iter()
        .map(|info| (distance(name, info.name), info.name))
        .filter(|(distance, _)| *distance <= LARGEST_TYPO)
        .min()
        .map(|(_, nearest)| format!(" (did you mean `{nearest}`?)"))
        .unwrap_or_default()
}

/// Letters to insert, remove or replace to make one word of the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, left) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, letter) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *letter);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// The words after a fault's name.
struct Words<'text> {
    info: &'static FaultInfo,
    words: std::str::SplitWhitespace<'text>,
}

impl Words<'_> {
    fn error(&self, what: impl Into<String>) -> ParseFaultError {
        ParseFaultError::Arguments {
            what: what.into(),
            usage: self.info.usage(),
        }
    }

    fn next(&mut self, what: &str) -> Result<String, ParseFaultError> {
        match self.words.next() {
            Some(word) => Ok(word.to_owned()),
            None => Err(self.error(format!("`{}` needs {what}", self.info.name))),
        }
    }

    fn end(mut self) -> Result<(), ParseFaultError> {
        match self.words.next() {
            Some(word) => Err(self.error(format!("`{word}` is one word too many"))),
            None => Ok(()),
        }
    }
}

impl FromStr for Fault {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace();
        let name = words.next().ok_or(ParseFaultError::Empty)?;
        let info = CATALOGUE
            .iter()
            .find(|info| info.name == name)
            .ok_or_else(|| ParseFaultError::Unknown {
                name: name.to_owned(),
            })?;
        let mut words = Words { info, words };
        let fault = parse_arguments(&mut words)?;
        words.end()?;
        Ok(fault)
    }
}

fn parse_arguments(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    let name = words.info.name;
    if let Some(fault) = network::parse(words) {
        return fault;
    }
    if let Some(fault) = services::parse(words) {
        return fault;
    }
    if name == "aggregator-isolated" {
        return Ok(Fault::AggregatorIsolated);
    }
    if name == "loss" {
        return parse_loss(words);
    }
    if name == "zone-partition" {
        let zone = words.next("two zones")?;
        let other = words.next("a second zone")?;
        return Ok(Fault::ZonePartition { zone, other });
    }
    if name == "dns-instance-down" {
        let instance = words.next("a DNS instance")?;
        return Ok(Fault::DnsInstanceDown { instance });
    }
    let node = words.next("a node")?;
    Ok(match name {
        "node-dark" => Fault::NodeDark { node },
        "node-freeze" => Fault::NodeFreeze {
            node,
            duration: parse_freeze(words)?,
        },
        "prober-down" => Fault::ProberDown { node },
        "reports-cut" => Fault::ReportsCut { node },
        "ingress-dead" => Fault::IngressDead { node },
        "egress-dead" => Fault::EgressDead { node },
        "overlay-routes-missing" => Fault::OverlayRoutesMissing { node },
        "overlay-one-route" => Fault::OverlayOneRoute {
            node,
            to: words.next("a second node")?,
        },
        "overlay-port-blocked" => Fault::OverlayPortBlocked { at: place(node) },
        "path-one-way" => Fault::PathOneWay {
            from: node,
            to: words.next("a second node")?,
        },
        "udp-blocked" => Fault::UdpBlocked { at: place(node) },
        "tcp-blocked" => Fault::TcpBlocked { at: place(node) },
        "dns-blocked" => Fault::DnsBlocked { node },
        "vip-broken" => Fault::VipBroken { node },
        _ => {
            unreachable!("every fault of the catalogue is parsed: a test goes through all of them")
        }
    })
}

fn parse_freeze(words: &mut Words<'_>) -> Result<Duration, ParseFaultError> {
    let Some(word) = words.words.next() else {
        return Ok(DEFAULT_FREEZE);
    };
    duration::parse(word).ok_or_else(|| {
        words.error(format!(
            "`{word}` is no time such as 800ms or 2s, at most 60s"
        ))
    })
}

fn parse_loss(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    let percent: Percent = words
        .next("a percentage")?
        .parse()
        .map_err(|error| words.error(format!("{error}")))?;
    let at = place(words.next("a node or `all`")?);
    let direction = parse_direction(words)?.unwrap_or(Direction::In);
    Ok(Fault::Loss {
        percent,
        at,
        direction,
    })
}

fn place(word: String) -> Place {
    if word == "all" {
        Place::Everywhere
    } else {
        Place::Node(word)
    }
}

fn parse_direction(words: &mut Words<'_>) -> Result<Option<Direction>, ParseFaultError> {
    match words.words.next() {
        None => Ok(None),
        Some("in") => Ok(Some(Direction::In)),
        Some("out") => Ok(Some(Direction::Out)),
        Some("both") => Ok(Some(Direction::Both)),
        Some(word) => Err(words.error(format!("`{word}` is no direction"))),
    }
}

impl TryFrom<String> for Fault {
    type Error = ParseFaultError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_catalogue_is_parsed_and_printed_back() {
        for info in CATALOGUE {
            let arguments = info
                .arguments
                .replace("NODE|all [in|out|both]", "mesh-4 both")
                .replace("[NODE|all]", "mesh-4")
                .replace("NODE|all", "all")
                .replace("[in|out|both]", "out")
                .replace("[one-way|both]", "one-way")
                .replace("[FAILING/OF]", "3/32")
                .replace("[PERCENT] [INSTANCE]", "15% dns-2")
                .replace("[search|nameserver]", "nameserver")
                .replace("[refused|silent]", "silent")
                .replace("STATUS", "502")
                .replace("[PERCENT]", "2%")
                .replace("PERCENT", "12.5%")
                .replace("[BYTES]", "1380")
                .replace("BYTES", "1301")
                .replace("[PERIOD]", "4000ms")
                .replace("[DURATION]", "250ms");
            let text = format!("{} {}", info.name, arguments.to_lowercase())
                .trim_end()
                .to_owned();
            let fault: Fault = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(fault.name(), info.name);
            assert_eq!(fault.to_string(), text);
            let json = serde_json::to_string(&fault).expect("a string");
            assert_eq!(
                serde_json::from_str::<Fault>(&json).expect("the same fault"),
                fault
            );
        }
    }

    #[test]
    fn what_may_be_left_out_has_its_default() {
        let freeze: Fault = "node-freeze mesh-2".parse().expect("a fault");
        assert_eq!(freeze.to_string(), "node-freeze mesh-2 800ms");
        let loss: Fault = "loss 30 all".parse().expect("a fault");
        assert_eq!(loss.to_string(), "loss 30% all in");
        for (short, full) in [
            (
                "mtu-blackhole mesh-2 1300",
                "mtu-blackhole mesh-2 1300 both",
            ),
            ("mtu-overlay-too-big", "mtu-overlay-too-big 1400"),
            (
                "ecmp-member zone-a zone-b",
                "ecmp-member zone-a zone-b 1/16 both",
            ),
            (
                "ecmp-member zone-a zone-b one-way",
                "ecmp-member zone-a zone-b 1/16 one-way",
            ),
            ("v6-dead", "v6-dead all"),
            ("throttled-prober mesh-2", "throttled-prober mesh-2 1%"),
            ("flapping mesh-2", "flapping mesh-2 20000ms"),
        ] {
            let fault: Fault = short.parse().expect("a fault");
            assert_eq!(fault.to_string(), full);
        }
    }

    #[test]
    fn a_wrong_text_is_refused_with_what_to_write() {
        let error = |text: &str| text.parse::<Fault>().expect_err("refused").to_string();
        assert!(error("node-drak mesh-3").starts_with(
            "there is no fault `node-drak` (did you mean `node-dark`?); the faults are: node-dark, "
        ));
        assert!(
            error("earthquake")
                .starts_with("there is no fault `earthquake`; the faults are: node-dark, ")
        );
        assert!(error(" ").starts_with("no fault is named; the faults are: node-dark, "));
        assert_eq!(
            error("node-dark"),
            "`node-dark` needs a node; write `node-dark NODE`"
        );
        assert_eq!(
            error("path-one-way mesh-1"),
            "`path-one-way` needs a second node; write `path-one-way FROM TO`"
        );
        assert_eq!(
            error("node-dark a b"),
            "`b` is one word too many; write `node-dark NODE`"
        );
        assert_eq!(
            error("aggregator-isolated x"),
            "`x` is one word too many; write `aggregator-isolated`"
        );
        assert_eq!(
            error("loss 300 all"),
            "a loss is between 0.01% and 100%; write `loss PERCENT NODE|all [in|out|both]`"
        );
        assert_eq!(
            error("mtu-blackhole mesh-1 100"),
            "a packet size is between 576 and 9000 bytes; write `mtu-blackhole NODE BYTES [in|out|both]`"
        );
        assert_eq!(
            error("ecmp-member zone-a zone-b 3/2"),
            "`3/2` is no share of paths such as 1/16, of 2 to 1024; write `ecmp-member ZONE ZONE [FAILING/OF] [one-way|both]`"
        );
        assert_eq!(
            error("throttled-prober mesh-1 0.5"),
            "a processor quota is between 1% and 100%; write `throttled-prober NODE [PERCENT]`"
        );
        assert_eq!(
            error("node-freeze mesh-1 1h"),
            "`1h` is no time such as 800ms or 2s, at most 60s; write `node-freeze NODE [DURATION]`"
        );
    }
}
