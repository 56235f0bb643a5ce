//! Key parts as the column's own type, so that the column's index serves and no digit is lost (I11).
//!
//! A part is bound exactly or refused by name. Nothing here goes through a float, and nothing is made to
//! fit: "007" in a whole-number column would be 7, another record's key.

use super::catalogue::Affinity;
use super::plan::Field;

/// A value to be bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arg {
    Null,
    Integer(i64),
    Text(String),
}

/// Reads one part of a key for a column; `None` if the column cannot hold exactly that.
#[must_use]
pub fn bind(part: &str, column: &Field) -> Option<Arg> {
    let text = || Arg::Text(part.to_owned());
    match column.affinity {
        Affinity::Label => column.typed.labels.iter().any(|label| label == part).then(text),
        Affinity::Padded => (!part.ends_with(' ')).then(text),
        Affinity::Uuid => uuid(part),
        Affinity::Decimal => decimal(part).then(text),
        Affinity::Text => Some(text()),
        Affinity::Integer => integer(part),
        // A NUMERIC column keeps text that is no number ("W10440893", a UUID) as it is, and turns any other
        // notation of a number into the number.
        Affinity::Numeric => {
            integer(part).or_else(|| (!looks_numeric(part)).then(|| Arg::Text(part.to_owned())))
        }
        Affinity::Real | Affinity::Blob | Affinity::Opaque => None,
    }
}

/// Only the one notation that the number itself is written in: no sign but a needed minus, no leading zero.
fn integer(part: &str) -> Option<Arg> {
    let number: i64 = part.parse().ok()?;
    (number.to_string() == part).then_some(Arg::Integer(number))
}

/// A whole number of any length, in the notation of [`integer`].
fn decimal(part: &str) -> bool {
    let digits = part.strip_prefix('-').unwrap_or(part);
    let written = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    written && (digits == "0" && part == "0" || !digits.starts_with('0'))
}

/// The one notation with hyphens, whose letters mean the same in either case.
fn uuid(part: &str) -> Option<Arg> {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    let fits = |(place, byte): (usize, u8)| {
        if HYPHENS.contains(&place) { byte == b'-' } else { byte.is_ascii_hexdigit() }
    };
    let fits = part.len() == 36 && part.bytes().enumerate().all(fits);
    fits.then(|| Arg::Text(part.to_ascii_lowercase()))
}

fn looks_numeric(part: &str) -> bool {
    let text = part.trim();
    text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first))
        && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::sql::catalogue::Typed;

    fn bind(part: &str, affinity: Affinity) -> Option<Arg> {
        let typed = Typed { labels: vec!["sale".to_owned()], ..Typed::default() };
        super::bind(part, &Field { name: String::new(), affinity, typed, not_null: true })
    }

    #[test]
    fn i11_strict_types_take_only_what_they_give_back() {
        let text = |text: &str| Some(Arg::Text(text.to_owned()));
        for number in ["0", "-1", "12345678901234567890123"] {
            assert_eq!(bind(number, Affinity::Decimal), text(number));
        }
        for other in ["", "-", "-0", "00", "01", "1.0", "1e3", "+1", "NaN", " 1"] {
            assert_eq!(bind(other, Affinity::Decimal), None, "{other}");
        }
        let uuid = "550e8400-e29b-41d4-a716-446655440000";
        assert_eq!(bind(uuid, Affinity::Uuid), text(uuid));
        assert_eq!(bind(&uuid.to_ascii_uppercase(), Affinity::Uuid), text(uuid));
        for other in ["", "550e8400e29b41d4a716446655440000", "{550e8400-e29b-41d4-a716-44665544000}"] {
            assert_eq!(bind(other, Affinity::Uuid), None, "{other}");
        }
        assert_eq!((bind("ab", Affinity::Padded), bind("ab ", Affinity::Padded)), (text("ab"), None));
        assert_eq!((bind("sale", Affinity::Label), bind("Sale", Affinity::Label)), (text("sale"), None));
    }

    #[test]
    fn i11_a_whole_number_column_takes_only_the_exact_notation() {
        for (text, number) in [
            ("9007199254740993", 9_007_199_254_740_993),
            ("-1", -1),
            ("0", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(bind(text, Affinity::Integer), Some(Arg::Integer(number)), "{text}");
        }
        for text in
            ["007", "1.0", " 1", "1 ", "+1", "-0", "1e3", "0x10", "9223372036854775808", "", "W1", "١"]
        {
            assert_eq!(bind(text, Affinity::Integer), None, "{text}");
        }
    }

    #[test]
    fn i11_a_numeric_column_takes_words_but_no_other_notation_of_a_number() {
        assert_eq!(bind("7", Affinity::Numeric), Some(Arg::Integer(7)));
        for text in ["W1", "inf", "nan", "1-2", "0x10", "550e8400-e29b-41d4-a716-446655440000"] {
            assert_eq!(bind(text, Affinity::Numeric), Some(Arg::Text(text.to_owned())), "{text}");
        }
        for text in ["007", "1.0", " 1", "1e3", "-.5", "9223372036854775808"] {
            assert_eq!(bind(text, Affinity::Numeric), None, "{text}");
        }
    }

    #[test]
    fn i11_text_is_bound_byte_for_byte() {
        for text in ["007", " 1", "é", "e\u{301}", "a'b\"c"] {
            assert_eq!(bind(text, Affinity::Text), Some(Arg::Text(text.to_owned())));
        }
    }
}
