//! Deliveries that somebody else keeps for us: listed, read with their original headers, acknowledged, discarded.
//!
//! A source whose upstream can't reach us is read from such an endpoint. This module speaks the keeper's protocol
//! as the configuration gives it. It stores nothing, verifies nothing and decides nothing: acknowledging before the
//! journal has an event would lose it, and is the caller's to avoid. An event is the original delivery byte for
//! byte, as far as the keeper kept it so.

mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};

use url::Url;

pub use read::{Event, Read};

use super::feed::client::{Answer, Ask, shown};
use super::feed::paging::{self, Here, Position};
use super::feed::{Client, FeedError, PageFault};
use super::json::{Document, Fault, Item, written};
use crate::clock::SharedClock;
use crate::config::source::{Discard, Paging, Pointers, Pull};

/// Events of one look at an endpoint: with ids of a hundred bytes, a megabyte. What is beyond it waits for the next
/// look, which follows at once.
pub const LISTED_MAX: usize = 10_000;
/// Pages of one listing: enough for [`LISTED_MAX`] events at ten a page, and an end for a listing that has none.
const PAGES_MAX: u32 = 1_000;
/// Bytes of an event's id: far more than a UUID, and still part of a path.
const ID_BYTES_MAX: usize = 512;

/// Why an endpoint could not be asked, or was not understood. Holds no content.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Asking(#[from] FeedError),
    #[error("{url} answered something unreadable: {what} ({place}): {fault}")]
    Answer { url: String, what: &'static str, place: String, fault: Fault },
    #[error("{url} answered a page that was refused: {fault}")]
    Page { url: String, fault: PageFault },
}

impl PullError {
    /// Whether the same request may be answered later without a person.
    #[must_use]
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::Asking(error) => error.retry_can_help(),
            Self::Answer { .. } | Self::Page { .. } => true,
        }
    }
}

/// What became of events that were to be discarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// Gone now, or before.
    pub gone: usize,
    /// Those of which the answer did not say that they are gone.
    pub left: Vec<String>,
}

/// The endpoints of one source.
pub struct Keeper {
    client: Client,
    pull: Pull,
}

impl Keeper {
    /// # Errors
    /// A header or the trust store cannot be used.
    pub fn new(pull: &Pull, clock: SharedClock) -> Result<Self, FeedError> {
        Ok(Self::over(Client::new(&pull.access, clock)?, pull))
    }

    fn over(client: Client, pull: &Pull) -> Self {
        Self { client, pull: pull.clone() }
    }

    /// Ids of what waits: what came since, and what was fetched before and never acknowledged. Each once, in the
    /// order of the listing, at most [`LISTED_MAX`], without those in `passed`, of which only those stay that are
    /// still listed.
    ///
    /// # Errors
    /// A listing was not read to its end; nothing follows from what was read of it.
    pub async fn waiting(
        &self,
        endpoint: &str,
        passed: &mut HashSet<String>,
    ) -> Result<Vec<String>, PullError> {
        let mut listed = Listed { passed: std::mem::take(passed), ..Listed::default() };
        let mut result = Ok(());
        for query in &self.pull.listing.queries {
            result = self.list(endpoint, query, &mut listed).await;
            if result.is_err() {
                break;
            }
        }
        // After a look that did not see everything, none of them is known to be gone.
        if result.is_ok() && !listed.is_full() {
            listed.passed.retain(|id| listed.seen.contains(id));
        }
        *passed = listed.passed;
        result.map(|()| listed.ids)
    }

    /// Ids of what was acknowledged and not discarded yet, as far as the configuration says how to ask for it.
    ///
    /// # Errors
    /// As [`Keeper::waiting`].
    pub async fn done(&self, endpoint: &str) -> Result<Vec<String>, PullError> {
        let mut listed = Listed::default();
        if let Some(query) = &self.pull.listing.done {
            self.list(endpoint, query, &mut listed).await?;
        }
        Ok(listed.ids)
    }

