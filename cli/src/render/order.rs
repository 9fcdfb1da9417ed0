//! The order of names: numbers in them by value, so that mesh-2 comes before mesh-10.

use std::cmp::Ordering;

/// Compares two names piece by piece, digits as numbers.
pub fn natural(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left, right);
    loop {
        match (a.is_empty(), b.is_empty()) {
            (true, true) => return left.cmp(right),
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        let (piece_a, rest_a) = piece(a);
        let (piece_b, rest_b) = piece(b);
        let digits =
            piece_a.as_bytes()[0].is_ascii_digit() && piece_b.as_bytes()[0].is_ascii_digit();
        let order = if digits {
            let (x, y) = (
                piece_a.trim_start_matches('0'),
                piece_b.trim_start_matches('0'),
            );
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            piece_a.cmp(piece_b)
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// The longest beginning of a non-empty text that is all digits or has none.
fn piece(text: &str) -> (&str, &str) {
    let is_number = text.as_bytes()[0].is_ascii_digit();
    let end = text
        .find(|c: char| c.is_ascii_digit() != is_number)
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_ordered_by_value() {
        let mut names = [
            "mesh-10", "mesh-2", "a", "mesh-2a", "10", "9", "mesh-02", "mesh", "é1",
        ];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            [
                "9", "10", "a", "mesh", "mesh-02", "mesh-2", "mesh-2a", "mesh-10", "é1"
            ]
        );
    }
}
