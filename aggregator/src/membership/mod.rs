//! Who belongs to the mesh.

mod record;

pub use record::{Lifecycle, NodeAddress, NodeRecord, Progress, ProberRecord, Remembered, StoreChange, WayHome};
