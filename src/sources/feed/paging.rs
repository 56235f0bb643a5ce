//! How the ways of paging differ: what names a page in a request, and what in an answer says that more
//! follows. Pure.
//!
//! A walk ends at an explicit mark alone. What the configuration says an answer holds must be there: a
//! missing count or flag is a fault and never the end, and neither is a short page.

use url::Url;

use super::page::PageFault;
use super::window::Bounds;
use super::{FeedError, link};
use crate::config::source::{Feed, Paging, Pointers};
use crate::sources::feed::client::Answer;
use crate::sources::json::{Fault, Item, written};

/// Bytes of a cursor: servers refuse longer request lines.
pub const CURSOR_BYTES_MAX: usize = 8 * 1024;

/// What names a page of a walk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// The first page, where it has no name.
    First,
    Page(u64),
    /// Records before this page.
    Offset(u64),
    Cursor(String),
    Link(Url),
}

/// How much the upstream says there is, wherever it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    pub total: Option<u64>,
    pub pages: Option<u64>,
}

impl Position {
    #[must_use]
    pub fn first(paging: &Paging) -> Self {
        match paging {
            Paging::Page { first, .. } => Self::Page(u64::from(*first)),
            Paging::Offset { .. } => Self::Offset(0),
            Paging::None | Paging::Cursor { .. } | Paging::Link { .. } => Self::First,
        }
    }

    /// The address of the page. A link is taken as the upstream gave it, bounds and all.
    ///
    /// # Errors
    /// The feed's URL is not one.
    pub fn url(&self, feed: &Feed, bounds: &Bounds) -> Result<Url, FeedError> {
        if let Self::Link(url) = self {
            return Ok(url.clone());
        }
        let mut url = Url::parse(&feed.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                FeedError::Setup("the feed's url is not an absolute http or https address".into())
            })?;
        let mut pairs = feed.query.clone();
        pairs.extend(bounds.query(feed));
        pairs.extend(size(&feed.paging).map(|(name, size)| (name.to_owned(), size.to_string())));
        pairs.extend(self.parameter(&feed.paging));
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Ok(url)
    }

    /// The query parameter that names the page, where there is one.
    #[must_use]
    pub fn parameter(&self, paging: &Paging) -> Option<(String, String)> {
        let (Paging::Page { param, .. } | Paging::Offset { param, .. } | Paging::Cursor { param, .. }) =
            paging
        else {
            return None;
        };
        let value = match self {
            Self::Page(number) => number.to_string(),
            Self::Offset(offset) => offset.to_string(),
            Self::Cursor(cursor) => cursor.clone(),
            Self::First | Self::Link(_) => return None,
        };
        Some((param.clone(), value))
    }
}

/// The page size that requests ask for, if the feed can be asked for one.
#[must_use]
pub fn size(paging: &Paging) -> Option<(&str, u32)> {
    match paging {
        Paging::None => None,
        Paging::Page { size_param, size, .. }
        | Paging::Offset { size_param, size, .. }
        | Paging::Cursor { size_param, size, .. }
        | Paging::Link { size_param, size } => Some((size_param.as_deref()?, *size)),
    }
}

/// Where a walk stands after a page.
#[derive(Clone, Copy, Debug)]
pub struct Here<'w> {
    pub position: &'w Position,
    pub url: &'w Url,
    /// Records of this page.
    pub records: u64,
    /// Records of the walk, this page included.
    pub seen: u64,
}

/// The page that follows, and what the answer says of the whole; `None` is the feed's end.
pub fn next(
    paging: &Paging,
    here: Here<'_>,
    root: Item<'_, '_>,
    answer: &Answer,
) -> Result<(Option<Position>, Declared), PageFault> {
    match paging {
        Paging::None => Ok((None, Declared::default())),
        Paging::Page { first, page, pages, total, .. } => {
            let first = u64::from(*first);
            let number = if let Position::Page(number) = here.position { *number } else { first };
            let told = declared("page number", page, root)?;
            if let Some(told) = told.filter(|told| *told != number) {
                return Err(PageFault::WrongPage { asked: number, told });
            }
            let declared = Declared {
                total: declared("total", total, root)?,
                pages: declared("number of pages", pages, root)?,
            };
            let nth = number.saturating_sub(first).saturating_add(1);
            let more = match declared.pages {
                Some(pages) => nth < pages,
                None => more_by_records(here, declared.total),
            };
            if more && here.records == 0 {
                return Err(PageFault::Hollow);
            }
            Ok((more.then_some(Position::Page(number.saturating_add(1))), declared))
        }
        Paging::Offset { total, .. } => {
            let declared = Declared { total: declared("total", total, root)?, pages: None };
            // By what came, not by what was asked for: a server may give less than that.
            let next = || Position::Offset(here.seen);
            Ok((more_by_records(here, declared.total).then(next), declared))
        }
        Paging::Cursor { next, more, .. } => Ok((next_cursor(next, more, root)?, Declared::default())),
        Paging::Link { .. } => Ok((next_link(here.url, &answer.links)?, Declared::default())),
    }
}

/// Without any count, only an empty page is the end; with one, an empty page is one as well, and the walk
/// finds that records are missing.
fn more_by_records(here: Here<'_>, total: Option<u64>) -> bool {
    here.records > 0 && total.is_none_or(|total| here.seen < total)
}

/// A number that must be there if the configuration says where.
fn declared(what: &'static str, place: &Pointers, root: Item<'_, '_>) -> Result<Option<u64>, PageFault> {
    if place.is_empty() {
        return Ok(None);
    }
    let mark = |fault| PageFault::Mark { what, place: written(place), fault };
    root.integer(place).map_err(mark)?.ok_or(mark(Fault::Missing)).map(Some)
}

fn next_cursor(next: &Pointers, more: &Pointers, root: Item<'_, '_>) -> Result<Option<Position>, PageFault> {
    let follows = if more.is_empty() {
        None
    } else {
        let mark = |fault| PageFault::Mark { what: "flag for more", place: written(more), fault };
        match root.label(more).map_err(mark)?.as_deref() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(mark(Fault::Scalar)),
            None => return Err(mark(Fault::Missing)),
        }
    };
    if follows == Some(false) {
        return Ok(None);
    }
    let mark = |fault| PageFault::Mark { what: "cursor", place: written(next), fault };
    match root.text(next).map_err(mark)?.filter(|cursor| !cursor.is_empty()) {
        Some(cursor) if cursor.len() > CURSOR_BYTES_MAX => Err(PageFault::LongCursor),
        Some(cursor) => Ok(Some(Position::Cursor(cursor.into_owned()))),
        None if follows == Some(true) => Err(mark(Fault::Missing)),
        None => Ok(None),
    }
}

fn next_link(url: &Url, headers: &[Option<String>]) -> Result<Option<Position>, PageFault> {
    for header in headers {
        let header = header.as_deref().ok_or(PageFault::LinkHeader)?;
        let Some(target) = link::next(header).map_err(|_| PageFault::LinkHeader)? else { continue };
        let next = url.join(target).map_err(|_| PageFault::LinkHeader)?;
        // The credentials go wherever the link leads.
        if next.origin() != url.origin() {
            return Err(PageFault::ForeignLink);
        }
        return Ok(Some(Position::Link(next)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
