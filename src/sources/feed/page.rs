//! One answer of a feed, read as a whole or refused as a whole, with the reason by name. Pure.
//!
//! A page that is not what it should be says nothing of what was deleted: it is never taken for an empty
//! one, nor for the end of the feed. Faults name places of the configuration and numbers, never content (I10).

use url::Url;

use super::client::Answer;
use super::paging::{self, CURSOR_BYTES_MAX, Declared, Here, Position};
use crate::config::source::Feed;
use crate::domain::{Evidence, Key};
use crate::sources::json::{Document, Fault, Field, FieldFault, Fields};

/// A page this many times as large as asked for comes from an upstream that ignores what it is asked.
const OVERSIZE: u64 = 10;

/// One deletion, as the feed tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    pub key: Key,
    pub evidence: Evidence,
}

/// What a page holds, and where the feed goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRead {
    pub records: Vec<Record>,
    /// `None` if the page says that it is the last.
    pub next: Option<Position>,
    pub declared: Declared,
}

/// Why a page was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageFault {
    #[error("the answer is {0}")]
    Json(Fault),
    #[error(transparent)]
    Items(FieldFault),
    /// Counted from 1.
    #[error("record {number}, {fault}")]
    Record { number: usize, fault: FieldFault },
    #[error(
        "record {number} has no time, and may be an older deletion of a record that is listed again: name a further \
         place for it in feed.deleted_at or feed.updated_at"
    )]
    Undated { number: usize },
    #[error("{what} ({place}): {fault}")]
    Mark { what: &'static str, place: String, fault: Fault },
    #[error("asked for page {asked} and got page {told}: the upstream does not know the page parameter")]
    WrongPage { asked: u64, told: u64 },
    #[error("empty, although more pages follow")]
    Hollow,
    #[error("asked for {asked} records and got {got}: the upstream does not know the size parameter")]
    Oversized { asked: u32, got: u64 },
    #[error("leads back to a page that was read before: the feed would never end")]
    Repeated,
    #[error("the next link leads to another host or scheme, where the credentials may not go")]
    ForeignLink,
    #[error("the Link header cannot be read")]
    LinkHeader,
    #[error("the cursor is longer than {CURSOR_BYTES_MAX} bytes")]
    LongCursor,
    #[error("the walk has more than {0} pages")]
    TooManyPages(u64),
    #[error("the walk has more than {0} records")]
    TooManyRecords(u64),
}

/// Reads the page at `position`, which was asked for at `url`, after `seen` records of the same walk.
///
/// # Errors
/// Something on it is not what the configuration says; then nothing of it counts.
pub fn read(
    feed: &Feed,
    position: &Position,
    url: &Url,
    seen: u64,
    answer: &Answer,
) -> Result<PageRead, PageFault> {
    let document = Document::parse(&answer.body).map_err(PageFault::Json)?;
    let items = document
        .items(&feed.items)
        .map_err(|fault| PageFault::Items(FieldFault::new(Field::Items, &feed.items, fault)))?;
    let got = items.len() as u64;
    if let Some((_, asked)) = paging::size(&feed.paging)
        && got > u64::from(asked).saturating_mul(OVERSIZE)
    {
        return Err(PageFault::Oversized { asked, got });
    }
    let fields = Fields {
        key: &feed.key,
        deleted_at: &feed.deleted_at,
        updated_at: &feed.updated_at,
        time_format: feed.time_format,
        event_id: &feed.event_id,
    };
    let mut records = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let (key, evidence) =
            item.read(&fields).map_err(|fault| PageFault::Record { number: index + 1, fault })?;
        if feed.relists && evidence.time().is_none() {
            return Err(PageFault::Undated { number: index + 1 });
        }
        records.push(Record { key, evidence });
    }
    let here = Here { position, url, records: got, seen: seen.saturating_add(got) };
    let (next, declared) = paging::next(&feed.paging, here, document.root(), answer)?;
    Ok(PageRead { records, next, declared })
}

#[cfg(test)]
mod tests;
