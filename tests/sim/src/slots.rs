//! The few slots of the paths from one prober to one peer.

/// Kinds and planes that are simulated.
const MOST: usize = 3;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slots {
    slots: [u32; MOST],
    count: usize,
}

impl Slots {
    /// Adds one.
    pub(crate) fn push(&mut self, slot: usize) {
        self.slots[self.count] = slot as u32;
        self.count += 1;
    }

    /// All of them.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        let slots = self.slots.into_iter().take(self.count);
        slots.map(|slot| slot as usize)
    }
}
