//! One kept event, as its original delivery: headers, body, and when it came. Pure.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;

use crate::config::source::{EventBody, Pointers, Reading};
use crate::domain::Timestamp;
use crate::sources::json::{Document, Fault, Item, written};

/// A delivery as its upstream made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub headers: HeaderMap,
    pub body: Bytes,
    /// When the keeper got it.
    pub received_at: Option<Timestamp>,
}

/// What came of reading an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    Event(Event),
    /// It is gone for good, unread.
    Gone,
    /// It is there and not understood: what, and where.
    Unreadable(String),
}

pub(super) fn event(reading: &Reading, answer: &[u8]) -> Read {
    whole(reading, answer).map_or_else(Read::Unreadable, Read::Event)
}

fn whole(reading: &Reading, answer: &[u8]) -> Result<Event, String> {
    let document = Document::parse(answer).map_err(|fault| format!("answer: {fault}"))?;
    let root = document.root();
    let body = body(reading, &root).map_err(|fault| told("body", &reading.body, fault))?;
    let texts = root.texts(&reading.headers).map_err(|fault| told("headers", &reading.headers, fault))?;
    let received_at = root
        .time(&reading.received_at, reading.time_format)
        .map_err(|fault| told("time of receipt", &reading.received_at, fault))?;
    let mut headers = HeaderMap::with_capacity(texts.len());
    for (name, value) in texts {
        // A header that HTTP can't carry is none that a signature could rest on.
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let value = HeaderValue::from_bytes(value.as_bytes()).ok();
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    Ok(Event { headers, body, received_at })
}

/// An object or array is the body itself, byte for byte; a text is what the configuration says that it is.
fn body(reading: &Reading, root: &Item<'_, '_>) -> Result<Bytes, Fault> {
    let raw = root.raw(&reading.body)?;
    if raw.starts_with(['{', '[']) {
        return Ok(Bytes::copy_from_slice(raw.as_bytes()));
    }
    let text = root.exact_text(&reading.body)?;
    match reading.text {
        EventBody::Plain => Ok(Bytes::copy_from_slice(text.as_bytes())),
        EventBody::Base64 => BASE64.decode(text.as_bytes()).map(Bytes::from).map_err(|_| Fault::NotBase64),
    }
}

fn told(what: &str, place: &Pointers, fault: Fault) -> String {
    format!("{what} ({}): {fault}", written(place))
}
