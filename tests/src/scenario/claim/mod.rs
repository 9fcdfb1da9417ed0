//! What a scenario says about single measurements: the matrix, the detail of a path, a share of failures, a node's own word.
//!
//! | Step | What has to be so |
//! |---|---|
//! | `matrix: {within: 40s, expect: [{layer: mtu/pod/v4, down: [{from: victim}]}]}` | exactly these cells are unhealthy, in all layers; see [`matrix`] |
//! | `path: {within: 40s, layer: mtu/pod/v4, from: victim, detail: {mtu: {forward: 1400}}}` | what the newest probe of these paths found; see [`path`] |
//! | `share: {during: 90s, of: lost-probes, layer: dns-udp/pod/v4, percent: 20, tolerance: 3}` | how often it failed, over all nodes; see [`share`] |
//! | `node: {within: 40s, name: victim, self_health: {invalid_probes: {at_least: 1}}}` | what its prober says about itself; see [`node`] |
//!
//! Each of them waits until it is so, at most `within` from the last thing that was broken or healed. Cells are named by
//! roles, zones and targets ([`cells`]), layers as `kind/plane/family` with `*` for any ([`layers`]). Everything here is
//! pure: it takes what the API answered.

pub mod cells;
pub mod detail;
pub mod grid;
pub mod ground;
pub mod layers;
pub mod matrix;
pub mod node;
pub mod path;
pub mod share;
pub mod value;
