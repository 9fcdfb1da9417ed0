//! What a silence says about the incidents that it means: `node=mesh-3`, `pattern=~node-.*`, `zone!=a`.
//!
//! The operators are Alertmanager's. A regular expression has to match the whole value; it is one of the `regex` crate
//! without Unicode classes, so it runs in linear time whatever somebody wrote.

use std::fmt;

use meshprobe_core::finding::Pattern;
use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// Longest value, octets.
const MAX_VALUE: usize = 512;
/// Memory that a compiled expression may take, octets.
const MAX_COMPILED: usize = 64 << 10;
/// What a label's name stands behind.
const LABEL: &str = "label.";

/// What a matcher looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribute {
    /// The name of the incident's pattern.
    Pattern,
    /// A node that it names.
    Node,
    /// A zone that it names, or that such a node is in.
    Zone,
    /// A label of such a node.
    Label(String),
    /// The DNS server, name, service or target outside that it is about.
    Target,
}

impl Attribute {
    /// Does it say where, and not what?
    pub(super) const fn is_place(&self) -> bool {
        matches!(self, Self::Node | Self::Zone | Self::Label(_))
    }
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `=`: it is the value.
    Equal,
    /// `!=`: it is not the value.
    NotEqual,
    /// `=~`: the expression matches all of it.
    Matches,
    /// `!~`: the expression does not match it.
    NotMatches,
}

impl Operator {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::NotMatches => "!~",
        }
    }

    const fn is_negative(self) -> bool {
        matches!(self, Self::NotEqual | Self::NotMatches)
    }
}

/// Why a text is no matcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// There is no operator in it.
    #[error(
        "{0:?} is no matcher: write a name, one of = != =~ !~ and a value, for example node=mesh-3"
    )]
    NoOperator(String),
    /// Nothing is called so.
    #[error("nothing is called {0:?} here; there are: pattern, node, zone, target, label.NAME")]
    Name(String),
    /// No pattern is called so.
    #[error("no pattern is called {0:?}; the runbook lists them")]
    Pattern(String),
    /// The value is too long.
    #[error("the value of {0} has more than {MAX_VALUE} octets")]
    TooLong(String),
    /// The expression cannot be used.
    #[error("{value:?} is no regular expression: {why}")]
    Expression {
        /// What was written.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}

/// One condition.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Matcher {
    attribute: Attribute,
    operator: Operator,
    value: String,
    // Present exactly for the operators that need it.
    expression: Option<Regex>,
}

impl Matcher {
    /// A matcher of these parts.
    pub fn new(name: &str, operator: Operator, value: &str) -> Result<Self, MatcherError> {
        let attribute = match name {
            "pattern" => Attribute::Pattern,
            "node" => Attribute::Node,
            "zone" => Attribute::Zone,
            "target" => Attribute::Target,
            other => match other.strip_prefix(LABEL).filter(|label| !label.is_empty()) {
                Some(label) if label.len() <= MAX_VALUE => Attribute::Label(label.to_owned()),
                _ => return Err(MatcherError::Name(other.chars().take(64).collect())),
            },
        };
        if value.len() > MAX_VALUE {
            return Err(MatcherError::TooLong(name.to_owned()));
        }
        let is_exact = matches!(operator, Operator::Equal | Operator::NotEqual);
        // A misspelt pattern would silence nothing, and nobody would notice.
        if is_exact && attribute == Attribute::Pattern && Pattern::from_name(value).is_none() {
            return Err(MatcherError::Pattern(value.to_owned()));
        }
        let expression = if is_exact {
            None
        } else {
            Some(compile(value)?)
        };
        Ok(Self {
            attribute,
            operator,
            value: value.to_owned(),
            expression,
        })
    }

    /// Reads `node=mesh-3` or `node="mesh-3"`.
    pub fn parse(text: &str) -> Result<Self, MatcherError> {
        let no_operator = || MatcherError::NoOperator(text.chars().take(128).collect());
        let at = text.find(['=', '!']).ok_or_else(no_operator)?;
        let (name, rest) = text.split_at(at);
        let (operator, value) = [
            Operator::Matches,
            Operator::NotMatches,
            Operator::NotEqual,
            Operator::Equal,
        ]
        .into_iter()
        .find_map(|operator| Some((operator, rest.strip_prefix(operator.as_str())?)))
        .ok_or_else(no_operator)?;
        Self::new(name.trim(), operator, &unquoted(value.trim()))
    }

    /// What it looks at.
    pub const fn attribute(&self) -> &Attribute {
        &self.attribute
    }

    /// How it compares.
    pub const fn operator(&self) -> Operator {
        self.operator
    }

    /// With what.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The name of what it looks at: `node`, `label.rack`.
    pub fn name(&self) -> String {
        match &self.attribute {
            Attribute::Pattern => "pattern".to_owned(),
            Attribute::Node => "node".to_owned(),
            Attribute::Zone => "zone".to_owned(),
            Attribute::Target => "target".to_owned(),
            Attribute::Label(label) => format!("{LABEL}{label}"),
        }
    }

