//! The arguments of `meshprobe silence` and `meshprobe maintenance`.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use meshprobe_proto::v1;

use super::parse_span;

/// `meshprobe silence …`, `meshprobe maintenance …`
#[derive(Clone, Debug, Subcommand)]
pub enum SilenceCommand {
    /// Make one.
    #[command(visible_alias = "create")]
    Add(SilenceAdd),
    /// List those that are in force or will be.
    #[command(visible_alias = "ls")]
    List {
        /// Also those that are over.
        #[arg(long, short = 'a')]
        all: bool,
    },
    /// End one now.
    #[command(visible_aliases = ["rm", "delete", "expire"])]
    Remove {
        /// Its id, or the beginning of it.
        id: String,
    },
}

/// What is silenced, for how long, and why.
#[derive(Clone, Debug, Args)]
pub struct SilenceAdd {
    /// What is meant, for example node=mesh-3 or pattern=~dns-.*; all have to hold.
    #[arg(required = true, value_name = "MATCHER", value_parser = parse_matcher)]
    pub matchers: Vec<v1::Matcher>,
    /// How long, for example 30m, 2h, 3d.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
    pub lasts: Duration,
    /// When it begins, for example 2026-12-01T22:00:00Z; now if left out.
    #[arg(long, value_name = "TIME")]
    pub start: Option<Timestamp>,
    /// Why.
    #[arg(long, short = 'c', default_value = "", hide_default_value = true)]
    pub comment: String,
    /// Who wants it; the user who runs this if left out.
    #[arg(long, env = "MESHPROBE_AUTHOR", value_name = "NAME")]
    pub author: Option<String>,
}

/// `node=mesh-3`, `pattern=~"dns-.*"`. What the parts may be is the aggregator's to judge.
fn parse_matcher(text: &str) -> Result<v1::Matcher, String> {
    let advice = || {
        format!(
            "write a name, one of = != =~ !~ and a value, for example node=mesh-3, not {text:?}"
        )
    };
    let at = text
        .find(['=', '!'])
        .filter(|at| *at > 0)
        .ok_or_else(advice)?;
    let (name, rest) = text.split_at(at);
    let operators = [
        ("=~", v1::MatchOperator::Matches),
        ("!~", v1::MatchOperator::NotMatches),
        ("!=", v1::MatchOperator::NotEqual),
        ("=", v1::MatchOperator::Equal),
    ];
    let (value, operator) = operators
        .into_iter()
        .find_map(|(written, operator)| Some((rest.strip_prefix(written)?, operator)))
        .ok_or_else(advice)?;
    let value = value.trim();
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Ok(v1::Matcher {
        name: name.trim().to_owned(),
        operator: operator.into(),
        value: inner.unwrap_or(value).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_has_a_name_an_operator_and_a_value() {
        for (text, expected) in [
            ("node=mesh-3", ("node", v1::MatchOperator::Equal, "mesh-3")),
            (
                "zone!=\"rack 1\"",
                ("zone", v1::MatchOperator::NotEqual, "rack 1"),
            ),
            (
                "pattern=~a=b",
                ("pattern", v1::MatchOperator::Matches, "a=b"),
            ),
            (
                "label.x/y!~.*",
                ("label.x/y", v1::MatchOperator::NotMatches, ".*"),
            ),
        ] {
            let matcher = parse_matcher(text).unwrap();
            let found = (
                matcher.name.as_str(),
                matcher.operator(),
                matcher.value.as_str(),
            );
            assert_eq!(found, expected, "{text}");
        }
        for bad in ["mesh-3", "=x", "node!x", ""] {
            assert!(
                parse_matcher(bad).unwrap_err().contains("node=mesh-3"),
                "{bad}"
            );
        }
    }
}
