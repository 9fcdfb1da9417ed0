//! An incident as a scenario file names it, and what that is in a cluster.
//!
//! | In the file | Scope |
//! |---|---|
//! | `nodes: [victim]` | these nodes |
//! | `from: victim, to: witness` | one way from a node to another |
//! | `zone: zone-a` | a zone towards all others |
//! | `zones: [zone-a, zone-b]` | from the first zone to the second; with `both_ways: true` there and back |
//! | `everywhere: true`, or nothing | from every node |
//!
//! `kind`, `family` and `target` narrow it. `evidence`, `loss` and `plane` say what else has to be told.

use meshprobe_core::finding::{Pattern, Place, Scope};
use meshprobe_core::ids::NodeName;
use meshprobe_core::path::{Family, Plane, ProbeKind};
use serde::Deserialize;

use super::cast::{Cast, CastError};
use super::claim::ground::Ground;
use super::expected::{Expected, ShareExpected, What};

/// An incident as a scenario file names it: its pattern, its scope with roles in the place of nodes, and what backs it.
///
/// At most one of `nodes`, `from` with `to`, `zone` and `zones` says where; none of them means everywhere, which
/// `everywhere: true` says aloud.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedIncident {
    pub pattern: Option<Pattern>,
    /// The roles of the nodes that it blames.
    pub nodes: Vec<String>,
    /// One way from this role …
    pub from: Option<String>,
    /// … to this one.
    pub to: Option<String>,
    pub zone: Option<String>,
    /// Two zones: from the first to the second.
    pub zones: Vec<String>,
    /// Of `zones`: there and back.
    pub both_ways: bool,
    pub everywhere: bool,
    pub kind: Option<ProbeKind>,
    pub family: Option<Family>,
    /// A target that is no node, by its name.
    pub target: Option<String>,
    /// The broken plane; absent: either is right.
    pub plane: Option<Plane>,
    /// Words that its sentence or its evidence must have.
    pub evidence: Vec<String>,
    /// The share that it says is lost.
    pub loss: Option<ShareExpected>,
    /// It may end and open again while its cause lasts: the cause comes and goes.
    pub may_reopen: bool,
}

/// An incident that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpectedError {
    #[error("an incident has no `pattern`")]
    NoPattern,
    #[error(
        "{pattern}: its place is said more than once; write one of `nodes`, `from` with `to`, `zone`, `zones`, `everywhere`"
    )]
    TwoPlaces { pattern: Pattern },
    #[error("{pattern}: `from` and `to` belong together")]
    HalfPath { pattern: Pattern },
    #[error(
        "{pattern}: `zones` are two, such as [zone-a, zone-b], and `both_ways` belongs to them"
    )]
    NotTwoZones { pattern: Pattern },
    #[error("{pattern}: `{zone}` is no zone; the zones are {known}")]
    UnknownZone {
        pattern: Pattern,
        zone: String,
        known: String,
    },
    #[error("{pattern}: `loss` is a percentage, and so is its tolerance in points")]
    NoShare { pattern: Pattern },
    #[error(transparent)]
    Cast(#[from] CastError),
    #[error("{name} cannot be the name of a node")]
    Name { name: String },
}

impl ExpectedIncident {
    /// With nodes in the place of roles.
    pub fn resolve(&self, cast: &Cast, ground: &Ground) -> Result<Expected, ExpectedError> {
        let pattern = self.pattern.ok_or(ExpectedError::NoPattern)?;
        if let Some(ShareExpected {
            percent, tolerance, ..
        }) = self.loss
            && !((0.0..=100.0).contains(&percent) && (0.0..=100.0).contains(&tolerance))
        {
            return Err(ExpectedError::NoShare { pattern });
        }
        let mut scope = self.place(pattern, cast, ground)?;
        scope.kind = self.kind;
        scope.family = self.family;
        scope.target.clone_from(&self.target);
        Ok(Expected {
            what: What::of(pattern, &scope),
            plane: self.plane,
            evidence: self
                .evidence
                .iter()
                .map(|text| cast.fill_in(text))
                .collect(),
            loss: self.loss,
            may_reopen: self.may_reopen,
        })
    }

