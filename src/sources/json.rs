//! Exact access to a JSON text by JSON pointers (RFC 6901), for webhooks and for pages of a feed.
//!
//! It exists because a general JSON value turns large numbers into floats and silently takes the last of
//! duplicate names: either would delete the wrong record (I11). Here a leaf is the text that was sent. Names
//! and values never appear in a fault, since a body may hold customers' data (I10). Not for building JSON.

mod fields;
mod node;

use std::borrow::Cow;

pub use fields::{Field, FieldFault, Fields};
use node::Node;

use crate::config::source::{Pointer, Pointers};
use crate::domain::{Key, KeyFault, Timestamp, timestamp::TimeFormat};

/// Members of one object or elements of one array: a feed's page of 8 MiB holds at most about as many items
/// that still have a key and a time (40 bytes each).
pub const CHILDREN_MAX: usize = 200_000;

/// Why something could not be read. Says nothing of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    #[error("not JSON, from line {line}, column {column} on")]
    NotJson { line: usize, column: usize },
    #[error("an object or array of more than {CHILDREN_MAX} members")]
    TooMany,
    #[error("a name that stands more than once")]
    Duplicate,
    #[error("an escape that is not Unicode")]
    NotUnicode,
    #[error("missing")]
    Missing,
    #[error("null")]
    Null,
    #[error("a boolean")]
    Boolean,
    #[error("a number with a fraction")]
    Fraction,
    #[error("a number with an exponent")]
    Exponent,
    #[error("an array")]
    Array,
    #[error("an object")]
    Object,
    #[error("neither an object nor an array")]
    Scalar,
    #[error("not a time in the configured format")]
    NotATime,
    #[error("not base64")]
    NotBase64,
    #[error("not a whole number from 0 to 2^64-1")]
    NotACount,
    #[error("empty")]
    Empty,
    #[error("longer than {} bytes", Key::PART_BYTES_MAX)]
    TooLong,
    #[error("a text with a NUL character, which no database stores")]
    Nul,
    #[error(transparent)]
    Key(KeyFault),
}

/// A well-formed JSON text. Each object and array in it is taken apart at most once, when first asked for.
///
/// Not `Sync`: read it before the next `await`.
#[derive(Debug)]
pub struct Document<'a> {
    root: Node<'a>,
}

impl<'a> Document<'a> {
    /// Takes any depth, since nothing recurses, and a leading byte order mark (RFC 8259 section 8.1).
    ///
    /// # Errors
    /// [`Fault::NotUtf8`] and [`Fault::NotJson`], with the place.
    pub fn parse(body: &'a [u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(body).map_err(|error| Fault::NotUtf8(error.valid_up_to()))?;
        let root = Node::parse(text.strip_prefix('\u{feff}').unwrap_or(text))?;
        Ok(Self { root })
    }

    /// The whole text as one item.
    #[must_use]
    pub fn root(&self) -> Item<'_, 'a> {
        Item { root: &self.root, node: &self.root }
    }

    /// The elements of the array that the first pointer that resolves leads to, or the one object there.
    /// No pointers mean the root.
    ///
    /// # Errors
    /// [`Fault::Missing`] if no pointer resolves; what stands there instead of an array or object; what makes
    /// it ambiguous.
    pub fn items(&self, pointers: &[Pointer]) -> Result<Vec<Item<'_, 'a>>, Fault> {
        let root = self.root();
        let node = match pointers {
            [] => root.node,
            some => root.find(some)?.ok_or(Fault::Missing)?,
        };
        let item = |node| Item { root: &self.root, node };
        match node.first_byte() {
            b'[' => Ok(node.elements()?.iter().map(item).collect()),
            b'{' => Ok(vec![item(node)]),
            b'n' => Err(Fault::Null),
            _ => Err(Fault::Scalar),
        }
    }
}

/// One value within a document, from which pointers start; those that are `whole` start at the document.
#[derive(Clone, Copy, Debug)]
pub struct Item<'d, 'a> {
    root: &'d Node<'a>,
    node: &'d Node<'a>,
}

