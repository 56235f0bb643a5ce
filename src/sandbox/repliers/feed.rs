//! The deleted feed's contents: deletions that happened, and deletions that are computed from their index.
//!
//! Exists apart from HTTP, so that a feed of a hundred million deletions costs no memory and a page of it no
//! search. It knows no listing that is alive.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::ListingKey;
use crate::domain::Timestamp;

/// One deleted record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub key: ListingKey,
    /// Decides about the window; the feed does not show it.
    pub deleted_on: Timestamp,
    /// The last update before the deletion, which the feed shows.
    pub updated_on: Timestamp,
}

/// Deletions of one board that nobody stores: number `n` (from 0) is `{prefix}{n:09}`, deleted at
/// `first + n × spacing`, last updated a day before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synthetic {
    pub count: u64,
    pub board_id: i64,
    pub prefix: &'static str,
    pub first: Timestamp,
    /// At least a microsecond.
    pub spacing: Duration,
}

/// All deletions: the computed ones first, then the others in the order of their deletion.
#[derive(Clone, Debug, Default)]
pub struct RepliersFeed {
    synthetic: Option<Synthetic>,
    records: BTreeMap<(Timestamp, ListingKey), Timestamp>,
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Times of deletion.
    pub(super) window: RangeInclusive<Timestamp>,
    /// Empty: all boards.
    pub(super) boards: Vec<i64>,
}

const DAY: Duration = Duration::from_hours(24);

impl Synthetic {
    /// Deletion number `index`.
    #[must_use]
    pub fn deletion(&self, index: u64) -> Deleted {
        let deleted_on = self.at(index);
        let key = ListingKey::new(self.board_id, format!("{}{index:09}", self.prefix));
        Deleted { key, deleted_on, updated_on: deleted_on.minus(DAY) }
    }

    fn at(&self, index: u64) -> Timestamp {
        let offset = i128::from(index).saturating_mul(self.step());
        let micros = i128::from(self.first.micros()).saturating_add(offset);
        Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn step(&self) -> i128 {
        i128::try_from(self.spacing.as_micros()).unwrap_or(i128::MAX).max(1)
    }

    /// The numbers of the deletions that are wanted, as a first one and a count.
    fn span(&self, wanted: &Wanted) -> (u64, u64) {
        if !wanted.boards.is_empty() && !wanted.boards.contains(&self.board_id) {
            return (0, 0);
        }
        // Deletions before the given time, or with it: the position where it would stand.
        let before = |micros: i128| {
            let gap = micros - i128::from(self.first.micros());
            let steps = if gap <= 0 { 0 } else { (gap + self.step() - 1) / self.step() };
            u64::try_from(steps).unwrap_or(u64::MAX).min(self.count)
        };
        let from = before(i128::from(wanted.window.start().micros()));
        let to = before(i128::from(wanted.window.end().micros()) + 1);
        (from, to.saturating_sub(from))
    }
}

impl RepliersFeed {
    pub(super) fn new(synthetic: Option<Synthetic>) -> Self {
        Self { synthetic, records: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, deleted: Deleted) {
        self.records.insert((deleted.deleted_on, deleted.key), deleted.updated_on);
    }

    pub(super) fn forget(&mut self, key: &ListingKey) {
        self.records.retain(|(_, known), _| known != key);
    }

    pub(super) fn forget_oldest(&mut self) {
        self.records.pop_first();
    }

    /// How many are wanted in all, and those from `offset` on, at most `limit`.
    pub(super) fn page(&self, wanted: &Wanted, offset: u64, limit: usize) -> (u64, Vec<Deleted>) {
        let (first, computed) = self.synthetic.map_or((0, 0), |synthetic| synthetic.span(wanted));
        let mut page: Vec<Deleted> = Vec::new();
        if let Some(synthetic) = &self.synthetic {
            let numbers = (first..first + computed).skip(usize::try_from(offset).unwrap_or(usize::MAX));
            page.extend(numbers.take(limit).map(|number| synthetic.deletion(number)));
        }
        let (matching, rest) = self.stored(wanted, offset.saturating_sub(computed), limit - page.len());
        page.extend(rest);
        (computed + matching, page)
    }

    fn stored(&self, wanted: &Wanted, offset: u64, limit: usize) -> (u64, Vec<Deleted>) {
        let matches = |(at, key): &(Timestamp, ListingKey)| {
            wanted.window.contains(at) && (wanted.boards.is_empty() || wanted.boards.contains(&key.board_id))
        };
        let mut total = 0;
        let mut page = Vec::new();
        for ((deleted_on, key), updated_on) in self.records.iter().filter(|(place, _)| matches(place)) {
            if total >= offset && page.len() < limit {
                page.push(Deleted { key: key.clone(), deleted_on: *deleted_on, updated_on: *updated_on });
            }
            total += 1;
        }
        (total, page)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    proptest! {
        #[test]
        fn a_page_is_what_filtering_everything_would_give(
            count in 0_u64..20,
            (first, spacing) in (-20_i64..20, 1_u64..5),
            stored in proptest::collection::vec((-40_i64..40, 1_i64..3), 0..10),
            (from, to) in (-50_i64..50, -50_i64..50),
            boards in proptest::collection::vec(1_i64..4, 0..3),
            (offset, limit) in (0_usize..25, 1_usize..10),
        ) {
            let spacing = Duration::from_micros(spacing);
            let synthetic = Synthetic { count, board_id: 1, prefix: "S", first: at(first), spacing };
            let mut feed = RepliersFeed::new(Some(synthetic));
            let mut all: Vec<Deleted> = (0..count).map(|number| synthetic.deletion(number)).collect();
            let mut others: Vec<Deleted> = Vec::new();
            for (number, (micros, board)) in stored.into_iter().enumerate() {
                let key = ListingKey::new(board, format!("W{number:02}"));
                others.push(Deleted { key, deleted_on: at(micros), updated_on: at(0) });
            }
            others.sort_by_key(|deleted| (deleted.deleted_on, deleted.key.clone()));
            others.iter().cloned().for_each(|deleted| feed.add(deleted));
            all.extend(others);
            all.retain(|deleted| {
                (at(from)..=at(to)).contains(&deleted.deleted_on)
                    && (boards.is_empty() || boards.contains(&deleted.key.board_id))
            });

            let wanted = Wanted { window: at(from)..=at(to), boards };
            let (total, page) = feed.page(&wanted, offset as u64, limit);
            prop_assert_eq!(total, all.len() as u64);
            let expected: Vec<Deleted> = all.into_iter().skip(offset).take(limit).collect();
            prop_assert_eq!(page, expected);
        }
    }
}
