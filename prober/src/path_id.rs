//! The handle of a path inside this process.

/// A path of this prober: a slot in the book and the generation of its use, so that a late word about a path that is
/// gone is not taken for one about its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId {
    slot: u32,
    generation: u32,
}

impl PathId {
    pub(crate) const fn new(slot: u32, generation: u32) -> Self {
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
