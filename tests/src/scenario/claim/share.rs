//! The step `share`: how often something failed, over all nodes together, in percent.
//!
//! ```yaml
//! - share:
//!     of: failed-connections       # see `Of`
//!     layer: service/service/v4
//!     target: "echo"               # also `from`, `to`; as in `matrix`
//!     percent: 33.3
//!     tolerance: 5                 # points in either direction
//!     during: 90s                  # is counted for this long, and judged then
//!     at_least: 300                # of so many; fewer prove nothing
//! ```

use meshprobe_core::detail::Detail;
use meshprobe_daemon::config::HumanDuration;
use serde::Deserialize;

use super::cells::Cells;
use super::layers::OneLayer;

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareClaim {
    pub of: Of,
    pub layer: OneLayer,
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub to: Option<String>,
    #[serde(default)]
    pub target: Option<String>,
    pub percent: f64,
    pub tolerance: f64,
    pub during: HumanDuration,
    #[serde(default)]
    pub at_least: u64,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// Connections to a virtual IP that failed, of those in the details.
    FailedConnections,
    /// Flows of which every probe was lost, of those in the details.
    FailingFlows,
    /// Probes of the layer's kind, plane and family that were lost, as the probers count them: of all targets together.
    LostProbes,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    pub failed: u64,
    pub of: u64,
}

impl Count {
    /// What one path's detail says; `None`: nothing of the kind.
    pub fn in_detail(of: Of, detail: &Detail) -> Option<Self> {
        match (of, detail) {
            (Of::FailedConnections, Detail::Service(service)) => Some(Self {
                failed: service.failed.into(),
                of: service.tried.into(),
            }),
            (Of::FailingFlows, Detail::Udp(udp)) => {
                let flows = udp.flows.as_ref()?;
                Some(Self {
                    failed: flows.failing.into(),
                    of: flows.tested.into(),
                })
            }
            _ => None,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            failed: self.failed + other.failed,
            of: self.of + other.of,
        }
    }

    fn percent(self) -> f64 {
        self.failed as f64 * 100.0 / self.of.max(1) as f64
    }
}

impl ShareClaim {
    /// Which paths.
    pub fn cells(&self) -> Cells {
        Cells {
            from: self.from.clone(),
            to: self.to.clone(),
            target: self.target.clone(),
        }
    }

    /// What makes no sense in it.
    pub fn check(&self) -> Result<(), String> {
        if !(0.0..=100.0).contains(&self.percent) || !(0.0..=100.0).contains(&self.tolerance) {
            return Err("percent is 0 to 100, and so is the tolerance in points".to_owned());
        }
        if self.of == Of::LostProbes && self.cells() != Cells::default() {
            return Err(
                "lost-probes are counted over all paths of a layer: leave `from`, `to` and `target` out"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The share in words, and whether it is right.
    pub fn judge(&self, count: Count) -> Result<String, String> {
        let Self {
            percent, tolerance, ..
        } = self;
        let Count { failed, of } = count;
        let found = count.percent();
        let words = format!("{failed} of {of}, {found:.1} %");
        if of < self.at_least.max(1) {
            return Err(format!(
                "only {of} were counted, {} are needed",
                self.at_least
            ));
        }
        if (found - percent).abs() > *tolerance {
            return Err(format!("{words}, not {percent} % ± {tolerance}"));
        }
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use meshprobe_core::detail::{FlowLoss, ServiceDetail, UdpDetail};

    use super::*;

    fn claim(of: &str) -> ShareClaim {
        let text = format!(
            "of: {of}\nlayer: udp/pod/v4\npercent: 20\ntolerance: 3\nduring: 90s\nat_least: 100\n"
        );
        meshprobe_daemon::config::parse(&text, Path::new("claim")).expect("a claim")
    }

    #[test]
    fn a_share_is_right_inside_its_tolerance_and_of_enough_only() {
        let judge = |failed, of| claim("lost-probes").judge(Count { failed, of });
        assert_eq!(judge(23, 100), Ok("23 of 100, 23.0 %".to_owned()));
        assert_eq!(judge(17, 100), Ok("17 of 100, 17.0 %".to_owned()));
        assert!(
            judge(24, 100)
                .expect_err("too many")
                .contains("24.0 %, not 20 % ± 3")
        );
        assert!(judge(16, 100).is_err());
        assert!(judge(20, 99).expect_err("too few").contains("only 99"));
    }

    #[test]
    fn details_are_added_up() {
        let service = Detail::Service(ServiceDetail {
            tried: 30,
            failed: 10,
            backends: Vec::new(),
        });
        let one = Count::in_detail(Of::FailedConnections, &service).expect("a count");
        assert_eq!(one.plus(one), Count { failed: 20, of: 60 });
        let lossy = UdpDetail {
            flows: Some(FlowLoss {
                tested: 16,
                failing: 1,
                failing_ports: vec![40_000],
                ..FlowLoss::default()
            }),
            ..UdpDetail::default()
        };
        let flows = Count::in_detail(Of::FailingFlows, &Detail::Udp(lossy));
        assert_eq!(flows, Some(Count { failed: 1, of: 16 }));
        let healthy = Detail::Udp(UdpDetail::default());
        assert_eq!(Count::in_detail(Of::FailingFlows, &healthy), None);
    }

    #[test]
    fn lost_probes_are_those_of_a_whole_layer() {
        let mut claim = claim("lost-probes");
        assert_eq!(claim.check(), Ok(()));
        claim.target = Some("vip/*".to_owned());
        assert!(claim.check().expect_err("one target").contains("leave"));
    }
}
