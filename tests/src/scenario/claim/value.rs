//! What a number or a text has to be: `1400`, `{at_least: 1390, at_most: 1400}`; `refused`, `{contains: expired}`.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

/// What a number has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumberClaim {
    at_least: Option<f64>,
    at_most: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    #[serde(default)]
    at_least: Option<f64>,
    #[serde(default)]
    at_most: Option<f64>,
}

impl NumberClaim {
    /// Whether this is right.
    pub fn accepts(self, number: f64) -> bool {
        self.at_least.is_none_or(|least| number >= least)
            && self.at_most.is_none_or(|most| number <= most)
    }

    fn exactly(number: f64) -> Self {
        Self {
            at_least: Some(number),
            at_most: Some(number),
        }
    }
}

impl fmt::Display for NumberClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.at_least, self.at_most) {
            (Some(least), Some(most)) if (most - least).abs() < f64::EPSILON => {
                write!(f, "{least}")
            }
            (Some(least), Some(most)) => write!(f, "{least} to {most}"),
            (Some(least), None) => write!(f, "at least {least}"),
            (None, Some(most)) => write!(f, "at most {most}"),
            (None, None) => f.write_str("any number"),
        }
    }
}

impl<'de> Deserialize<'de> for NumberClaim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrRange;

        impl<'de> Visitor<'de> for NumberOrRange {
            type Value = NumberClaim;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or {at_least: 1390, at_most: 1400}")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<NumberClaim, E> {
                Ok(NumberClaim::exactly(number as f64))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<NumberClaim, E> {
                Ok(NumberClaim::exactly(number as f64))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<NumberClaim, E> {
                Ok(NumberClaim::exactly(number))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NumberClaim, A::Error> {
                let range = Range::deserialize(MapAccessDeserializer::new(map))?;
                let Range { at_least, at_most } = range;
                if at_least.is_none() && at_most.is_none() {
                    return Err(de::Error::custom("write at_least, at_most, or both"));
                }
                if let (Some(least), Some(most)) = (at_least, at_most)
                    && least > most
                {
                    return Err(de::Error::custom(format!(
                        "nothing is at least {least} and at most {most}"
                    )));
                }
                Ok(NumberClaim { at_least, at_most })
            }
        }

        deserializer.deserialize_any(NumberOrRange)
    }
}

/// What a text has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextClaim {
    Is(String),
    Contains(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    contains: String,
}

impl TextClaim {
    /// Whether this is right. Letters of either case are the same: messages of libraries differ in it.
    pub fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Is(wanted) => text == wanted,
            Self::Contains(part) => text.to_lowercase().contains(&part.to_lowercase()),
        }
    }
}

impl fmt::Display for TextClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(wanted) => write!(f, "{wanted:?}"),
            Self::Contains(part) => write!(f, "something with {part:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for TextClaim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrPart;

        impl<'de> Visitor<'de> for TextOrPart {
            type Value = TextClaim;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or {contains: expired}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextClaim, E> {
                Ok(TextClaim::Is(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextClaim, A::Error> {
                let Part { contains } = Part::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TextClaim::Contains(contains))
            }
        }

        deserializer.deserialize_any(TextOrPart)
    }
}

/// Collects what is not as it should be, by the names of the fields.
#[derive(Debug, Default)]
pub struct Comparing {
    wrong: Vec<String>,
}

impl Comparing {
    /// A number; `None` as found: it was not measured.
    pub fn number(&mut self, name: &str, wanted: Option<NumberClaim>, found: Option<f64>) {
        let Some(wanted) = wanted else { return };
        match found {
            None => self
                .wrong
                .push(format!("{name} was not measured, should be {wanted}")),
            Some(found) if !wanted.accepts(found) => {
                self.wrong.push(format!("{name} is {found}, not {wanted}"));
            }
            Some(_) => {}
        }
    }

    /// A text.
    pub fn text(&mut self, name: &str, wanted: Option<&TextClaim>, found: &str) {
        if let Some(wanted) = wanted
            && !wanted.accepts(found)
        {
            self.wrong
                .push(format!("{name} is {found:?}, not {wanted}"));
        }
    }

    /// Anything else that has words.
    pub fn same<T: PartialEq + fmt::Display>(&mut self, name: &str, wanted: Option<T>, found: &T) {
        if let Some(wanted) = wanted
            && wanted != *found
        {
            self.wrong.push(format!("{name} is {found}, not {wanted}"));
        }
    }

    /// Whatever else.
    pub fn require(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.wrong.push(otherwise());
        }
    }

    /// One sentence for each difference.
    pub fn into_differences(self) -> Vec<String> {
        self.wrong
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Both {
        number: NumberClaim,
        text: TextClaim,
    }

    fn parse(number: &str, text: &str) -> Result<Both, String> {
        let yaml = format!("number: {number}\ntext: {text}\n");
        meshprobe_daemon::config::parse(&yaml, Path::new("claim")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_number_is_exact_or_a_range() {
        let exact = parse("1400", "x").expect("a number").number;
        assert!(exact.accepts(1400.0) && !exact.accepts(1399.0));
        let range = parse("{at_least: 1, at_most: 3}", "x")
            .expect("a range")
            .number;
        assert!([1.0, 3.0].iter().all(|n| range.accepts(*n)));
        assert!(!range.accepts(0.9) && !range.accepts(3.1));
        assert!(
            parse("{at_most: 3}", "x")
                .expect("a limit")
                .number
                .accepts(-7.0)
        );
        assert_eq!(range.to_string(), "1 to 3");
    }

    #[test]
    fn a_text_is_exact_or_has_a_part() {
        let exact = parse("1", "refused").expect("a text").text;
        assert!(exact.accepts("refused") && !exact.accepts("Refused"));
        let part = parse("1", "{contains: expired}").expect("a part").text;
        assert!(part.accepts("certificate Expired") && !part.accepts("unknown issuer"));
    }

    #[test]
    fn what_can_never_be_is_refused_with_its_line() {
        for (number, text, part) in [
            ("{at_least: 4, at_most: 3}", "x", "nothing is at least 4"),
            ("{}", "x", "at_least"),
            ("{atleast: 4}", "x", "atleast"),
            ("many", "x", "a number, or {at_least"),
            ("1", "{has: x}", "has"),
        ] {
            let error = parse(number, text).expect_err(number);
            assert!(error.contains(part) && error.contains("claim:"), "{error}");
        }
    }
}