    /// Every word of it that is a role.
    pub fn roles_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let path = [&mut self.from, &mut self.to];
        self.nodes.iter_mut().chain(path.into_iter().flatten())
    }

    fn place(
        &self,
        pattern: Pattern,
        cast: &Cast,
        ground: &Ground,
    ) -> Result<Scope, ExpectedError> {
        let is_path = self.from.is_some() || self.to.is_some();
        let places = [
            !self.nodes.is_empty(),
            is_path,
            self.zone.is_some(),
            !self.zones.is_empty(),
            self.everywhere,
        ];
        if places.into_iter().filter(|is_said| *is_said).count() > 1 {
            return Err(ExpectedError::TwoPlaces { pattern });
        }
        let zone = |zone: &String| {
            if ground.zones.contains(zone) {
                return Ok(zone.clone());
            }
            Err(ExpectedError::UnknownZone {
                pattern,
                zone: zone.clone(),
                known: ground.zones.join(", "),
            })
        };
        if !self.nodes.is_empty() {
            let nodes: Result<Vec<NodeName>, ExpectedError> = self
                .nodes
                .iter()
                .map(|role| played_by(role, cast))
                .collect();
            return Ok(Scope::nodes(nodes?));
        }
        if is_path {
            let (Some(from), Some(to)) = (&self.from, &self.to) else {
                return Err(ExpectedError::HalfPath { pattern });
            };
            return Ok(Scope::path(played_by(from, cast)?, played_by(to, cast)?));
        }
        if let Some(name) = &self.zone {
            return Ok(Scope::of(Place::Zone(zone(name)?)));
        }
        match (self.zones.as_slice(), self.both_ways) {
            ([], false) => Ok(Scope::everywhere()),
            ([one, other], true) => Ok(Scope::zones(zone(one)?, zone(other)?)),
            ([from, to], false) => Ok(Scope::zone_pair(zone(from)?, zone(to)?)),
            _ => Err(ExpectedError::NotTwoZones { pattern }),
        }
    }
}

fn played_by(role: &str, cast: &Cast) -> Result<NodeName, ExpectedError> {
    let name = cast.node(role)?;
    NodeName::try_from(name).map_err(|_| ExpectedError::Name {
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn resolved(text: &str) -> Result<Expected, String> {
        let incident: ExpectedIncident =
            meshprobe_daemon::config::parse(text, Path::new("incident"))
                .map_err(|e| e.to_string())?;
        let nodes: Vec<String> = (1..=3).map(|n| format!("mesh-{n}")).collect();
        let roles = ["victim".to_owned(), "witness".to_owned()];
        let cast = Cast::assign(&roles, &nodes, 1).expect("a cast");
        let ground = Ground::on_paper(2);
        let of_victim = |text: String| {
            let victim = cast.node("victim").expect("a node");
            let witness = cast.node("witness").expect("a node");
            text.replace(victim, "V").replace(witness, "W")
        };
        let mut expected = incident
            .resolve(&cast, &ground)
            .map_err(|e| e.to_string())?;
        expected.what.scope = of_victim(expected.what.scope);
        expected.evidence = expected.evidence.into_iter().map(of_victim).collect();
        Ok(expected)
    }

    #[test]
    fn every_place_becomes_its_scope() {
        for (text, scope) in [
            ("{pattern: node-dark, nodes: [victim]}", "V"),
            ("{pattern: path, from: victim, to: witness}", "V→W"),
            ("{pattern: zone, zone: zone-a}", "zone zone-a"),
            (
                "{pattern: zone-pair, zones: [zone-b, zone-a], both_ways: true}",
                "zone-a↔zone-b",
            ),
            (
                "{pattern: zone-pair, zones: [zone-b, zone-a]}",
                "zone-b→zone-a",
            ),
            ("{pattern: external, everywhere: true}", "everywhere"),
            ("{pattern: dns-server, target: dns-1}", "dns-1"),
            ("{pattern: kind, nodes: [victim], kind: udp}", "V udp"),
            ("{pattern: family, family: v6}", "everywhere v6"),
        ] {
            assert_eq!(
                resolved(text).map(|one| one.what.scope),
                Ok(scope.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn evidence_names_nodes_by_their_roles() {
        let one = resolved(
            "{pattern: node-dark, nodes: [victim], evidence: [hears from witness no more]}",
        );
        assert_eq!(
            one.map(|one| one.evidence),
            Ok(vec!["hears from W no more".to_owned()])
        );
    }

    #[test]
    fn what_cannot_be_an_incident_is_refused() {
        for (text, part) in [
            ("{nodes: [victim]}", "no `pattern`"),
            (
                "{pattern: path, nodes: [victim], everywhere: true}",
                "more than once",
            ),
            ("{pattern: path, from: victim}", "belong together"),
            ("{pattern: zone-pair, zones: [zone-a]}", "are two"),
            ("{pattern: zone-pair, both_ways: true}", "are two"),
            (
                "{pattern: zone-pair, zones: [zone-a, zone-x]}",
                "`zone-x` is no zone",
            ),
            (
                "{pattern: node-dark, nodes: [nobody]}",
                "`nobody` is no role",
            ),
            (
                "{pattern: mesh, loss: {percent: 101, tolerance: 1, within: 5s}}",
                "percentage",
            ),
            ("{pattern: mesh, colour: red}", "colour"),
        ] {
            let error = resolved(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
