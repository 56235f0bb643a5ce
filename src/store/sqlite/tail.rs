//! The newest entries in memory, so that what was just appended is folded without being read again.
//!
//! Nothing here is a truth: an entry is put in once it is on disk, and whoever finds a gap reads the journal.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::domain::Seq;
use crate::store::Entry;

/// Bytes of entries that are kept: a few settled batches, or what comes in during one step of folding.
const TAIL_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
pub struct Tail(Mutex<Kept>);

/// Entries without a gap, oldest first.
#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Tail {
    /// Adds entries that have just become durable.
    pub fn extend(&self, entries: impl Iterator<Item = Entry>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            if kept.entries.back().is_some_and(|last| last.seq + 1 != entry.seq) {
                // Another process has appended in between.
                *kept = Kept::default();
            }
            kept.bytes += entry.body.len();
            kept.entries.push_back(entry);
            while kept.bytes > TAIL_BYTES {
                let Some(oldest) = kept.entries.pop_front() else { break };
                kept.bytes -= oldest.body.len();
            }
        }
    }

    /// Entries after `after`, as [`crate::store::Store::ahead`] gives them; empty if they are not all here, or
    /// if there may be others.
    pub fn after(&self, after: Seq, entries_max: u32, bytes_max: usize) -> Vec<Entry> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = kept.entries.front().map(|first| first.seq) else { return vec![] };
        let Ok(skipped) = usize::try_from(after + 1 - first) else { return vec![] };
        let mut before = 0;
        let wanted = kept.entries.range(skipped.min(kept.entries.len())..).take(entries_max as usize);
        wanted
            .take_while(|entry| {
                let fits = before <= bytes_max;
                before += entry.body.len();
                fits
            })
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn entry(seq: Seq, bytes: usize) -> Entry {
        let at = Timestamp::from_micros(seq);
        Entry { seq, at, kind: "heard".to_owned(), body: "x".repeat(bytes).into(), hash: [0; 32] }
    }

    fn seqs(tail: &Tail, after: Seq, entries_max: u32, bytes_max: usize) -> Vec<Seq> {
        tail.after(after, entries_max, bytes_max).iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn entries_are_given_in_order_and_within_both_limits() {
        let tail = Tail::default();
        assert_eq!(seqs(&tail, 0, 10, 1000), [0; 0]);
        tail.extend((5..=9).map(|seq| entry(seq, 100)));
        assert_eq!(seqs(&tail, 4, 10, 1000), [5, 6, 7, 8, 9]);
        assert_eq!(seqs(&tail, 6, 2, 1000), [7, 8]);
        assert_eq!(seqs(&tail, 4, 10, 150), [5, 6], "ended by the entry that passes the limit");
        assert_eq!(seqs(&tail, 9, 10, 1000), [0; 0], "others may have appended");
        assert_eq!(seqs(&tail, 3, 10, 1000), [0; 0], "entry 4 is not here");
    }

    #[test]
    fn a_gap_forgets_what_was_before_it() {
        let tail = Tail::default();
        tail.extend((5..=9).map(|seq| entry(seq, 1)));
        tail.extend((11..=12).map(|seq| entry(seq, 1)));
        assert_eq!(seqs(&tail, 8, 10, 1000), [0; 0]);
        assert_eq!(seqs(&tail, 10, 10, 1000), [11, 12]);
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let tail = Tail::default();
        tail.extend((1..=5).map(|seq| entry(seq, TAIL_BYTES / 4)));
        assert_eq!(seqs(&tail, 0, 10, usize::MAX), [0; 0]);
        assert_eq!(seqs(&tail, 1, 10, usize::MAX), [2, 3, 4, 5]);
        tail.extend(std::iter::once(entry(6, TAIL_BYTES + 1)));
        assert_eq!(seqs(&tail, 5, 10, usize::MAX), [0; 0], "larger than all there is room for");
        tail.extend(std::iter::once(entry(7, 1)));
        assert_eq!(seqs(&tail, 6, 10, usize::MAX), [7]);
    }
}