    async fn list(
        &self,
        endpoint: &str,
        query: &[(String, String)],
        listed: &mut Listed,
    ) -> Result<(), PullError> {
        let listing = &self.pull.listing;
        let base = address(&listing.url, &[("{endpoint}", endpoint)])?;
        let (mut position, mut seen) = (Position::first(&listing.paging), 0);
        for _ in 0..PAGES_MAX {
            let url = page_url(&base, query, &listing.paging, &position);
            let answer = self.client.get(&url).await?;
            let records = self.take(&url, &answer, listed)?;
            seen += records;
            if listed.is_full() {
                return Ok(());
            }
            match self.after(&url, &answer, &position, records, seen)? {
                Some(next) if next != position => position = next,
                Some(_) => return Err(PullError::Page { url: shown(&url), fault: PageFault::Repeated }),
                None => return Ok(()),
            }
        }
        Err(PullError::Page { url: shown(&base), fault: PageFault::TooManyPages(u64::from(PAGES_MAX)) })
    }

    /// The ids of a page; how many items it had.
    fn take(&self, url: &Url, answer: &Answer, listed: &mut Listed) -> Result<u64, PullError> {
        let listing = &self.pull.listing;
        let document = parsed(url, answer)?;
        let items = match document.items(&listing.items) {
            Ok(items) => items,
            // Some write an empty list as null.
            Err(Fault::Null) => Vec::new(),
            Err(fault) => return Err(unreadable(url, "items", &listing.items, fault)),
        };
        for item in &items {
            let id = event_id(url, item, &listing.id)?;
            let discarded = item
                .has(&listing.discarded)
                .map_err(|fault| unreadable(url, "mark of a discarded event", &listing.discarded, fault))?;
            if !discarded {
                listed.add(id);
            }
        }
        Ok(items.len() as u64)
    }

    fn after(
        &self,
        url: &Url,
        answer: &Answer,
        position: &Position,
        records: u64,
        seen: u64,
    ) -> Result<Option<Position>, PullError> {
        let document = parsed(url, answer)?;
        let here = Here { position, url, records, seen };
        paging::next(&self.pull.listing.paging, here, document.root(), answer)
            .map(|(next, _)| next)
            .map_err(|fault| PullError::Page { url: shown(url), fault })
    }

