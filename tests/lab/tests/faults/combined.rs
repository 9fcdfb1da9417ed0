//! Several faults at once, and faults that cannot be.

use anyhow::ensure;
use meshprobe_lab::{Fault, Lab};

use crate::state::{ensure_healthy, ensure_same, snapshot, start_servers};
use crate::ways::{node, one_way, service_home};

pub(crate) fn two_faults(lab: &Lab) -> anyhow::Result<()> {
    start_servers(lab)?;
    let before = snapshot(lab)?;
    let inject = |text: &str| -> anyhow::Result<_> { Ok(text.parse::<Fault>()?.inject(lab)?) };
    let (from, to) = (node(lab, "mesh-4"), node(lab, "mesh-6"));
    for first_goes_first in [true, false] {
        let one_direction = inject("path-one-way mesh-4 mesh-6")?;
        let other_direction = inject("path-one-way mesh-6 mesh-4")?;
        ensure!(!one_way(lab, from, to)? && !one_way(lab, to, from)?);
        if first_goes_first {
            one_direction.heal()?;
            ensure!(one_way(lab, from, to)? && !one_way(lab, to, from)?);
            other_direction.heal()?;
        } else {
            other_direction.heal()?;
            ensure!(!one_way(lab, from, to)? && one_way(lab, to, from)?);
            one_direction.heal()?;
        }
        ensure_same(&before, &snapshot(lab)?)?;
    }
    let dark = inject("node-dark mesh-3")?;
    let dns = inject("dns-instance-down dns-1")?;
    let same_node = inject("ingress-dead mesh-3")?;
    dark.heal()?;
    ensure!(!one_way(lab, to, node(lab, "mesh-3"))? && one_way(lab, node(lab, "mesh-3"), to)?);
    same_node.heal()?;
    dns.heal()?;
    ensure_same(&before, &snapshot(lab)?)?;
    ensure_healthy(lab)
}

pub(crate) fn shared_thing(lab: &Lab) -> anyhow::Result<()> {
    start_servers(lab)?;
    let before = snapshot(lab)?;
    let inject = |text: &str| -> anyhow::Result<_> { Ok(text.parse::<Fault>()?.inject(lab)?) };
    let (from, to) = (node(lab, "mesh-4"), node(lab, "mesh-6"));
    let all = inject("overlay-routes-missing mesh-4")?;
    let one = inject("overlay-one-route mesh-4 mesh-6")?;
    all.heal()?;
    ensure!(
        !one_way(lab, from, to)?,
        "the second fault still holds the route"
    );
    ensure!(one_way(lab, from, node(lab, "mesh-5"))?);
    one.heal()?;
    let isolated = inject("aggregator-isolated")?;
    let dark = inject("node-dark mesh-1")?;
    isolated.heal()?;
    ensure!(
        !service_home(lab, from)?,
        "the second fault still holds the link"
    );
    dark.heal()?;
    ensure_same(&before, &snapshot(lab)?)?;
    ensure_healthy(lab)
}

pub(crate) fn dropped_fault(lab: &Lab) -> anyhow::Result<()> {
    start_servers(lab)?;
    let before = snapshot(lab)?;
    drop("ingress-dead mesh-2".parse::<Fault>()?.inject(lab)?);
    drop(
        "overlay-routes-missing mesh-2"
            .parse::<Fault>()?
            .inject(lab)?,
    );
    ensure_same(&before, &snapshot(lab)?)
}

pub(crate) fn wrong_places(lab: &Lab) -> anyhow::Result<()> {
    let before = snapshot(lab)?;
    for (text, message) in [
        (
            "node-dark mesh-7",
            "there is no node `mesh-7`; the nodes are mesh-1, mesh-2, mesh-3, mesh-4, mesh-5, mesh-6",
        ),
        (
            "zone-partition zone-a zone-c",
            "there is no zone `zone-c`; the zones are zone-a, zone-b",
        ),
        (
            "dns-instance-down dns-3",
            "there is no DNS instance `dns-3`; the instances are dns-1, dns-2",
        ),
        (
            "path-one-way mesh-1 mesh-1",
            "`path-one-way mesh-1 mesh-1` names the same place twice",
        ),
        (
            "overlay-one-route mesh-1 mesh-9",
            "there is no node `mesh-9`; the nodes are mesh-1, mesh-2, mesh-3, mesh-4, mesh-5, mesh-6",
        ),
    ] {
        let error = text.parse::<Fault>()?.inject(lab).expect_err(text);
        ensure!(error.to_string() == message, "{text}: {error}");
    }
    ensure_same(&before, &snapshot(lab)?)
}
