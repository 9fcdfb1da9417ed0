//! The way of a measurement through the aggregator.

mod handle;

pub use handle::{MeshHandle, MeshStopped, PathError, StoreBatch, StoreUnavailable};