    /// One event. The keeper notes that it was fetched.
    ///
    /// # Errors
    /// The keeper could not be asked. An event that is there and not understood is no error, but
    /// [`Read::Unreadable`].
    pub async fn read(&self, endpoint: &str, event: &str) -> Result<Read, PullError> {
        let reading = &self.pull.reading;
        let url = address(&reading.url, &[("{endpoint}", endpoint), ("{event}", event)])?;
        match self.client.get(&url).await {
            Ok(answer) => Ok(read::event(reading, &answer.body)),
            Err(FeedError::Refused { status, .. }) if reading.gone.contains(&status) => Ok(Read::Gone),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the keeper that these events are ours now. May be repeated.
    ///
    /// # Errors
    /// Not all of them are acknowledged; those that are not will be listed again.
    pub async fn acknowledge(&self, endpoint: &str, ids: &[String]) -> Result<(), PullError> {
        let rule = &self.pull.acknowledge;
        let url = address(&rule.url, &[("{endpoint}", endpoint)])?;
        for chunk in ids.chunks(rule.max.max(1)) {
            self.client.ask(&Ask::post(&url, id_list(&rule.ids, chunk))).await?;
        }
        Ok(())
    }

    /// Whether the keeper is asked to discard what was acknowledged.
    #[must_use]
    pub fn discards(&self) -> bool {
        self.pull.discard.is_some()
    }

    /// Discards events, and reads of each what became of it. May be repeated.
    ///
    /// # Errors
    /// The keeper could not be asked, or its answer was not understood.
    pub async fn discard(&self, endpoint: &str, ids: &[String]) -> Result<Discarded, PullError> {
        let mut all = Discarded::default();
        let Some(rule) = &self.pull.discard else { return Ok(all) };
        let url = address(&rule.url, &[("{endpoint}", endpoint)])?;
        for chunk in ids.chunks(rule.max.max(1)) {
            let answer = self.client.ask(&Ask::post(&url, id_list(&rule.ids, chunk))).await?;
            let mut left: BTreeSet<&str> = chunk.iter().map(String::as_str).collect();
            for gone in outcomes(rule, &url, &answer)? {
                left.remove(gone.as_str());
            }
            all.gone += chunk.len() - left.len();
            all.left.extend(left.into_iter().map(str::to_owned));
        }
        Ok(all)
    }
}

/// The ids that the answer says are gone. One that says that it did not do everything may lack any of them.
fn outcomes(rule: &Discard, url: &Url, answer: &Answer) -> Result<Vec<String>, PullError> {
    let document = parsed(url, answer)?;
    let partial =
        document.root().has(&rule.error).map_err(|fault| unreadable(url, "error", &rule.error, fault))?;
    let results = match document.items(&rule.results) {
        Ok(results) => results,
        Err(Fault::Missing | Fault::Null) if partial => Vec::new(),
        Err(fault) => return Err(unreadable(url, "results", &rule.results, fault)),
    };
    let mut gone = Vec::new();
    for result in &results {
        let id = event_id(url, result, &rule.id)?;
        let outcome = result
            .exact_text(&rule.outcome)
            .map_err(|fault| unreadable(url, "outcome", &rule.outcome, fault))?;
        if rule.gone.iter().any(|known| *known == outcome) {
            gone.push(id);
        }
    }
    Ok(gone)
}

/// Ids of a look, each once.
#[derive(Default)]
struct Listed {
    ids: Vec<String>,
    seen: HashSet<String>,
    passed: HashSet<String>,
}

impl Listed {
    fn add(&mut self, id: String) {
        if !self.is_full() && self.seen.insert(id.clone()) && !self.passed.contains(&id) {
            self.ids.push(id);
        }
    }

    fn is_full(&self) -> bool {
        self.ids.len() >= LISTED_MAX
    }
}

fn event_id(url: &Url, item: &Item<'_, '_>, place: &Pointers) -> Result<String, PullError> {
    let id = item.exact_text(place).map_err(|fault| unreadable(url, "id", place, fault))?;
    let fault = match id.len() {
        0 => Fault::Empty,
        1..=ID_BYTES_MAX => return Ok(id.into_owned()),
        _ => Fault::TooLong,
    };
    Err(unreadable(url, "id", place, fault))
}

fn parsed<'a>(url: &Url, answer: &'a Answer) -> Result<Document<'a>, PullError> {
    Document::parse(&answer.body).map_err(|fault| unreadable(url, "body", &Pointers::new(), fault))
}

fn unreadable(url: &Url, what: &'static str, place: &Pointers, fault: Fault) -> PullError {
    PullError::Answer { url: shown(url), what, place: written(place), fault }
}

/// `{"event_ids":["a","b"]}`
fn id_list(name: &str, ids: &[String]) -> String {
    serde_json::json!({ name: ids }).to_string()
}

/// The address with its places filled, each as one segment of the path whatever it holds.
fn address(template: &str, places: &[(&str, &str)]) -> Result<Url, FeedError> {
    let filled =
        places.iter().fold(template.to_owned(), |text, (place, id)| text.replace(place, &segment(id)));
    let url = Url::parse(&filled)
        .map_err(|_| FeedError::Setup("an url of the pull endpoint is not absolute".into()))?;
    // Dots alone are no name but a way up, even when they are encoded.
    let climbs = places.iter().any(|(_, id)| matches!(*id, "" | "." | ".."));
    if climbs { Err(FeedError::Setup("an id is empty or made of dots".into())) } else { Ok(url) }
}

/// Percent-encodes everything that could end a segment or climb out of it.
fn segment(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    let encoded = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    id.bytes().map(encoded).collect()
}

fn page_url(base: &Url, query: &[(String, String)], paging: &Paging, position: &Position) -> Url {
    if let Position::Link(url) = position {
        return url.clone();
    }
    let mut pairs = query.to_vec();
    pairs.extend(paging::size(paging).map(|(name, size)| (name.to_owned(), size.to_string())));
    pairs.extend(position.parameter(paging));
    let mut url = base.clone();
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    url
}
