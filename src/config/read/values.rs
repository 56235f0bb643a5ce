//! Readers of plain values: texts, numbers, durations, sizes, choices.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::file::Value;
use super::{Field, nearest};

/// Longest duration that is taken: ten years, since more is a slip of the unit.
const DURATION_MAX: Duration = Duration::from_hours(24 * 3_650);

/// Longest name of a column, table, header or parameter: PostgreSQL cuts names beyond 63 bytes without a
/// word, and nothing else needs longer ones.
const NAME_BYTES_MAX: usize = 63;

/// Characters of a value that a fault shows.
const SHOWN_MAX: usize = 60;

const DURATION_MEND: &str = "write it like \"48h\"";

impl<'a> Field<'a> {
    /// The text as it stands. Never shown on a fault.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.unexpected("a string", "put it in quotes"),
        }
    }

    /// A name of something outside: a column, a table, a parameter.
    pub(super) fn name(&self) -> Option<String> {
        let text = self.text()?;
        if text.is_empty() {
            return self.fault("is empty", "give the name");
        }
        if text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            let mend = "write the name as its owner knows it";
            return self
                .fault(format!("is longer than {NAME_BYTES_MAX} bytes or holds control characters"), mend);
        }
        Some(text.to_owned())
    }

    /// A name of ours, which stands in URLs, metrics and the journal.
    pub(super) fn check_own_name(&self, name: &str) {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        if bytes.len() > NAME_BYTES_MAX
            || !bytes.iter().copied().all(plain)
            || !edge(bytes.first())
            || !edge(bytes.last())
        {
            self.fault::<()>(
                format!("{} is not a name", shown(name)),
                format!(
                    "use 1 to {NAME_BYTES_MAX} lower-case letters, digits, \"_\", \"-\" and \".\", with a \
                     letter or digit at both ends"
                ),
            );
        }
    }

    /// Lower case, since HTTP compares header names without their case.
    pub(super) fn header(&self) -> Option<String> {
        let text = self.text()?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(token) {
            return self
                .fault(format!("{} is not a header's name", shown(text)), "write it like \"x-signature\"");
        }
        Some(text.to_ascii_lowercase())
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.node.value {
            Value::Bool(on) => Some(on),
            _ => self.unexpected("a boolean", "write true or false"),
        }
    }

    /// A whole number within `range`, which must fit into `T`.
    pub(super) fn integer<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<T> {
        let Value::Integer(number) = self.node.value else {
            return self.unexpected("an integer", format!("write {}", between(&range)));
        };
        match T::try_from(number) {
            Ok(fitting) if range.contains(&number) => Some(fitting),
            _ => self.fault(format!("{number} is out of range"), format!("write {}", between(&range))),
        }
    }

    /// A share of 0 to 100.
    pub(super) fn percent(&self) -> Option<f64> {
        let mend = "write a number from 0 to 100";
        let percent = match self.node.value {
            Value::Float(number) => number,
            // Beyond 32 bits it is out of range in any case.
            Value::Integer(number) => i32::try_from(number).map_or(f64::NAN, f64::from),
            _ => return self.unexpected("a number", mend),
        };
        if (0.0..=100.0).contains(&percent) { Some(percent) } else { self.fault("is no percentage", mend) }
    }

    /// Longer than nothing, at most ten years.
    pub(super) fn duration(&self) -> Option<Duration> {
        let Value::Text(text) = &self.node.value else {
            return self.unexpected("a duration", DURATION_MEND);
        };
        match duration(text) {
            None => self.fault(format!("{} is not a duration", shown(text)), DURATION_MEND),
            Some(Duration::ZERO) => self.fault("is no time at all", DURATION_MEND),
            Some(long) if long > DURATION_MAX => {
                self.fault(format!("{} is longer than ten years", shown(text)), DURATION_MEND)
            }
            Some(duration) => Some(duration),
        }
    }

    /// A number of bytes: a plain integer, or a text with a unit.
    pub(super) fn bytes(&self, range: RangeInclusive<i64>) -> Option<usize> {
        let mend = format!("write {} bytes, plain or like \"8MiB\"", between(&range));
        let number = match &self.node.value {
            Value::Integer(number) => *number,
            Value::Text(text) => match size(text) {
                Some(size) => size,
                None => return self.fault(format!("{} is not a size", shown(text)), mend),
            },
            _ => return self.unexpected("a size", mend),
        };
        match usize::try_from(number) {
            Ok(size) if range.contains(&number) => Some(size),
            _ => self.fault(format!("{number} bytes are out of range"), mend),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Clone>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let words = || choices.iter().map(|(word, _)| *word);
        let list = || words().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let Value::Text(text) = &self.node.value else {
            return self.unexpected("a string", format!("write one of {}", list()));
        };
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| word == text) {
            return Some(chosen.clone());
        }
        let mend = match nearest(text, words()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("write one of {}", list()),
        };
        self.fault(format!("{} is not known here", shown(text)), mend)
    }

    pub(super) fn socket_address(&self) -> Option<SocketAddr> {
        let text = self.text()?;
        text.parse().ok().or_else(|| {
            let mend = "write it like \"127.0.0.1:8081\"";
            self.fault(format!("{} is not an address with a port", shown(text)), mend)
        })
    }

    /// All of the list that can be read; `None` if it is empty or any item is faulty.
    pub(super) fn all<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<T>> {
        let items = self.one_or_more();
        if items.is_empty() {
            return self.fault("is an empty list", "name at least one");
        }
        // Collected before it is judged: the faults of all items are wanted.
        let read: Vec<Option<T>> = items.iter().map(read).collect();
        read.into_iter().collect()
    }
}

/// A value in a fault, shortened: long ones are no help, and belong to somebody.
pub(super) fn shown(text: &str) -> String {
    if text.chars().count() <= SHOWN_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(SHOWN_MAX).collect();
    format!("{:?}", format!("{start}…"))
}

fn between(range: &RangeInclusive<i64>) -> String {
    match *range.end() {
        i64::MAX => format!("{} or more", range.start()),
        end => format!("{} to {end}", range.start()),
    }
}

/// A whole number and its unit.
fn counted(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = counted(text)?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

fn size(text: &str) -> Option<i64> {
    let (number, unit) = counted(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    i64::try_from(number).ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_one_unit_each() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Some(Duration::from_mins(5)));
        assert_eq!(duration("48h"), Some(Duration::from_hours(48)));
        assert_eq!(duration("30d"), Some(Duration::from_hours(720)));
        for text in ["", "5", "h", "-5m", "+5m", "5 m", "1.5h", "5M", "1h30m", "18446744073709551615d", "٣h"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(size("8MiB"), Some(8_388_608));
        for text in ["", "8", "8MB", "8 MiB", "9223372036854775807GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
