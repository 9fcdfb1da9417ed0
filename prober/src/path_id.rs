//! The handle of a path inside this process, and tables by it.

/// A path of this prober: a slot in the book and the generation of its use, so that a late word about a path that is
/// gone is not taken for one about its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId {
    slot: u32,
    generation: u32,
}

impl PathId {
    /// The path in this slot, in this generation of its use.
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// For indexing arrays of paths.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    #[cfg(test)]
    pub(crate) const fn for_test(slot: u32) -> Self {
        Self::new(slot, 0)
    }
}

/// Values by path: an array by slot, checked for the generation. No hashing on the way of a packet.
#[derive(Clone, Debug)]
pub struct PathTable<T> {
    entries: Vec<Option<(PathId, T)>>,
}

impl<T> PathTable<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// The value of `path`.
    pub fn get(&self, path: PathId) -> Option<&T> {
        match self.entries.get(path.slot())? {
            Some((known, value)) if *known == path => Some(value),
            _ => None,
        }
    }

    /// The value of `path`, to be changed.
    pub fn get_mut(&mut self, path: PathId) -> Option<&mut T> {
        match self.entries.get_mut(path.slot())? {
            Some((known, value)) if *known == path => Some(value),
            _ => None,
        }
    }

    /// Puts a value in and returns the one that `path` had. The value of an older path in the same slot is dropped.
    pub fn insert(&mut self, path: PathId, value: T) -> Option<T> {
        if self.entries.len() <= path.slot() {
            self.entries.resize_with(path.slot() + 1, || None);
        }
        let before = self.entries[path.slot()].replace((path, value));
        before
            .filter(|(known, _)| *known == path)
            .map(|(_, value)| value)
    }

    /// Takes the value of `path` out.
    pub fn remove(&mut self, path: PathId) -> Option<T> {
        let place = self.entries.get_mut(path.slot())?;
        place
            .take_if(|(known, _)| *known == path)
            .map(|(_, value)| value)
    }

    /// All values with their paths.
    pub fn into_entries(self) -> impl Iterator<Item = (PathId, T)> {
        self.entries.into_iter().flatten()
    }

    /// All values.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().flatten().map(|(_, value)| value)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

impl<T> Default for PathTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_sees_the_value_of_its_predecessor() {
        let (old, new) = (PathId::new(3, 0), PathId::new(3, 1));
        let mut table = PathTable::new();
        assert_eq!(table.insert(old, 'a'), None);
        assert_eq!(table.get(new), None);
        assert_eq!(table.insert(new, 'b'), None);
        assert_eq!(table.get(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.insert(new, 'c'), Some('b'));
        assert_eq!(table.remove(new), Some('c'));
        assert_eq!(table.values_mut().count(), 0);
    }
}
