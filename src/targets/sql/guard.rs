//! Whether a row is newer than the deletion that came for it (I3).
//!
//! A guard's text is judged here, by the one reader of times, and the deleting statement then demands that
//! the guard still is what was judged. So every notation of a time means the same in every database, and
//! the comparison has microseconds, or the column's own unit where that is coarser: a row that was changed
//! later within the same unit counts as equally old, and goes.

use super::plan::Notation;
use crate::domain::{Timestamp, timestamp::TimeFormat};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As old as the deletion, older, or without a time: it goes.
    Goes,
    /// Newer: it stays.
    Stays,
    Unreadable,
}

#[must_use]
pub fn judge(guard: Option<&str>, notation: Notation, at: Timestamp) -> Verdict {
    let Some(text) = guard else { return Verdict::Goes };
    match read(text, notation.format) {
        None => Verdict::Unreadable,
        Some(time) if time > latest(notation, at) => Verdict::Stays,
        Some(_) => Verdict::Goes,
    }
}

/// The latest that a row may tell which was changed at `at` and no later: a column that rounds may tell the end of the
/// unit in which that was. Whether it rounds or cuts is for its writer to say, and nothing that we can see.
fn latest(notation: Notation, at: Timestamp) -> Timestamp {
    let Notation { format: TimeFormat::Iso8601, digits: Some(digits) } = notation else { return at };
    let unit = 10_i64.pow(MICROS_DIGITS.saturating_sub(digits));
    let beyond = at.micros().rem_euclid(unit);
    if beyond == 0 { at } else { Timestamp::from_micros(at.micros().saturating_add(unit - beyond)) }
}

/// Digits of a second that a [`Timestamp`] has.
const MICROS_DIGITS: u32 = 6;

/// Columns of floating type write whole seconds as `1732051527.0` and finer ones as `1732051527.869`.
fn read(text: &str, format: TimeFormat) -> Option<Timestamp> {
    let unit = match format {
        TimeFormat::Iso8601 => return Timestamp::parse(text, format),
        TimeFormat::UnixSeconds => 1_000_000,
        TimeFormat::UnixMillis => 1_000,
    };
    let Some((whole, fraction)) = text.split_once('.') else { return Timestamp::parse(text, format) };
    if fraction.is_empty() || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let start = Timestamp::parse(whole, format)?;
    let mut part: i64 = 0;
    let mut scale: i64 = unit;
    for digit in fraction.bytes() {
        scale /= 10;
        part += i64::from(digit - b'0') * scale;
    }
    let part = if whole.starts_with('-') { -part } else { part };
    Some(Timestamp::from_micros(start.micros().checked_add(part)?))
}

/// The time as a column of this notation holds it; `None` for a time that no calendar shows.
#[must_use]
pub fn write(at: Timestamp, notation: Notation) -> Option<super::key::Arg> {
    use super::key::Arg;
    Some(match notation.format {
        TimeFormat::Iso8601 => Arg::Text(at.to_datetime().map(|_| at.to_string())?),
        TimeFormat::UnixSeconds => Arg::Integer(at.seconds()),
        TimeFormat::UnixMillis => Arg::Integer(at.millis()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: Option<&str>, format: TimeFormat, at: Timestamp) -> Verdict {
        super::judge(text, Notation { format, digits: None }, at)
    }

    #[test]
    fn i3_equal_goes_newer_stays_by_the_microsecond() {
        let at = Timestamp::from_micros(1_732_051_527_869_000);
        for (text, format, verdict) in [
            ("2024-11-19T21:25:27.869Z", TimeFormat::Iso8601, Verdict::Goes),
            ("2024-11-19 22:25:27.869001+0100", TimeFormat::Iso8601, Verdict::Unreadable),
            ("2024-11-19T22:25:27.869001+0100", TimeFormat::Iso8601, Verdict::Stays),
            ("1732051527869", TimeFormat::UnixMillis, Verdict::Goes),
            ("1732051527869.1", TimeFormat::UnixMillis, Verdict::Stays),
            ("1732051527", TimeFormat::UnixSeconds, Verdict::Goes),
            ("1732051527.0", TimeFormat::UnixSeconds, Verdict::Goes),
            ("1732051527.869", TimeFormat::UnixSeconds, Verdict::Goes),
            ("1732051527.8690010", TimeFormat::UnixSeconds, Verdict::Stays),
            ("1732051528", TimeFormat::UnixSeconds, Verdict::Stays),
        ] {
            assert_eq!(judge(Some(text), format, at), verdict, "{text}");
        }
        assert_eq!(judge(None, TimeFormat::Iso8601, at), Verdict::Goes);
    }

    #[test]
    fn i3_what_a_column_may_have_rounded_up_counts_as_equal_and_nothing_beyond_that() {
        let (fine, whole) =
            (Timestamp::from_micros(1_732_051_527_869_001), Timestamp::from_seconds(1_732_051_527));
        for (digits, at, equal, newer) in [
            (Some(0), fine, "21:25:28", "21:25:28.000001"),
            (Some(3), fine, "21:25:27.870", "21:25:27.871"),
            (Some(6), fine, "21:25:27.869001", "21:25:27.869002"),
            (None, fine, "21:25:27.869001", "21:25:27.869002"),
            (Some(0), whole, "21:25:27", "21:25:28"),
            (Some(9), whole, "21:25:27", "21:25:27.000001"),
        ] {
            let notation = Notation { format: TimeFormat::Iso8601, digits };
            for (time, verdict) in [(equal, Verdict::Goes), (newer, Verdict::Stays)] {
                let text = format!("2024-11-19 {time}");
                assert_eq!(super::judge(Some(&text), notation, at), verdict, "{digits:?} {text}");
            }
        }
        let endless = Notation { format: TimeFormat::Iso8601, digits: Some(0) };
        for at in [i64::MIN, i64::MAX] {
            let verdict = super::judge(Some("2024-11-19"), endless, Timestamp::from_micros(at));
            assert_eq!(verdict == Verdict::Stays, at == i64::MIN);
        }
        let numbers = Notation { format: TimeFormat::UnixSeconds, digits: Some(0) };
        assert_eq!(super::judge(Some("1732051528"), numbers, fine), Verdict::Stays);
    }

    #[test]
    fn what_is_no_time_is_unreadable() {
        for (text, format) in [
            ("", TimeFormat::Iso8601),
            ("now", TimeFormat::Iso8601),
            ("1732051527", TimeFormat::Iso8601),
            ("1.7e9", TimeFormat::UnixSeconds),
            ("1.", TimeFormat::UnixSeconds),
            ("9223372036854775807.9", TimeFormat::UnixMillis),
        ] {
            assert_eq!(judge(Some(text), format, Timestamp::MIN), Verdict::Unreadable, "{text}");
        }
    }
}
