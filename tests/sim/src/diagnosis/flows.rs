//! Source ports, and what a path's prober says of them.

use meshprobe_core::detail::{Detail, UdpDetail};
use meshprobe_core::path::{Layer, ProbeKind};
use meshprobe_prober::udp::flow::{FIXED_FLOWS, FLOWS, ROTATION};

use super::engine::path_id;
use super::path::Row;
use super::wire::{Condition, DeadFlows};
use super::world::{LayerSpec, World};

/// Ports of a prober begin here; each new one is another one.
const FIRST_PORT: u16 = 20_000;

/// The source port of a turn: half of the ports stay, the others are replaced in turn.
pub(super) fn port(source: usize, turn: u8, now: u32) -> u16 {
    let place = u32::from(turn % FLOWS);
    let own = mix(source as u64) as u16 % 1_000;
    let generation = generation(place, now).unwrap_or(0);
    FIRST_PORT + (own * 8 + place as u16 + 8 * (generation as u16)) % 40_000
}

/// How often the port at this place was replaced; `None`: it stays.
fn generation(place: u32, now: u32) -> Option<u32> {
    let rotating = u32::from(FLOWS - FIXED_FLOWS);
    let place = place.checked_sub(u32::from(FIXED_FLOWS))?;
    let rotations = now / ROTATION.as_secs() as u32;
    Some((rotations + rotating - 1 - place) / rotating)
}

/// Does a probe from this port die on its way, and on its way back?
pub(super) fn is_dead(
    condition: &Condition,
    layer: Layer,
    (source, target): (usize, usize),
    port: u16,
    now: u32,
) -> (bool, bool) {
    let dead = |flows: Option<DeadFlows>, ends: (usize, usize)| match flows {
        None => false,
        // Only STAMP keeps its ports: any other probe is a flow of its own.
        Some(DeadFlows::Buckets { failing, of }) => {
            let port = if layer.kind == ProbeKind::Udp {
                u64::from(port)
            } else {
                u64::from(now) << 20
            };
            let tuple = mix(ends.0 as u64) ^ mix((ends.1 as u64) << 20) ^ mix(port << 40);
            mix(tuple) % u64::from(of) < u64::from(failing)
        }
        Some(DeadFlows::NewerThan(since)) => {
            let place =
                (0..u32::from(FLOWS)).find(|place| self::port(source, *place as u8, now) == port);
            let replaced =
                place.and_then(|place| Some(generation(place, now)? != generation(place, since)?));
            replaced.unwrap_or(false)
        }
    };
    (
        dead(condition.forward_flows, (source, target)),
        dead(condition.back_flows, (target, source)),
    )
}

/// Before a report: what is known of the flows of lossy paths.
pub(super) fn tell(spec: &LayerSpec, row: &mut Row, now: u32) {
    if spec.layer.kind != ProbeKind::Udp {
        return;
    }
    for (target, path) in &mut row.paths {
        // News only: where something was sent in this window.
        if path.touched + 60 < now {
            path.detail = None;
            continue;
        }
        let flows = row.flows.summary(path_id(*target));
        let found = row.conditions.binary_search_by_key(target, |(at, _)| *at);
        let other = found.ok().and_then(|at| row.conditions[at].1.answers);
        let is_news = flows.is_some() || other.is_some();
        path.detail = is_news.then(|| {
            Detail::Udp(UdpDetail {
                ttl: Some(62),
                flows,
                answered_by: other.map_or_else(String::new, |node| World::name(node).to_string()),
                ..UdpDetail::default()
            })
        });
    }
}

/// The finaliser of `SplitMix64`.
const fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
