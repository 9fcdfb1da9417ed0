//! ICMP messages in words (RFC 792, RFC 1812, RFC 4443).

use crate::path::Family;

/// What a message with this type and code says, in a few words; an unknown one keeps its numbers.
pub fn meaning(kind: u8, code: u8, family: Family) -> String {
    let known = match (family, kind, code) {
        (Family::V6, 1, 0) => "no route",
        (Family::V6, 1, 3) => "address unreachable",
        (Family::V6, 1, 4) | (Family::V4, 3, 3) => "port unreachable",
        (Family::V6, 1, 1) | (Family::V4, 3, 9 | 10 | 13) => "administratively prohibited",
        (Family::V6, 2, _) => "packet too big",
        (Family::V4, 3, 0) => "network unreachable",
        (Family::V4, 3, 1) => "host unreachable",
        (Family::V4, 3, 4) => "fragmentation needed",
        _ if is_hop_limit(kind, family) => "hop limit exceeded",
        _ => return format!("type {kind} code {code}"),
    };
    known.to_owned()
}

/// Does it only say that the packet's hop limit was used up, as every hop of a trace does?
pub const fn is_hop_limit(kind: u8, family: Family) -> bool {
    match family {
        Family::V4 => kind == 11,
        Family::V6 => kind == 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_words_by_family_and_unknown_ones_keep_their_numbers() {
        let v4 = |kind, code| meaning(kind, code, Family::V4);
        let v6 = |kind, code| meaning(kind, code, Family::V6);
        assert_eq!(v4(3, 1), "host unreachable");
        assert_eq!(v4(3, 4), "fragmentation needed");
        assert_eq!(v4(3, 13), "administratively prohibited");
        assert_eq!((v4(11, 0), v6(3, 0)), (v6(3, 0), v4(11, 0)));
        assert_eq!(v6(1, 0), "no route");
        assert_eq!(v6(2, 0), "packet too big");
        assert_eq!(v4(42, 7), "type 42 code 7");
        assert!(is_hop_limit(11, Family::V4) && !is_hop_limit(3, Family::V4));
    }
}
