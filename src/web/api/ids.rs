//! One id as a program writes it, in JSON or on a line: a text, or a list of texts, byte for byte (I11).

use crate::domain::{Key, KeyFault};

/// Why an id is none. Says nothing of what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdFault {
    #[error(
        "an id is a text or a list of texts; a number is written as a text too, so that no digit is lost"
    )]
    NotText,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("the line is longer than {} bytes", super::lines::LINE_BYTES_MAX)]
    TooLong,
    #[error("the id has {has} parts, and {wants} are needed")]
    Parts { has: usize, wants: usize },
    #[error(transparent)]
    Key(#[from] KeyFault),
}

/// An id, and its place in the request: counted from 1, in a list or in lines.
pub struct Item {
    pub place: u64,
    pub id: Result<Key, IdFault>,
}

/// `"a"` or `["a", "b"]`.
pub fn of_json(text: &str) -> Result<Vec<String>, IdFault> {
    let parts = match text.trim_ascii_start().as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).map(|part| vec![part]),
        _ => serde_json::from_str(text),
    };
    parts.map_err(|_| IdFault::NotText)
}

/// Parts with tabs between them.
pub fn of_text(text: &str) -> Vec<String> {
    text.split('\t').map(ToOwned::to_owned).collect()
}

/// `wants` is `None` where nobody knows how many parts there are.
pub fn key(parts: Vec<String>, wants: Option<usize>) -> Result<Key, IdFault> {
    let has = parts.len();
    match wants {
        Some(wants) if wants != has => Err(IdFault::Parts { has, wants }),
        _ => Ok(Key::new(parts)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i11_an_id_is_taken_byte_for_byte_or_not_at_all() {
        for (text, parts) in [
            (r#""W1""#, vec!["W1"]),
            (r#" ["2","W1"]"#, vec!["2", "W1"]),
            (r#"["007"," W1 ","e\u0301"]"#, vec!["007", " W1 ", "e\u{301}"]),
            (r#""[\"2\"]""#, vec!["[\"2\"]"]),
        ] {
            assert_eq!(of_json(text).unwrap(), parts, "{text}");
        }
        for text in
            ["9007199254740993", "[2,\"W1\"]", "1e3", "null", "true", "{}", "[[\"2\"]]", "", "\"a", "\"a\" b"]
        {
            assert_eq!(of_json(text), Err(IdFault::NotText), "{text}");
        }
        assert_eq!(of_text(" 2\tW1 "), [" 2", "W1 "]);
    }

    #[test]
    fn the_number_of_parts_is_what_the_key_has() {
        let key = |parts: &[&str], wants| key(parts.iter().map(ToString::to_string).collect(), wants);
        assert_eq!(key(&["W1"], Some(2)), Err(IdFault::Parts { has: 1, wants: 2 }));
        assert!(key(&["2", "W1"], Some(2)).is_ok());
        assert!(key(&["2", "W1"], None).is_ok());
        assert_eq!(key(&["2", ""], Some(2)), Err(IdFault::Key(KeyFault::Empty(2))));
    }
}
