//! What a notice needs of an item, read at once, with the field's name and place in every fault.

use std::borrow::Cow;
use std::fmt;

use super::{Fault, Item, written};
use crate::config::source::Pointers;
use crate::domain::{Evidence, Key, KeyFault, timestamp::TimeFormat};

/// Where an item holds its key and evidence: the part that webhooks and feeds have in common.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'c> {
    pub key: &'c [Pointers],
    pub deleted_at: &'c Pointers,
    pub updated_at: &'c Pointers,
    pub time_format: TimeFormat,
    pub event_id: &'c Pointers,
}

/// A field of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Counted from 1.
    KeyPart(usize),
    DeletedAt,
    UpdatedAt,
    EventId,
    Event,
    /// The value that an event's meaning depends on.
    State,
    Items,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyPart(number) => write!(f, "key part {number}"),
            Self::DeletedAt => f.write_str("deletion time"),
            Self::UpdatedAt => f.write_str("update time"),
            Self::EventId => f.write_str("event id"),
            Self::Event => f.write_str("event"),
            Self::State => f.write_str("state"),
            Self::Items => f.write_str("items"),
        }
    }
}

/// A field that could not be read: `key part 2 (/mlsNumber): missing`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} ({place}): {fault}")]
pub struct FieldFault {
    pub field: Field,
    /// The configuration's pointers as written, or what else names the place.
    pub place: String,
    pub fault: Fault,
}

impl FieldFault {
    #[must_use]
    pub fn new(field: Field, pointers: &Pointers, fault: Fault) -> Self {
        Self { field, place: written(pointers), fault }
    }
}

impl Item<'_, '_> {
    /// # Errors
    /// Names the part that is missing, not exact text, empty, too long or not storable.
    pub fn key(&self, parts: &[Pointers]) -> Result<Key, FieldFault> {
        let mut texts = Vec::with_capacity(parts.len());
        for (index, pointers) in parts.iter().enumerate() {
            let text = self
                .exact_text(pointers)
                .map_err(|fault| FieldFault::new(Field::KeyPart(index + 1), pointers, fault))?;
            texts.push(text.into_owned());
        }
        Key::new(texts).map_err(|fault| {
            let (number, fault) = match fault {
                KeyFault::Empty(number) => (number, Fault::Empty),
                KeyFault::TooLong(number) => (number, Fault::TooLong),
                KeyFault::Nul(number) => (number, Fault::Nul),
                KeyFault::Parts | KeyFault::NotCanonical => (1, Fault::Key(fault)),
            };
            let none = Pointers::new();
            FieldFault::new(Field::KeyPart(number), parts.get(number - 1).unwrap_or(&none), fault)
        })
    }

    /// Key and evidence of an item.
    ///
    /// # Errors
    /// The first field that cannot be read; evidence may be absent, but not unreadable.
    pub fn read(&self, fields: &Fields<'_>) -> Result<(Key, Evidence), FieldFault> {
        let time = |field, pointers: &Pointers| {
            self.time(pointers, fields.time_format).map_err(|fault| FieldFault::new(field, pointers, fault))
        };
        let key = self.key(fields.key)?;
        let event_id = self
            .text(fields.event_id)
            .map_err(|fault| FieldFault::new(Field::EventId, fields.event_id, fault))?;
        let evidence = Evidence {
            // An empty id would make every deletion look like a repeat of the first.
            event_id: event_id.map(Cow::into_owned).filter(|id| !id.is_empty()),
            deleted_at: time(Field::DeletedAt, fields.deleted_at)?,
            updated_at: time(Field::UpdatedAt, fields.updated_at)?,
        };
        Ok((key, evidence))
    }
}
