//! From the body of an authentic delivery to notices, by places and meanings that the configuration gives.
//!
//! One item that cannot be read never loses the others (I6): it is told beside them, by number and place and
//! never by content (I10). Decides nothing about what becomes of a notice.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::HeaderMap;

use super::json::{Document, Fault, Field, FieldFault, Fields, Item, written};
use super::signature::Verified;
use crate::config::Source;
use crate::config::source::{EventFrom, EventRule, Meaning, Payload};
use crate::domain::{Action, Entity, Notice};

/// Items of one body: at the default body limit of 1 MiB an item would have a hundred bytes, less than any
/// upstream's.
pub const ITEMS_MAX: usize = 10_000;

/// Faults that are told of one body; the others are only counted.
pub const FAULTS_MAX: usize = 20;

/// What a body says. All of it may be empty: some upstreams send an empty list as a sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub notices: Vec<Notice>,
    /// Items whose event means nothing here, those of unknown events among them.
    pub ignored: u32,
    /// Items whose event the configuration does not name.
    pub unknown: u32,
    /// Items that could not be read.
    pub unreadable: u32,
    /// The first [`FAULTS_MAX`] of them.
    pub faults: Vec<Unreadable>,
}

/// What could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("body: {0}")]
    Body(Fault),
    #[error("{0}")]
    Items(FieldFault),
    #[error("more than {ITEMS_MAX} items")]
    TooManyItems,
    /// Counted from 1.
    #[error("item {0}: {1}")]
    Item(usize, FieldFault),
}

/// Reads the bodies of one source.
#[derive(Clone, Debug)]
pub struct Parser {
    entity: Entity,
    payload: Payload,
    events: BTreeMap<String, EventRule>,
}

impl Parser {
    #[must_use]
    pub fn new(source: &Source) -> Self {
        Self { entity: source.entity.clone(), payload: source.payload.clone(), events: source.events.clone() }
    }

    /// `path_event` is the last segment of `/hooks/{source}/{event}`, if the delivery came that way.
    ///
    /// # Errors
    /// The body as a whole says nothing: it is not JSON, its items are not where they should be, or they are
    /// too many. An item that cannot be read is no error, but one of [`Parsed::faults`].
    pub fn parse(
        &self,
        body: &[u8],
        headers: &HeaderMap,
        path_event: Option<&str>,
        verified: &Verified,
    ) -> Result<Parsed, Unreadable> {
        let document = Document::parse(body).map_err(Unreadable::Body)?;
        let items = document
            .items(&self.payload.items)
            .map_err(|fault| Unreadable::Items(FieldFault::new(Field::Items, &self.payload.items, fault)))?;
        if items.len() > ITEMS_MAX {
            return Err(Unreadable::TooManyItems);
        }
        let around = Around { headers, path_event, verified };
        let mut parsed = Parsed::default();
        for (index, item) in items.iter().enumerate() {
            match self.read(item, &around) {
                Ok(Read::Notice(notice)) => parsed.notices.push(notice),
                Ok(Read::Ignored) => parsed.ignored += 1,
                Ok(Read::Unknown) => {
                    parsed.ignored += 1;
                    parsed.unknown += 1;
                }
                Err(fault) => {
                    parsed.unreadable += 1;
                    if parsed.faults.len() < FAULTS_MAX {
                        parsed.faults.push(Unreadable::Item(index + 1, fault));
                    }
                }
            }
        }
        Ok(parsed)
    }

    /// As [`Parser::parse`], with everything that could not be read as text: an authentic body is kept and told of,
    /// whatever it is.
    #[must_use]
    pub fn understand(
        &self,
        body: &[u8],
        headers: &HeaderMap,
        path_event: Option<&str>,
        verified: &Verified,
    ) -> (Parsed, Vec<String>) {
        match self.parse(body, headers, path_event, verified) {
            Ok(parsed) => {
                let faults = parsed.faults.iter().map(ToString::to_string).collect();
                (parsed, faults)
            }
            Err(fault) => (Parsed::default(), vec![fault.to_string()]),
        }
    }

    /// The event comes first: what means nothing here may lack a key.
    fn read(&self, item: &Item<'_, '_>, around: &Around<'_>) -> Result<Read, FieldFault> {
        let name = self.event(item, around)?;
        let Some(rule) = self.events.get(name.as_ref()) else { return Ok(Read::Unknown) };
        let Meaning::Notice(action) = meaning(rule, item)? else { return Ok(Read::Ignored) };
        self.notice(item, action, around.verified).map(Read::Notice)
    }

    fn notice(&self, item: &Item<'_, '_>, action: Action, verified: &Verified) -> Result<Notice, FieldFault> {
        let payload = &self.payload;
        let (key, mut evidence) = item.read(&Fields {
            key: &payload.key,
            deleted_at: &payload.deleted_at,
            updated_at: &payload.updated_at,
            time_format: payload.time_format,
            event_id: &payload.event_id,
        })?;
        if evidence.event_id.is_none() && payload.event_id_from_delivery {
            evidence.event_id.clone_from(&verified.delivery_id);
        }
        Ok(Notice { entity: self.entity.clone(), key, action, evidence })
    }

    /// The name of the item's event; where its place is empty, the one in the path, so that a subscription
    /// with an own URL for each event works for every source.
    fn event<'e, 'b: 'e>(
        &self,
        item: &Item<'_, 'b>,
        around: &Around<'e>,
    ) -> Result<Cow<'e, str>, FieldFault> {
        let name = match &self.payload.event {
            EventFrom::Body(pointers) => item.label(pointers),
            EventFrom::Header(name) => around.header(name),
            EventFrom::Path => Ok(None),
        };
        let given = |name: &Cow<'_, str>| !name.is_empty();
        let path = || around.path_event.map(Cow::Borrowed).filter(given);
        let name = name.map_err(|fault| self.event_fault(fault))?;
        name.filter(given).or_else(path).ok_or_else(|| self.event_fault(Fault::Missing))
    }

    fn event_fault(&self, fault: Fault) -> FieldFault {
        let place = match &self.payload.event {
            EventFrom::Body(pointers) => written(pointers),
            EventFrom::Header(name) => format!("header {name}"),
            EventFrom::Path => "path".to_owned(),
        };
        FieldFault { field: Field::Event, place, fault }
    }
}

/// What came with a body.
struct Around<'a> {
    headers: &'a HeaderMap,
    path_event: Option<&'a str>,
    verified: &'a Verified,
}

impl<'a> Around<'a> {
    fn header(&self, name: &str) -> Result<Option<Cow<'a, str>>, Fault> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                value.to_str().map(|text| Some(Cow::Borrowed(text))).map_err(|_| Fault::NotUnicode)
            }
            (_, Some(_)) => Err(Fault::Duplicate),
        }
    }
}

enum Read {
    Notice(Notice),
    Ignored,
    Unknown,
}

fn meaning(rule: &EventRule, item: &Item<'_, '_>) -> Result<Meaning, FieldFault> {
    match rule {
        EventRule::Means(meaning) => Ok(*meaning),
        // The first of the places whose value has a meaning: one that has none there says nothing of the others.
        EventRule::By { pointer, values, otherwise } => {
            for place in pointer.chunks(1) {
                let unreadable = |fault| FieldFault::new(Field::State, &place.to_vec(), fault);
                let state = item.label(place).map_err(unreadable)?;
                if let Some(meaning) = state.and_then(|state| values.get(state.as_ref())) {
                    return Ok(*meaning);
                }
            }
            Ok(*otherwise)
        }
    }
}

#[cfg(test)]
mod tests;
