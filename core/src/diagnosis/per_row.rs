//! What is worked out of each row of a layer, once for as long as the row stands.

use std::sync::Arc;

use super::{LayerPicture, RowPicture};

/// An answer for each row. Most rows of a picture are those of the picture before, and their answers are kept.
#[derive(Debug)]
pub(super) struct PerRow<T> {
    /// By source, with the row that it is of.
    rows: Vec<Option<(Arc<RowPicture>, Arc<T>)>>,
}

impl<T> Clone for PerRow<T> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
        }
    }
}

impl<T> Default for PerRow<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T> PerRow<T> {
    /// No rows.
    pub(super) const NONE: Self = Self { rows: Vec::new() };

    /// The same for the rows of a layer, of which those that are new are worked out.
    pub(super) fn renewed(self, layer: &LayerPicture, work_out: impl Fn(&RowPicture) -> T) -> Self {
        let mut before = self.rows.into_iter();
        let rows = layer.rows.iter().map(|row| {
            let known = before.next().flatten();
            let row = row.as_ref()?;
            let known = known.filter(|(of, _)| Arc::ptr_eq(of, row));
            Some(known.unwrap_or_else(|| (Arc::clone(row), Arc::new(work_out(row)))))
        });
        Self {
            rows: rows.collect(),
        }
    }

    /// How many sources may have one.
    pub(super) const fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row of a source and what is known of it, if it ever reported.
    pub(super) fn get(&self, source: usize) -> Option<(&RowPicture, &T)> {
        let (row, known) = self.rows.get(source)?.as_ref()?;
        Some((row, known))
    }

    /// What is known of the row of a source, shared.
    pub(super) fn known(&self, source: usize) -> Option<&Arc<T>> {
        let (_, known) = self.rows.get(source)?.as_ref()?;
        Some(known)
    }

    /// All of them, with their sources, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &RowPicture, &T)> {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(source, row)| {
            let (row, known) = row.as_ref()?;
            Some((source, &**row, &**known))
        })
    }
}