    /// Does it hold for something that has these values? None counts as the empty one, as in Alertmanager. Of several, one
    /// has to be the value, or none may be.
    pub fn holds<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> bool {
        let mut values = values.into_iter().peekable();
        let any = if values.peek().is_none() {
            self.is_hit("")
        } else {
            values.any(|value| self.is_hit(value))
        };
        any != self.operator.is_negative()
    }

    /// Would it hold for something that has no such value?
    pub(super) fn holds_for_nothing(&self) -> bool {
        self.holds([])
    }

    fn is_hit(&self, value: &str) -> bool {
        match &self.expression {
            Some(expression) => expression.is_match(value.as_bytes()),
            None => self.value == value,
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        let key = |matcher: &Self| {
            (
                matcher.attribute.clone(),
                matcher.operator,
                matcher.value.clone(),
            )
        };
        key(self) == key(other)
    }
}

impl Eq for Matcher {}

/// As [`Matcher::parse`] reads it.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = self.operator.as_str();
        write!(f, "{}{operator}", self.name())?;
        let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\\' | ',');
        if !self.value.is_empty() && self.value.chars().all(is_plain) {
            return f.write_str(&self.value);
        }
        let escaped = self.value.replace('\\', r"\\").replace('"', "\\\"");
        write!(f, "\"{escaped}\"")
    }
}

impl TryFrom<String> for Matcher {
    type Error = MatcherError;

    fn try_from(text: String) -> Result<Self, MatcherError> {
        Self::parse(&text)
    }
}

impl From<Matcher> for String {
    fn from(matcher: Matcher) -> Self {
        matcher.to_string()
    }
}

fn compile(value: &str) -> Result<Regex, MatcherError> {
    RegexBuilder::new(&format!("^(?:{value})$"))
        .unicode(false)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| MatcherError::Expression {
            value: value.to_owned(),
            why: match error {
                regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
                // The last line of the syntax error has the reason; those before draw the place.
                other => other
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .to_owned(),
            },
        })
}

/// Without the quotes around it, and what they made necessary.
fn unquoted(text: &str) -> String {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let Some(inner) = inner else {
        return text.to_owned();
    };
    let mut value = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        value.push(match c {
            '\\' => chars.next().unwrap_or('\\'),
            other => other,
        });
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(text: &str) -> Matcher {
        Matcher::parse(text).expect(text)
    }

    #[test]
    fn the_operators_are_those_of_alertmanager() {
        for (text, value, expected) in [
            ("node=mesh-3", "mesh-3", true),
            ("node=mesh-3", "mesh-30", false),
            ("node!=mesh-3", "mesh-3", false),
            ("node!=mesh-3", "mesh-4", true),
            ("node=~mesh-.", "mesh-3", true),
            ("node=~mesh-.", "mesh-30", false),
            ("node=~a|mesh-3", "mesh-30", false),
            ("node!~mesh-.", "mesh-3", false),
            ("node!~mesh-.", "db-3", true),
            (r"node=~mesh-\d+", "mesh-42", true),
            ("zone = \"rack 1\"", "rack 1", true),
            ("label.rack=a", "a", true),
            ("target=~\"shop|\\\"x\\\"\"", "\"x\"", true),
        ] {
            assert_eq!(matcher(text).holds([value]), expected, "{text} {value}");
        }
    }

    #[test]
    fn what_has_no_value_counts_as_empty_and_of_several_one_has_to_match() {
        assert!(matcher("node!=a").holds([]));
        assert!(!matcher("node=a").holds([]));
        assert!(matcher("node=~.*").holds_for_nothing());
        assert!(!matcher("node=~.+").holds_for_nothing());
        assert!(matcher("node=b").holds(["a", "b"]));
        assert!(!matcher("node!=b").holds(["a", "b"]));
    }

    #[test]
    fn a_matcher_reads_back_what_it_wrote() {
        for text in [
            "node=mesh-3",
            "label.kubernetes.io/arch!=arm64",
            "zone=\"rack 1\"",
            "node!~\"a,b\"",
            "target=\"\"",
            r#"zone="a\\b\"c""#,
        ] {
            let parsed = matcher(text);
            assert_eq!(parsed.to_string(), text);
            let json = serde_json::to_string(&parsed).unwrap();
            assert_eq!(serde_json::from_str::<Matcher>(&json).unwrap(), parsed);
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_reason() {
        for (text, word) in [
            ("mesh-3", "no matcher"),
            ("node!mesh-3", "no matcher"),
            ("nod=mesh-3", "label.NAME"),
            ("label.=x", "label.NAME"),
            ("pattern=node-dim", "no pattern"),
            ("node=~(", "unclosed group"),
            ("node=~a{9999}{9999}", "too large"),
        ] {
            let error = Matcher::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let long = format!("node={}", "x".repeat(MAX_VALUE + 1));
        assert!(matches!(
            Matcher::parse(&long),
            Err(MatcherError::TooLong(_))
        ));
    }
}
