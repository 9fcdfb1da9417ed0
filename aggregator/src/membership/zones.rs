//! Zone names and their numbers.

use std::collections::HashMap;

use meshprobe_core::ids::ZoneIndex;

/// Every zone name that was ever seen while this process runs. Zone 0 is "unknown", the empty name.
#[derive(Clone, Debug)]
pub struct Zones {
    names: Vec<String>,
    numbers: HashMap<String, ZoneIndex>,
}

impl Default for Zones {
    fn default() -> Self {
        Self {
            names: vec![String::new()],
            numbers: HashMap::from([(String::new(), ZoneIndex(0))]),
        }
    }
}

impl Zones {
    /// The number of a zone; a new one if it was never seen. Past 65,535 zones further ones are "unknown".
    pub fn number(&mut self, name: &str) -> ZoneIndex {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let Ok(next) = u16::try_from(self.names.len()) else {
            return ZoneIndex(0);
        };
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), ZoneIndex(next));
        ZoneIndex(next)
    }

    /// Every name, by number.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of a zone; empty for "unknown".
    pub fn name(&self, zone: ZoneIndex) -> &str {
        self.names
            .get(usize::from(zone.0))
            .map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_keeps_its_number_and_the_empty_name_is_unknown() {
        let mut zones = Zones::default();
        let a = zones.number("a");
        assert_eq!(zones.number(""), ZoneIndex(0));
        assert_ne!(a, zones.number("b"));
        assert_eq!(zones.number("a"), a);
        assert_eq!(zones.name(a), "a");
    }
}
