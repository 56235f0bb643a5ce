//! Whether a row is newer than the deletion that came for it (I3).
//!
//! A guard's text is judged here, by the one reader of times, and the deleting statement then demands that
//! the guard still is what was judged. So every notation of a time means the same in every database, and
//! the comparison has microseconds, or the column's own unit where that is coarser: a row that was changed
//! later within the same unit counts as equally old, and goes.

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
pub fn judge(guard: Option<&str>, format: TimeFormat, at: Timestamp) -> Verdict {
    let Some(text) = guard else { return Verdict::Goes };
    match read(text, format) {
        None => Verdict::Unreadable,
        Some(time) if time > at => Verdict::Stays,
        Some(_) => Verdict::Goes,
    }
}

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

/// The time as a column of this format holds it; `None` for a time that no calendar shows.
#[must_use]
pub fn write(at: Timestamp, format: TimeFormat) -> Option<super::key::Arg> {
    use super::key::Arg;
    Some(match format {
        TimeFormat::Iso8601 => Arg::Text(at.to_datetime().map(|_| at.to_string())?),
        TimeFormat::UnixSeconds => Arg::Integer(at.seconds()),
        TimeFormat::UnixMillis => Arg::Integer(at.millis()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
