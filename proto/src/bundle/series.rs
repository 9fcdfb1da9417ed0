//! The last pictures within a bound of memory: dense lately, sparse long ago.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::PackedPicture;

/// Pictures in order of time, within a span of time and a number of octets.
///
/// When there is no room the picture goes whose neighbours are closest together, measured by its age: so the whole span
/// stays covered, coarsely where it is old.
#[derive(Clone, Debug)]
pub struct Series {
    span: Duration,
    most_octets: usize,
    octets: usize,
    thinned: u64,
    pictures: VecDeque<PackedPicture>,
}

impl Series {
    /// Nothing yet. Pictures older than `span` before the newest one go, and so many that the others fit `most_octets`.
    pub const fn new(span: Duration, most_octets: usize) -> Self {
        Self {
            span,
            most_octets,
            octets: 0,
            thinned: 0,
            pictures: VecDeque::new(),
        }
    }

    /// Adds the newest picture.
    pub fn push(&mut self, picture: PackedPicture) {
        let newest = picture.now;
        self.octets += fresh_octets(&picture, self.pictures.back());
        self.pictures.push_back(picture);
        while let Some(oldest) = self.pictures.front()
            && newest.saturating_since(oldest.now) > self.span
        {
            self.remove(0);
        }
        while self.octets > self.most_octets && self.pictures.len() > 1 {
            self.remove(self.most_crowded());
            self.thinned += 1;
        }
    }

    /// The pictures, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &PackedPicture> {
        self.pictures.iter()
    }

    /// Pictures that went before their time, for want of room.
    pub const fn thinned(&self) -> u64 {
        self.thinned
    }

    /// Memory that it takes, about.
    pub const fn octets(&self) -> usize {
        self.octets
    }

    /// The place of the picture that is missed least; never the newest one.
    fn most_crowded(&self) -> usize {
        let Some(newest) = self.pictures.back() else {
            return 0;
        };
        let room = |i: usize| {
            let since = |from: usize, to: usize| {
                let (from, to) = (&self.pictures[from], &self.pictures[to]);
                to.now.saturating_since(from.now).as_secs_f64()
            };
            let age = newest
                .now
                .saturating_since(self.pictures[i].now)
                .as_secs_f64();
            since(i - 1, i + 1) / (age + 10.0)
        };
        (1..self.pictures.len().saturating_sub(1))
            .min_by(|a, b| room(*a).total_cmp(&room(*b)))
            .unwrap_or(0)
    }

    fn remove(&mut self, place: usize) {
        let Some(gone) = self.pictures.remove(place) else {
            return;
        };
        // What only its neighbours still need stays; neighbours are the only ones that share rows with it.
        let earlier = place.checked_sub(1).and_then(|i| self.pictures.get(i));
        let later = self.pictures.get(place);
        let freed = unshared_octets(&gone, [earlier, later]);
        self.octets = self.octets.saturating_sub(freed);
    }
}

/// Octets of a picture that the one before does not have.
fn fresh_octets(picture: &PackedPicture, before: Option<&PackedPicture>) -> usize {
    unshared_octets(picture, [before, None])
}

fn unshared_octets(picture: &PackedPicture, others: [Option<&PackedPicture>; 2]) -> usize {
    let is_shared = |layer, number: usize, row: &Arc<[u8]>| {
        others.iter().flatten().any(|other| {
            let same = other.layers.iter().find(|other| other.layer == layer);
            same.and_then(|same| same.rows.get(number)?.as_ref())
                .is_some_and(|other| Arc::ptr_eq(other, row))
        })
    };
    let rows = picture.layers.iter().flat_map(|layer| {
        let rows = layer.rows.iter().enumerate();
        rows.filter_map(|(number, row)| Some((layer.layer, number, row.as_ref()?)))
    });
    let rows: usize = rows
        .filter(|(layer, number, row)| !is_shared(*layer, *number, row))
        .map(|(_, _, row)| row.len() + 16)
        .sum();
    rows + picture.frame_octets()
}
