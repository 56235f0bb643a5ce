//! A JSON value as the slice of text that it is, taken apart one level at a time and on demand.
//!
//! The parser is serde_json's, reading raw values: it checks the whole text once, and each level that a
//! pointer passes once more. Nothing here recurses into a body.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{CHILDREN_MAX, Fault};

/// A value; its text is valid JSON without white space around it.
#[derive(Debug)]
pub(super) struct Node<'a> {
    text: &'a str,
    children: OnceCell<Result<Children<'a>, Fault>>,
}

#[derive(Debug)]
enum Children<'a> {
    /// By name, so that twins are neighbours and a hostile object costs no more than sorting it.
    Members(Vec<(Cow<'a, str>, Node<'a>)>),
    Elements(Vec<Node<'a>>),
    None,
}

impl<'a> Node<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Fault> {
        let raw: &'a RawValue = serde_json::from_str(text)
            .map_err(|error| Fault::NotJson { line: error.line(), column: error.column() })?;
        Ok(Self::of(raw))
    }

    fn of(raw: &'a RawValue) -> Self {
        Self { text: raw.get(), children: OnceCell::new() }
    }

    /// Tells the kind of value: `{`, `[`, `"`, `t`, `f`, `n`, or a number's first.
    pub(super) fn first_byte(&self) -> u8 {
        self.text.as_bytes().first().copied().unwrap_or(b'n')
    }

    /// What stands under a reference token; `None` if nothing does, or if this is neither object nor array.
    ///
    /// Only a name that is asked for must be unique: twins elsewhere in the object mislead nobody.
    pub(super) fn child(&self, token: &str) -> Result<Option<&Self>, Fault> {
        match self.children()? {
            Children::Members(members) => {
                let start = members.partition_point(|(name, _)| name.as_ref() < token);
                let mut same = members[start..].iter().take_while(|(name, _)| name == token);
                match (same.next(), same.next()) {
                    (_, Some(_)) => Err(Fault::Duplicate),
                    (first, None) => Ok(first.map(|(_, node)| node)),
                }
            }
            Children::Elements(elements) => Ok(array_index(token).and_then(|index| elements.get(index))),
            Children::None => Ok(None),
        }
    }

    /// The elements of an array; of anything else none.
    pub(super) fn elements(&self) -> Result<&[Self], Fault> {
        match self.children()? {
            Children::Elements(elements) => Ok(elements),
            Children::Members(_) | Children::None => Ok(&[]),
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The members of an object, by name; of anything else none.
    pub(super) fn members(&self) -> Result<&[(Cow<'a, str>, Self)], Fault> {
        match self.children()? {
            Children::Members(members) => Ok(members),
            Children::Elements(_) | Children::None => Ok(&[]),
        }
    }

    pub(super) fn exact_text(&self) -> Result<Cow<'a, str>, Fault> {
        match self.first_byte() {
            b'"' => self.string(),
            b'{' => Err(Fault::Object),
            b'[' => Err(Fault::Array),
            b't' | b'f' => Err(Fault::Boolean),
            b'n' => Err(Fault::Null),
            _ => self.integer(),
        }
    }

    pub(super) fn label(&self) -> Result<Cow<'a, str>, Fault> {
        match self.exact_text() {
            Err(Fault::Boolean) => Ok(Cow::Borrowed(self.text)),
            other => other,
        }
    }

    fn string(&self) -> Result<Cow<'a, str>, Fault> {
        let inner = &self.text[1..self.text.len() - 1];
        if !inner.contains('\\') {
            return Ok(Cow::Borrowed(inner));
        }
        serde_json::from_str(self.text).map(Cow::Owned).map_err(|_| Fault::NotUnicode)
    }

    /// The text is a valid JSON number, so what is not an integer literal has one of three marks.
    fn integer(&self) -> Result<Cow<'a, str>, Fault> {
        if self.text.contains(['e', 'E']) {
            return Err(Fault::Exponent);
        }
        if self.text.contains('.') {
            return Err(Fault::Fraction);
        }
        Ok(Cow::Borrowed(self.text))
    }

    fn children(&self) -> Result<&Children<'a>, Fault> {
        self.children.get_or_init(|| take_apart(self.text)).as_ref().map_err(|fault| *fault)
    }
}

/// RFC 6901 section 4: digits without leading zeros.
fn array_index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with('0');
    if canonical && token.bytes().all(|byte| byte.is_ascii_digit()) { token.parse().ok() } else { None }
}

fn take_apart(text: &str) -> Result<Children<'_>, Fault> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let mut taken = match text.as_bytes().first() {
        Some(b'{') => parser.deserialize_map(ChildrenVisitor),
        Some(b'[') => parser.deserialize_seq(ChildrenVisitor),
        _ => return Ok(Children::None),
    }
    // The text has been parsed before as a whole, but raw: only the names' escapes have not been read.
    .map_err(|_| Fault::NotUnicode)?
    .ok_or(Fault::TooMany)?;
    if let Children::Members(members) = &mut taken {
        members.sort_by(|(left, _), (right, _)| left.cmp(right));
    }
    Ok(taken)
}

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Gives `None` above [`CHILDREN_MAX`].
struct ChildrenVisitor;

impl<'de> Visitor<'de> for ChildrenVisitor {
    type Value = Option<Children<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        let mut fits = true;
        while let Some((Name(name), raw)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            fits = fits && members.len() < CHILDREN_MAX;
            if fits {
                members.push((name, Node::of(raw)));
            }
        }
        Ok(fits.then_some(Children::Members(members)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        let mut fits = true;
        while let Some(raw) = array.next_element::<&'de RawValue>()? {
            fits = fits && elements.len() < CHILDREN_MAX;
            if fits {
                elements.push(Node::of(raw));
            }
        }
        Ok(fits.then_some(Children::Elements(elements)))
    }
}
