//! What one observer says of one subject, by layer.

use std::time::Duration;

use crate::ids::NodeIndex;
use crate::outcome::OutcomeClass;
use crate::path::{Plane, ProbeKind};
use crate::time::Moment;

/// One observer's newest word on one subject in one layer, placed on the aggregator's clock.
///
/// The driver makes one from every `Failing` entry of a report, and one with `consecutive_losses == 0` for a path
/// that answers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Who probed.
    pub observer: NodeIndex,
    /// Who was probed.
    pub subject: NodeIndex,
    /// By what means.
    pub kind: ProbeKind,
    /// On which plane.
    pub plane: Plane,
    /// Losses in a row; zero: it answers.
    pub consecutive_losses: u32,
    /// When the first probe of the row of losses was sent.
    pub first_loss_at: Moment,
    /// When it last answered.
    pub last_reply_at: Option<Moment>,
    /// When a probe of the subject last arrived at the observer.
    pub last_heard_at: Option<Moment>,
    /// How the last probe ended.
    pub last_outcome: OutcomeClass,
    /// End of the window that says so. Older words never overwrite newer ones.
    pub observed_at: Moment,
}

/// Clocks of slots and packets in flight: a probe that arrived this little after the first lost one was sent proves
/// nothing about the time after the cut.
const IN_FLIGHT: Duration = Duration::from_millis(30);

/// Losses in a row after which an answer is over. One or two say little where much is lost.
const STOPPED_AFTER: u32 = 3;

/// A peer whose probes arrive is heard once an interval; what was heard before that is over.
const HEARD_WITHIN: Duration = Duration::from_millis(1_500);

/// A burst, the wait for its last answer and the way of the report that tells it.
const DECIDES_WITHIN: Duration = Duration::from_millis(400);

/// How one observer sees one subject: its newest word in each layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vote {
    pod_udp: Option<Sighting>,
    pod_tcp: Option<Sighting>,
    host_udp: Option<Sighting>,
    host_tcp: Option<Sighting>,
}

impl Vote {
    /// Takes a word; says whether it was news.
    pub(super) fn take(&mut self, sighting: Sighting) -> bool {
        let slot = match (sighting.plane, sighting.kind) {
            (Plane::Pod, ProbeKind::Udp) => &mut self.pod_udp,
            (Plane::Pod, ProbeKind::Tcp) => &mut self.pod_tcp,
            (Plane::Host, ProbeKind::Udp) => &mut self.host_udp,
            (Plane::Host, ProbeKind::Tcp) => &mut self.host_tcp,
            _ => return false,
        };
        if slot.is_some_and(|old| old.observed_at > sighting.observed_at) {
            return false;
        }
        *slot = Some(sighting);
        true
    }

    /// Does the observer say that the subject cannot be reached on the plane that carries the mesh?
    ///
    /// `after` losses in a row by one kind, and no answer by another kind since they began.
    pub(super) fn accuses(&self, after: u32) -> bool {
        let (udp, tcp) = self.mesh_plane();
        let failing = |one: Option<Sighting>, other: Option<Sighting>| {
            one.is_some_and(|one| {
                one.consecutive_losses >= after && !answered_since(other, one.first_loss_at)
            })
        };
        failing(udp, tcp) || failing(tcp, udp)
    }

    /// Has the observer lost anything on the plane that carries the mesh?
    pub(super) fn suspects(&self) -> bool {
        self.accuses(1)
    }

    /// Does the observer lose any kind of probe on the plane that carries the mesh, even if another kind is answered?
    pub(super) fn has_losses(&self) -> bool {
        self.first_loss_at().is_some()
    }

    /// Has it begun to lose its probes so lately that it cannot accuse yet?
    pub(super) fn is_undecided(&self, now: Moment) -> bool {
        self.suspects()
            && self
                .first_loss_at()
                .is_some_and(|at| now.saturating_since(at) < DECIDES_WITHIN)
    }

    /// When the first probe of the row of losses was sent.
    pub(super) fn first_loss_at(&self) -> Option<Moment> {
        let (udp, tcp) = self.mesh_plane();
        [udp, tcp]
            .into_iter()
            .flatten()
            .filter(|s| s.consecutive_losses > 0)
            .map(|s| s.first_loss_at)
            .min()
    }

    /// Did the subject's probes arrive at the observer after it stopped answering?
    pub(super) fn hears(&self) -> bool {
        let (udp, _) = self.mesh_plane();
        udp.is_some_and(|s| {
            s.consecutive_losses > 0
                && s.last_heard_at.is_some_and(|heard| {
                    heard > s.first_loss_at + IN_FLIGHT
                        && s.observed_at.saturating_since(heard) <= HEARD_WITHIN
                })
        })
    }

    /// Did the subject's address answer that nobody listens there?
    pub(super) fn is_refused(&self) -> bool {
        let (udp, tcp) = self.mesh_plane();
        [udp, tcp]
            .into_iter()
            .flatten()
            .any(|s| s.consecutive_losses > 0 && s.last_outcome == OutcomeClass::Refused)
    }

    /// Did the subject's node answer on its own address while its pod did not?
    pub(super) fn reaches_host(&self) -> bool {
        let Some(since) = self.first_loss_at().filter(|_| self.has_pod_plane()) else {
            return false;
        };
        answered_since(self.host_tcp, since) || answered_since(self.host_udp, since)
    }

    /// Has it said anything after `since`?
    pub(super) fn spoke_since(&self, since: Moment) -> bool {
        [self.pod_udp, self.pod_tcp, self.host_udp, self.host_tcp]
            .into_iter()
            .flatten()
            .any(|s| s.observed_at >= since)
    }

    /// Is the pod network what it probes, so that the host's address is a second plane?
    pub(super) fn has_pod_plane(&self) -> bool {
        self.pod_udp.is_some() || self.pod_tcp.is_some()
    }

    fn mesh_plane(&self) -> (Option<Sighting>, Option<Sighting>) {
        if self.has_pod_plane() {
            (self.pod_udp, self.pod_tcp)
        } else {
            (self.host_udp, self.host_tcp)
        }
    }
}

/// Has it answered since then, and not stopped answering after that? A row of losses may have begun with one that was lost
/// by chance, shortly before the cut.
fn answered_since(sighting: Option<Sighting>, since: Moment) -> bool {
    sighting.is_some_and(|s| {
        s.consecutive_losses < STOPPED_AFTER && s.last_reply_at.is_some_and(|reply| reply > since)
    })
}
