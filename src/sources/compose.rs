//! The body of a delivery, by the same pointers that read it: for test deletions.

use serde_json::{Map, Value};

use crate::config::Source;
use crate::config::source::{EventFrom, Pointer, Pointers};
use crate::domain::{Timestamp, timestamp::TimeFormat};

/// Why no body can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotCompose {
    #[error("the key of this source has {expected} parts, and {given} were given")]
    KeyParts { expected: usize, given: usize },
}

/// A body with one event, as `source` sends them.
///
/// # Errors
/// The key has the wrong number of parts.
pub fn body(source: &Source, key: &[String], event: &str, at: Timestamp) -> Result<String, CannotCompose> {
    let payload = &source.payload;
    if key.len() != payload.key.len() {
        return Err(CannotCompose::KeyParts { expected: payload.key.len(), given: key.len() });
    }
    let mut parts = Parts { whole: Value::Null, items: payload.items.first().cloned() };
    for (part, pointers) in key.iter().zip(&payload.key) {
        parts.put(pointers, Value::from(part.as_str()));
    }
    let time = match payload.time_format {
        TimeFormat::Iso8601 => Value::from(at.to_string()),
        TimeFormat::UnixSeconds => Value::from(at.seconds()),
        TimeFormat::UnixMillis => Value::from(at.millis()),
    };
    parts.put(&payload.deleted_at, time.clone());
    parts.put(&payload.updated_at, time);
    parts.put(&payload.event_id, Value::from(format!("test_{}", at.micros())));
    if let EventFrom::Body(pointers) = &payload.event {
        parts.put(pointers, Value::from(event));
    }
    Ok(parts.whole.to_string())
}

struct Parts {
    whole: Value,
    items: Option<Pointer>,
}

impl Parts {
    /// Puts the value where the first of the pointers leads, making objects on the way.
    fn put(&mut self, pointers: &Pointers, value: Value) {
        let Some(pointer) = pointers.first() else { return };
        let prefix = self.items.as_ref().filter(|_| !pointer.whole).map_or(&[][..], |items| &items.tokens);
        let mut place = &mut self.whole;
        for token in prefix.iter().chain(&pointer.tokens) {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = place.as_object_mut().expect("made an object above").entry(token).or_insert(Value::Null);
        }
        *place = value;
    }
}
