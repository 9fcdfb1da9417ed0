//! SPDX licence expressions: is there a choice that only needs allowed licences?

/// Whether `expression` can be satisfied with the licences in `allowed`.
///
/// `OR` is our choice, `AND` needs both, `WITH` belongs to the licence before it; `/` is the old
/// way to write `OR`. An expression that cannot be read is not satisfied.
pub(crate) fn is_satisfied(expression: &str, allowed: &[String]) -> bool {
    let tokens = tokens(expression);
    let mut parser = Parser {
        tokens: &tokens,
        allowed,
    };
    let satisfied = parser.either();
    parser.tokens.is_empty() && satisfied == Some(true)
}

fn tokens(expression: &str) -> Vec<String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

struct Parser<'a> {
    tokens: &'a [String],
    allowed: &'a [String],
}

impl Parser<'_> {
    fn take(&mut self, expected: &str) -> bool {
        let found = self.tokens.first().is_some_and(|token| token == expected);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    /// `a OR b`; `None` when it cannot be read.
    fn either(&mut self) -> Option<bool> {
        let mut satisfied = self.both()?;
        while self.take("OR") {
            satisfied |= self.both()?;
        }
        Some(satisfied)
    }

    /// `a AND b` binds closer than `OR`.
    fn both(&mut self) -> Option<bool> {
        let mut satisfied = self.one()?;
        while self.take("AND") {
            satisfied &= self.one()?;
        }
        Some(satisfied)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let satisfied = self.either()?;
            return self.take(")").then_some(satisfied);
        }
        let (name, rest) = self.tokens.split_first()?;
        if ["AND", "OR", "WITH", ")"].contains(&name.as_str()) {
            return None;
        }
        self.tokens = rest;
        let mut licence = name.clone();
        if self.take("WITH") {
            let (exception, rest) = self.tokens.split_first()?;
            self.tokens = rest;
            licence = format!("{licence} WITH {exception}");
        }
        Some(self.allowed.contains(&licence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn satisfied(expression: &str) -> bool {
        let allowed = [
            "MIT",
            "Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
            "BSD-3-Clause",
        ]
        .map(str::to_owned);
        is_satisfied(expression, &allowed)
    }

    #[test]
    fn or_is_a_choice_and_and_needs_both() {
        assert!(satisfied("MIT"));
        assert!(satisfied("GPL-3.0 OR MIT"));
        assert!(satisfied("MIT/Apache-2.0"));
        assert!(satisfied("Apache-2.0 / MIT"));
        assert!(satisfied("(MIT OR GPL-3.0) AND BSD-3-Clause"));
        assert!(!satisfied("GPL-3.0"));
        assert!(!satisfied("MIT AND GPL-3.0"));
        assert!(satisfied("MIT OR GPL-3.0 AND GPL-2.0"), "AND binds closer");
    }

    #[test]
    fn an_exception_belongs_to_its_licence() {
        assert!(satisfied("Apache-2.0 WITH LLVM-exception"));
        assert!(!satisfied("MIT WITH LLVM-exception"));
    }

    #[test]
    fn what_cannot_be_read_is_not_allowed() {
        for expression in [
            "", "MIT OR", "(MIT", "MIT)", "OR MIT", "MIT MIT", "MIT WITH", "AND",
        ] {
            assert!(!satisfied(expression), "{expression:?}");
        }
    }
}
