//! What identifies a record, byte for byte (I11).
//!
//! A key travels as text from the signed body to the bound parameter. Nothing here parses a number, folds a
//! case or trims a space; what cannot be carried exactly is refused by name.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// The kind of record: `listing`, `deal`, any name that the configuration gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Entity(String);

impl Entity {
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One or more parts that name a record within its entity, in the order of the configuration.
///
/// Stored and ordered by its canonical text, a JSON array of strings: unambiguous whatever the parts hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Key(Vec<String>);

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("a key has 1 to {} parts", Key::PARTS_MAX)]
    Parts,
    #[error("key part {0} is empty")]
    Empty(usize),
    #[error("key part {0} is longer than {max} bytes", max = Key::PART_BYTES_MAX)]
    TooLong(usize),
    #[error("key part {0} holds a NUL character, which no database stores")]
    Nul(usize),
    #[error("not a JSON array of strings")]
    NotCanonical,
}

impl Key {
    /// Parts of a key: the widest composite key seen in the field has four.
    pub const PARTS_MAX: usize = 8;
    /// Bytes of one part: the largest document id of a search engine (Elasticsearch) is 512.
    pub const PART_BYTES_MAX: usize = 512;

    /// # Errors
    /// Names the first part (counted from 1) that is empty, too long or holds a NUL.
    pub fn new(parts: Vec<String>) -> Result<Self, KeyFault> {
        if parts.is_empty() || parts.len() > Self::PARTS_MAX {
            return Err(KeyFault::Parts);
        }
        for (index, part) in parts.iter().enumerate() {
            let number = index + 1;
            if part.is_empty() {
                return Err(KeyFault::Empty(number));
            }
            if part.len() > Self::PART_BYTES_MAX {
                return Err(KeyFault::TooLong(number));
            }
            if part.contains('\0') {
                return Err(KeyFault::Nul(number));
            }
        }
        Ok(Self(parts))
    }

    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// The text under which the key is stored: `["2","W10440893"]`.
    #[must_use]
    pub fn canonical(&self) -> String {
        serde_json::to_string(&self.0).expect("a list of texts")
    }

    /// # Errors
    /// The text is not what [`Key::canonical`] gives.
    pub fn from_canonical(text: &str) -> Result<Self, KeyFault> {
        let parts: Vec<String> = serde_json::from_str(text).map_err(|_| KeyFault::NotCanonical)?;
        Self::new(parts)
    }
}

impl TryFrom<Vec<String>> for Key {
    type Error = KeyFault;

    fn try_from(parts: Vec<String>) -> Result<Self, KeyFault> {
        Self::new(parts)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// For people: parts joined by `:`. Not for storing, since a part may hold a colon.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[&str]) -> Result<Key, KeyFault> {
        Key::new(parts.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn i11_canonical_text_is_unambiguous_and_exact() {
        let tricky = ["007", " W1 ", "a\",\"b", "9007199254740993", "é", "e\u{301}", "\u{1}"];
        for part in tricky {
            let written = key(&[part, "x"]).unwrap();
            assert_eq!(Key::from_canonical(&written.canonical()).unwrap(), written);
        }
        assert_ne!(key(&["a", "b"]).unwrap().canonical(), key(&["a:b"]).unwrap().canonical());
        assert_ne!(key(&["a\",\"b"]).unwrap().canonical(), key(&["a", "b"]).unwrap().canonical());
    }

    #[test]
    fn limits_are_reached_and_named() {
        let longest = "x".repeat(Key::PART_BYTES_MAX);
        assert!(key(&[&longest]).is_ok());
        assert_eq!(key(&["a", &format!("{longest}x")]), Err(KeyFault::TooLong(2)));
        assert!(key(&["a"; Key::PARTS_MAX]).is_ok());
        assert_eq!(key(&["a"; Key::PARTS_MAX + 1]), Err(KeyFault::Parts));
        assert_eq!(key(&[]), Err(KeyFault::Parts));
        assert_eq!(key(&["a", ""]), Err(KeyFault::Empty(2)));
        assert_eq!(key(&["a\0"]), Err(KeyFault::Nul(1)));
    }
}
