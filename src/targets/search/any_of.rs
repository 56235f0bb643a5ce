//! One query for all documents that hold any of many terms.
//!
//! Exists because a deletion by term costs over a kilobyte of scoring tables that no deletion looks at, and a
//! batch has thousands: the daemon would stay twice its size after a large one. It scores nothing.

use std::sync::Arc;

use tantivy::query::{BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::schema::IndexRecordOption;
use tantivy::{BitSet, DocId, DocSet, Score, SegmentReader, TERMINATED, TantivyError, Term};

/// Documents with any of these terms, which are in the order of the dictionary.
#[derive(Clone, Debug)]
pub(super) struct AnyOf(Arc<[Term]>);

impl AnyOf {
    pub(super) fn new(mut terms: Vec<Term>) -> Self {
        terms.sort_unstable();
        Self(terms.into())
    }

    fn documents(&self, segment: &SegmentReader) -> tantivy::Result<BitSet> {
        let mut documents = BitSet::with_max_value(segment.max_doc());
        for term in self.0.iter() {
            let dictionary = segment.inverted_index(term.field())?;
            let Some(mut postings) = dictionary.read_postings(term, IndexRecordOption::Basic)? else {
                continue;
            };
            let mut document = postings.doc();
            while document != TERMINATED {
                documents.insert(document);
                document = postings.advance();
            }
        }
        Ok(documents)
    }
}

impl Query for AnyOf {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for AnyOf {
    fn scorer(&self, segment: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from(self.documents(segment)?), boost)))
    }

    fn explain(&self, segment: &SegmentReader, document: DocId) -> tantivy::Result<Explanation> {
        if self.documents(segment)?.contains(document) {
            return Ok(Explanation::new("holds one of the terms", 1.0));
        }
        Err(TantivyError::InvalidArgument("the document holds none of the terms".into()))
    }
}