impl<'d, 'a> Item<'d, 'a> {
    /// The text of a string without its escapes, or the digits of an integer as they were written.
    ///
    /// # Errors
    /// [`Fault::Missing`], or what stands there instead, `null` included.
    pub fn exact_text(&self, pointers: &[Pointer]) -> Result<Cow<'a, str>, Fault> {
        self.find(pointers)?.ok_or(Fault::Missing)?.exact_text()
    }

    /// As [`Item::exact_text`], for what may be left out: `None` where it is missing or `null`.
    pub fn text(&self, pointers: &[Pointer]) -> Result<Option<Cow<'a, str>>, Fault> {
        self.find_value(pointers)?.map(Node::exact_text).transpose()
    }

    /// As [`Item::text`], and `true` and `false` are texts as well: for names of events and of states.
    pub fn label(&self, pointers: &[Pointer]) -> Result<Option<Cow<'a, str>>, Fault> {
        self.find_value(pointers)?.map(Node::label).transpose()
    }

    /// A time, as a string in `format` or (in the formats that count from 1970) an integer.
    ///
    /// # Errors
    /// [`Fault::NotATime`]: a time that is there but cannot be read is never taken for none, since the guard
    /// would be disarmed by it.
    pub fn time(&self, pointers: &[Pointer], format: TimeFormat) -> Result<Option<Timestamp>, Fault> {
        self.text(pointers)?.map(|text| Timestamp::parse(&text, format).ok_or(Fault::NotATime)).transpose()
    }

    /// A count, as an integer or a string of digits.
    ///
    /// # Errors
    /// [`Fault::NotACount`], or what stands there instead.
    pub fn integer(&self, pointers: &[Pointer]) -> Result<Option<u64>, Fault> {
        let Some(text) = self.text(pointers)? else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(count) if digits => Ok(Some(count)),
            _ => Err(Fault::NotACount),
        }
    }

    /// The value as it stands in the text, which for an object or array is what a signature covers.
    ///
    /// # Errors
    /// [`Fault::Missing`], also for `null`.
    pub fn raw(&self, pointers: &[Pointer]) -> Result<&'a str, Fault> {
        self.find_value(pointers)?.map(Node::text).ok_or(Fault::Missing)
    }

    /// Whether anything but `null` is there.
    pub fn has(&self, pointers: &[Pointer]) -> Result<bool, Fault> {
        self.find_value(pointers).map(|found| found.is_some())
    }

    /// Names and texts of the object there.
    ///
    /// # Errors
    /// [`Fault::Missing`] where there is none, or what stands in the place of a text.
    pub fn texts(&self, pointers: &[Pointer]) -> Result<Vec<(&'d str, Cow<'a, str>)>, Fault> {
        let object = self.find_value(pointers)?.ok_or(Fault::Missing)?;
        let text = |(name, node): &'d (Cow<'a, str>, Node<'a>)| Ok((name.as_ref(), node.exact_text()?));
        object.members()?.iter().map(text).collect()
    }

    /// The first of the alternatives that is there, `null` included.
    fn find(&self, pointers: &[Pointer]) -> Result<Option<&'d Node<'a>>, Fault> {
        for pointer in pointers {
            if let Some(found) = self.resolve(pointer)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first of the alternatives that is there and not `null`.
    fn find_value(&self, pointers: &[Pointer]) -> Result<Option<&'d Node<'a>>, Fault> {
        for pointer in pointers {
            if let Some(found) = self.resolve(pointer)?
                && found.first_byte() != b'n'
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn resolve(&self, pointer: &Pointer) -> Result<Option<&'d Node<'a>>, Fault> {
        let mut node = if pointer.whole { self.root } else { self.node };
        for token in &pointer.tokens {
            match node.child(token)? {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }
}

/// Pointers as an operator writes them, for messages: `/data/id or #/id`, and `""` for the item itself.
#[must_use]
pub fn written(pointers: &Pointers) -> String {
    let one = |pointer: &Pointer| {
        let start = match (pointer.whole, pointer.tokens.is_empty()) {
            (true, _) => "#",
            (false, true) => "\"\"",
            (false, false) => "",
        };
        let escaped = pointer.tokens.iter().map(|token| token.replace('~', "~0").replace('/', "~1"));
        std::iter::once(start.to_owned()).chain(escaped).collect::<Vec<_>>().join("/")
    };
    pointers.iter().map(one).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
pub(crate) mod tests;
