//! The arguments of faults of packet sizes, zones, queues and families.

use std::time::Duration;

use super::{ParseFaultError, Words, parse_direction, place};
use crate::fault::{Buckets, Direction, Fault, PacketSize, Percent, Place, Ways, duration};

/// What the guides tell of managed clusters: the fabric carries 1400, the interfaces say 1500.
const DEFAULT_UNDERLAY: &str = "1400";
/// A prober that gets less cannot even be started.
const SMALLEST_QUOTA: f64 = 1.0;
const DEFAULT_PERIOD: Duration = Duration::from_secs(20);

/// `None`: the fault is none of these.
pub(super) fn parse(words: &mut Words<'_>) -> Option<Result<Fault, ParseFaultError>> {
    Some(match words.info.name {
        "mtu-blackhole" => mtu_blackhole(words),
        "mtu-signalled" => mtu_signalled(words),
        "mtu-overlay-too-big" => packet_size(words, Some(DEFAULT_UNDERLAY))
            .map(|bytes| Fault::MtuOverlayTooBig { bytes }),
        "ecmp-member" => ecmp_member(words),
        "zone-lossy" => zone_lossy(words),
        "slow-node" => words.next("a node").map(|node| Fault::SlowNode { node }),
        "conntrack-full" => words
            .next("a node")
            .map(|node| Fault::ConntrackFull { node }),
        "v6-dead" => Ok(Fault::V6Dead {
            at: words
                .words
                .next()
                .map_or(Place::Everywhere, |word| place(word.to_owned())),
        }),
        "throttled-prober" => throttled_prober(words),
        "address-conflict" => address_conflict(words),
        "overlay-backend-mix" => words
            .next("a node")
            .map(|node| Fault::OverlayBackendMix { node }),
        "flapping" => flapping(words),
        _ => return None,
    })
}

fn packet_size(
    words: &mut Words<'_>,
    default: Option<&str>,
) -> Result<PacketSize, ParseFaultError> {
    let word = match (words.words.next(), default) {
        (Some(word), _) => word,
        (None, Some(default)) => default,
        (None, None) => return Err(words.error(format!("`{}` needs a size", words.info.name))),
    };
    word.parse()
        .map_err(|error| words.error(format!("{error}")))
}

fn mtu_blackhole(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    Ok(Fault::MtuBlackhole {
        node: words.next("a node")?,
        bytes: packet_size(words, None)?,
        direction: parse_direction(words)?.unwrap_or(Direction::Both),
    })
}

fn mtu_signalled(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    Ok(Fault::MtuSignalled {
        node: words.next("a node")?,
        bytes: packet_size(words, None)?,
    })
}

fn ecmp_member(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    let zone = words.next("two zones")?;
    let other = words.next("a second zone")?;
    let mut word = words.words.next();
    let mut failing = Buckets::default();
    if let Some(share) = word.filter(|word| ways(word).is_none()) {
        failing = share
            .parse()
            .map_err(|error| words.error(format!("`{share}` is {error}")))?;
        word = words.words.next();
    }
    let ways = match word {
        None => Ways::Both,
        Some(word) => ways(word)
            .ok_or_else(|| words.error(format!("`{word}` is neither `one-way` nor `both`")))?,
    };
    Ok(Fault::EcmpMember {
        zone,
        other,
        failing,
        ways,
    })
}

fn ways(word: &str) -> Option<Ways> {
    match word {
        "one-way" => Some(Ways::OneWay),
        "both" => Some(Ways::Both),
        _ => None,
    }
}

fn zone_lossy(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    Ok(Fault::ZoneLossy {
        percent: words
            .next("a percentage")?
            .parse()
            .map_err(|error| words.error(format!("{error}")))?,
        zone: words.next("two zones")?,
        other: words.next("a second zone")?,
    })
}

fn throttled_prober(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    let node = words.next("a node")?;
    let quota = words.words.next().unwrap_or("1%").parse();
    let percent = quota
        .ok()
        .filter(|percent: &Percent| percent.as_f64() >= SMALLEST_QUOTA)
        .ok_or_else(|| words.error("a processor quota is between 1% and 100%"))?;
    Ok(Fault::ThrottledProber { node, percent })
}

fn address_conflict(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    Ok(Fault::AddressConflict {
        node: words.next("a node")?,
        other: words.next("a second node")?,
    })
}

fn flapping(words: &mut Words<'_>) -> Result<Fault, ParseFaultError> {
    let node = words.next("a node")?;
    let period = match words.words.next() {
        None => DEFAULT_PERIOD,
        Some(word) => duration::parse(word).ok_or_else(|| {
            words.error(format!(
                "`{word}` is no time such as 800ms or 20s, at most 60s"
            ))
        })?,
    };
    Ok(Fault::Flapping { node, period })
}
