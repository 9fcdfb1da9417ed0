//! What people do not want to be told about: silences and maintenance windows.
//!
//! A **silence** keeps notifications about whatever its matchers mean from leaving; a **maintenance window** says of nodes
//! that they are expected to go, and keeps only the patterns that say that they went ([`is_departure`]). Both change nothing
//! but notifications: incidents open and close, the matrix and the metrics stay truthful. What is still open when a silence
//! ends is told then; the end of what was told before is told in any case, because a page that nobody closes is a lie.
//!
//! A node that is cordoned or drained is expected to go as well, for a while, without anybody saying so (`departures`).
//!
//! Pure but for [`Silences`], the lock around the book that the API and the notifier share. Times are handed in.

mod book;
mod departures;
mod matcher;
mod shared;
mod subject;

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use meshprobe_core::finding::Pattern;
use serde::{Deserialize, Serialize};

pub use book::{Mute, MutedBy, SilenceBook};
pub use departures::Departures;
pub use matcher::{Attribute, Matcher, MatcherError, Operator};
pub use shared::Silences;

/// Silences that are in force or will be, at most. Each is looked at for every change of an incident.
pub const MAX_SILENCES: usize = 1_000;
/// Matchers of one silence, at most.
pub const MAX_MATCHERS: usize = 16;
/// Longest author or comment, octets.
pub const MAX_TEXT: usize = 1_024;
/// Longest silence: a forgotten one ends by itself.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Does this pattern say that a node went away, and so is no news about one that was meant to?
pub const fn is_departure(pattern: Pattern) -> bool {
    matches!(
        pattern,
        Pattern::NodeDark
            | Pattern::ZoneDark
            | Pattern::Isolated
            | Pattern::ReportsCut
            | Pattern::ProberDown
            | Pattern::UnreachableUnconfirmed
            | Pattern::ProberNotRunning
    )
}

/// Sixteen hexadecimal digits, drawn by chance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SilenceId(String);

/// Why a text is no silence's identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a silence's id is 16 hexadecimal digits in lower case, not {0:?}")]
pub struct SilenceIdError(String);

impl SilenceId {
    /// The identity with this number.
    pub fn from_number(number: u64) -> Self {
        Self(format!("{number:016x}"))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SilenceId {
    type Error = SilenceIdError;

    fn try_from(text: String) -> Result<Self, SilenceIdError> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits && text.len() == 16 {
            Ok(Self(text))
        } else {
            Err(SilenceIdError(text.chars().take(64).collect()))
        }
    }
}

impl From<SilenceId> for String {
    fn from(id: SilenceId) -> Self {
        id.0
    }
}

impl fmt::Display for SilenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What it keeps from people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SilenceKind {
    /// Everything that its matchers mean.
    Silence,
    /// Of that, only that nodes went away.
    Maintenance,
}

impl SilenceKind {
    /// As label and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Maintenance => "maintenance",
        }
    }
}

/// Where a silence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SilenceState {
    /// It begins later.
    Pending,
    /// It is in force.
    Active,
    /// It is over; kept for a while, so that people see why nobody was told.
    Expired,
}

impl SilenceState {
    /// As label and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

/// Why a silence is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
    /// It has no matcher.
    #[error("matchers are missing: write at least one, for example node=mesh-3")]
    NoMatcher,
    /// It has too many.
    #[error("there are {0} matchers; at most {MAX_MATCHERS} are possible")]
    TooManyMatchers(usize),
    /// It would mean everything.
    #[error(
        "every matcher holds for what has no such value, so this would silence everything; write one that needs a value, for example pattern=~.+"
    )]
    Everything,
    /// A maintenance window of no nodes.
    #[error("a maintenance window is about nodes: write a matcher of node, zone or label.NAME")]
    NoPlace,
    /// Nobody says who wants it.
    #[error("author is missing: write who wants this")]
    NoAuthor,
    /// A text is too long.
    #[error("{0} has more than {MAX_TEXT} octets")]
    TooLong(&'static str),
    /// It ends before it begins.
    #[error("it ends at {ends_at}, which is not after its start at {starts_at}")]
    Backwards {
        /// The start.
        starts_at: Timestamp,
        /// The end.
        ends_at: Timestamp,
    },
    /// It is over already.
    #[error("it ended at {0}, which is past")]
    Past(Timestamp),
    /// It is too long.
    #[error("it lasts longer than 366 days; make it shorter and renew it")]
    TooLongTime,
    /// There are too many.
    #[error("{MAX_SILENCES} silences are in force or will be; delete one first")]
    TooMany,
}

