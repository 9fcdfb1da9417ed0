//! Which receivers an incident is for. Pure.

use std::collections::BTreeMap;

use meshprobe_core::ids::NodeName;

use crate::{
    config::{Config, Glob, MatchConfig, RouteConfig},
    incident::{Incident, Severity},
};

/// Receivers, and whether each wants to hear the end.
pub(super) type Routed = BTreeMap<String, bool>;

/// The configured routes.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    routes: Vec<Route>,
    default: Routed,
}

#[derive(Clone, Debug)]
struct Route {
    matches: MatchConfig,
    min_severity: Severity,
    receivers: Routed,
    goes_on: bool,
}

impl Routing {
    /// The routes of a checked configuration.
    pub fn of(config: &Config) -> Self {
        let wants: BTreeMap<&str, bool> = config
            .receivers
            .iter()
            .map(|receiver| (receiver.name.value.as_str(), receiver.send_resolved))
            .collect();
        let by_name = |names: &mut dyn Iterator<Item = &str>, send_resolved: Option<bool>| {
            names
                .filter_map(|name| {
                    let wants = send_resolved.or_else(|| wants.get(name).copied())?;
                    Some((name.to_owned(), wants))
                })
                .collect()
        };
        let notifications = &config.notifications;
        let routes = notifications.routes.iter().map(|route| {
            let RouteConfig {
                r#match,
                min_severity,
                receivers,
                send_resolved,
                r#continue,
            } = route;
            Route {
                matches: r#match.clone(),
                min_severity: min_severity.unwrap_or(Severity::Info),
                receivers: by_name(
                    &mut receivers.iter().map(|name| name.value.as_str()),
                    *send_resolved,
                ),
                goes_on: *r#continue,
            }
        });
        let default = match &notifications.default_receivers {
            Some(names) => by_name(&mut names.iter().map(|name| name.value.as_str()), None),
            None => by_name(&mut wants.keys().copied(), None),
        };
        Self {
            routes: routes.collect(),
            default,
        }
    }

    /// Who is told of this incident. `labels` knows those of a node.
    pub(super) fn of_incident(
        &self,
        incident: &Incident,
        labels: &dyn Fn(&NodeName) -> BTreeMap<String, String>,
    ) -> Routed {
        let mut routed = Routed::new();
        let mut found = false;
        for route in &self.routes {
            if incident.severity < route.min_severity || !fits(&route.matches, incident, labels) {
                continue;
            }
            found = true;
            for (name, wants) in &route.receivers {
                *routed.entry(name.clone()).or_default() |= wants;
            }
            if !route.goes_on {
                return routed;
            }
        }
        if found { routed } else { self.default.clone() }
    }
}

fn fits(
    matches: &MatchConfig,
    incident: &Incident,
    labels: &dyn Fn(&NodeName) -> BTreeMap<String, String>,
) -> bool {
    let MatchConfig {
        pattern,
        severity,
        zone,
        node,
        label,
        target,
    } = matches;
    let any = |globs: &[Glob], text: &str| globs.iter().any(|glob| glob.fits(text));
    let pattern_fits = pattern.is_empty()
        || pattern
            .iter()
            .any(|glob| glob.value.fits(incident.pattern.as_str()));
    pattern_fits
        && (severity.is_empty() || severity.contains(&incident.severity))
        && (zone.is_empty() || incident.zones.iter().any(|name| any(zone, name)))
        && (node.is_empty() || incident.nodes.iter().any(|name| any(node, name.as_str())))
        && (target.is_empty()
            || incident
                .scope
                .target
                .as_ref()
                .is_some_and(|name| any(target, name)))
        && label.iter().all(|(key, values)| {
            incident.nodes.iter().any(|name| {
                labels(name)
                    .get(key)
                    .is_some_and(|value| any(values, value))
            })
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Timestamp;
    use meshprobe_core::finding::{Pattern, Scope};

    use super::*;
    use crate::notify::tests::incident;

    const RECEIVERS: &str = "receivers:
  - {name: pager, webhook: {url: 'http://a/'}}
  - {name: chat, slack: {url: 'http://b/'}, send_resolved: false}
  - {name: dns, webhook: {url: 'http://c/'}}
";

    fn routing(notifications: &str) -> Routing {
        let text = format!("{RECEIVERS}{notifications}");
        Routing::of(&meshprobe_daemon::config::parse(&text, Path::new("test")).unwrap())
    }

    fn names(routing: &Routing, incident: &Incident) -> Vec<String> {
        let labels = |name: &NodeName| {
            let team = if name.as_str() == "mesh-1" {
                "db"
            } else {
                "web"
            };
            BTreeMap::from([("team".to_owned(), team.to_owned())])
        };
        let routed = routing.of_incident(incident, &labels);
        routed
            .into_iter()
            .map(|(name, wants)| if wants { name } else { format!("{name}-") })
            .collect()
    }

    fn dark(node: &str) -> Incident {
        incident(node, Timestamp::UNIX_EPOCH)
    }

    fn dns() -> Incident {
        Incident::new(
            Pattern::DnsServer,
            Scope::target("coredns-1"),
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn without_routes_everybody_is_told_everything() {
        assert_eq!(
            names(&routing(""), &dark("mesh-1")),
            ["chat-", "dns", "pager"]
        );
        let some = routing("notifications: {default_receivers: [pager]}\n");
        assert_eq!(names(&some, &dns()), ["pager"]);
    }

    #[test]
    fn the_first_route_that_fits_decides_and_one_that_goes_on_adds() {
        let routing = routing(
            "notifications:
  routes:
    - {match: {pattern: ['*']}, min_severity: critical, receivers: [chat], send_resolved: true, continue: true}
    - {match: {pattern: ['dns-*', service-vip]}, receivers: [dns]}
    - {match: {label: {team: [db]}}, receivers: [pager]}
    - {match: {node: ['mesh-9*'], zone: [z1]}, receivers: []}
  default_receivers: [chat]
",
        );
        assert_eq!(names(&routing, &dns()), ["dns"]);
        assert_eq!(names(&routing, &dark("mesh-1")), ["chat", "pager"]);
        assert_eq!(names(&routing, &dark("mesh-2")), ["chat"]);
        let mut warning = dark("mesh-2");
        warning.severity = Severity::Warning;
        assert_eq!(names(&routing, &warning), ["chat-"], "the default one");
        let mut ignored = dark("mesh-99");
        ignored.severity = Severity::Warning;
        assert!(
            names(&routing, &ignored).is_empty(),
            "told to nobody on purpose"
        );
    }

    #[test]
    fn targets_zones_and_severities_are_compared() {
        let routing = routing(
            "notifications:
  routes:
    - {match: {target: ['coredns-*'], severity: [warning]}, receivers: [dns]}
    - {match: {zone: [z1]}, receivers: [pager]}
",
        );
        assert_eq!(names(&routing, &dns()), ["dns"]);
        assert_eq!(names(&routing, &dark("mesh-1")), ["pager"]);
    }
}
