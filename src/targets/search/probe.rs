//! Looks live documents up by their ids in the term dictionaries, without running a query.
//!
//! Exists because Tantivy does not say what a deletion took, nor asks how old it is. In the order of the
//! dictionary and one segment after the other, ten thousand ids take about as long as two hundred queries. It
//! may not change anything.

use std::collections::{HashMap, hash_map::Entry};
use std::sync::Arc;

use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, Searcher, SegmentReader, TERMINATED, Term};

use super::guard::{Guard, Limit, Values};

/// An id, and how old its documents may be.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) term: Term,
    /// `None`: whatever their age.
    pub(super) limit: Option<(Arc<Guard>, Limit)>,
}

/// The live documents of an id, over all segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rows: u64,
    /// One of them is newer than the limit.
    pub(super) newer: bool,
}

/// The columns of a segment that were opened by now, by their field.
type Columns<'w> = HashMap<&'w str, Values>;

/// What lives of each id, in the order of `wanted`.
pub(super) fn live(searcher: &Searcher, wanted: &[&Wanted]) -> tantivy::Result<Vec<Found>> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_unstable_by(|left, right| wanted[*left].term.cmp(&wanted[*right].term));
    let mut found = vec![Found::default(); wanted.len()];
    for segment in searcher.segment_readers() {
        let mut columns = Columns::new();
        for position in &order {
            let here = live_in(segment, wanted[*position], &mut columns)?;
            found[*position].rows += here.rows;
            found[*position].newer |= here.newer;
        }
    }
    Ok(found)
}

fn live_in<'w>(
    segment: &SegmentReader,
    wanted: &'w Wanted,
    columns: &mut Columns<'w>,
) -> tantivy::Result<Found> {
    let dictionary = segment.inverted_index(wanted.term.field())?;
    let Some(info) = dictionary.get_term_info(&wanted.term)? else { return Ok(Found::default()) };
    let alive = segment.alive_bitset();
    if alive.is_none() && wanted.limit.is_none() {
        return Ok(Found { rows: u64::from(info.doc_freq), newer: false });
    }
    // A merge drops deleted documents; until then the dictionary still counts them.
    let mut postings = dictionary.read_postings_from_terminfo(&info, IndexRecordOption::Basic)?;
    let Some((guard, limit)) = &wanted.limit else {
        let rows = alive.map_or(info.doc_freq, |alive| postings.doc_freq_given_deletes(alive));
        return Ok(Found { rows: u64::from(rows), newer: false });
    };
    let values = match columns.entry(guard.field()) {
        Entry::Occupied(opened) => opened.into_mut(),
        Entry::Vacant(place) => place.insert(guard.values(segment)?),
    };
    let mut found = Found::default();
    let mut document = postings.doc();
    while document != TERMINATED {
        if alive.is_none_or(|alive| alive.is_alive(document)) {
            found.rows += 1;
            found.newer |= values.newer(document, *limit);
        }
        document = postings.advance();
    }
    Ok(found)
}