/// What somebody does not want to be told about, until when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its identity.
    pub id: SilenceId,
    /// What it keeps.
    pub kind: SilenceKind,
    /// All of them have to hold.
    pub matchers: Vec<Matcher>,
    /// In force from here …
    pub starts_at: Timestamp,
    /// … to here, exclusive.
    pub ends_at: Timestamp,
    /// Who wanted it.
    pub author: String,
    /// Why; may be empty.
    pub comment: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Silence {
    /// Where it stands.
    pub fn state(&self, now: Timestamp) -> SilenceState {
        if now >= self.ends_at {
            SilenceState::Expired
        } else if now >= self.starts_at {
            SilenceState::Active
        } else {
            SilenceState::Pending
        }
    }

    /// Refuses what makes no sense.
    pub fn check(&self, now: Timestamp) -> Result<(), SilenceError> {
        let Self {
            id: _,
            kind,
            matchers,
            starts_at,
            ends_at,
            author,
            comment,
            created_at: _,
        } = self;
        if matchers.is_empty() {
            return Err(SilenceError::NoMatcher);
        }
        if matchers.len() > MAX_MATCHERS {
            return Err(SilenceError::TooManyMatchers(matchers.len()));
        }
        if matchers.iter().all(Matcher::holds_for_nothing) {
            return Err(SilenceError::Everything);
        }
        let has_place = || matchers.iter().any(|m| m.attribute().is_place());
        if *kind == SilenceKind::Maintenance && !has_place() {
            return Err(SilenceError::NoPlace);
        }
        if author.trim().is_empty() {
            return Err(SilenceError::NoAuthor);
        }
        for (what, text) in [("author", author), ("comment", comment)] {
            if text.len() > MAX_TEXT {
                return Err(SilenceError::TooLong(what));
            }
        }
        if ends_at <= starts_at {
            return Err(SilenceError::Backwards {
                starts_at: *starts_at,
                ends_at: *ends_at,
            });
        }
        if *ends_at <= now {
            return Err(SilenceError::Past(*ends_at));
        }
        if ends_at.duration_since(*starts_at) > LONGEST {
            return Err(SilenceError::TooLongTime);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// In force from 100 to 200.
    pub(crate) fn silence(kind: SilenceKind, matchers: &[&str]) -> Silence {
        Silence {
            id: SilenceId::from_number(1),
            kind,
            matchers: matchers
                .iter()
                .map(|m| Matcher::parse(m).unwrap())
                .collect(),
            starts_at: at(100),
            ends_at: at(200),
            author: "ana".to_owned(),
            comment: String::new(),
            created_at: at(90),
        }
    }

    #[test]
    fn a_silence_is_in_force_from_its_start_to_its_end() {
        let one = silence(SilenceKind::Silence, &["node=a"]);
        let states = [99, 100, 199, 200].map(|second| one.state(at(second)).as_str());
        assert_eq!(states, ["pending", "active", "active", "expired"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        let good = silence(SilenceKind::Silence, &["node=a"]);
        assert_eq!(good.check(at(100)), Ok(()));
        let refused = |change: &dyn Fn(&mut Silence)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.check(at(100)).unwrap_err().to_string()
        };
        let parse = |text: &str| vec![Matcher::parse(text).unwrap()];
        for (error, word) in [
            (refused(&|s| s.matchers.clear()), "node=mesh-3"),
            (refused(&|s| s.matchers = parse("node!=a")), "everything"),
            (refused(&|s| s.author = " ".to_owned()), "author"),
            (refused(&|s| s.comment = "x".repeat(2_000)), "comment"),
            (refused(&|s| s.ends_at = at(100)), "not after its start"),
            (
                refused(&|s| (s.starts_at, s.ends_at) = (at(1), at(99))),
                "past",
            ),
            (refused(&|s| s.ends_at = at(400 * 86_400)), "366 days"),
            (
                refused(&|s| {
                    s.kind = SilenceKind::Maintenance;
                    s.matchers = parse("pattern=node-dark");
                }),
                "about nodes",
            ),
        ] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn only_sixteen_small_hexadecimal_digits_are_an_identity() {
        assert_eq!(SilenceId::from_number(7).as_str(), "0000000000000007");
        assert!(SilenceId::try_from("0123456789abcdef".to_owned()).is_ok());
        assert!(SilenceId::try_from("0123456789ABCDEF".to_owned()).is_err());
    }
}
