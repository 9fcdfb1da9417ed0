//! How many clients watch at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::ApiError;

/// Counts and limits the streams to clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watchers {
    open: Arc<AtomicUsize>,
    most: usize,
}

/// One stream; dropping it makes room for another.
#[derive(Debug)]
pub struct Watching {
    open: Arc<AtomicUsize>,
}

impl Watchers {
    /// Room for `most` streams.
    pub fn new(most: usize) -> Self {
        Self {
            open: Arc::default(),
            most,
        }
    }

    /// How many there are.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// One more, if there is room.
    pub fn enter(&self) -> Result<Watching, ApiError> {
        let entered = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < self.most).then_some(open + 1)
            });
        match entered {
            Ok(_) => Ok(Watching {
                open: Arc::clone(&self.open),
            }),
            Err(_) => Err(ApiError::TooManyWatchers { most: self.most }),
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_ends_makes_room() {
        let watchers = Watchers::new(1);
        let first = watchers.enter().unwrap();
        assert_eq!(
            watchers.enter().unwrap_err(),
            ApiError::TooManyWatchers { most: 1 }
        );
        drop(first);
        assert!(watchers.enter().is_ok());
        assert_eq!(watchers.open(), 0);
    }
}
