//! A point in time as the whole program stores it: microseconds since 1970, UTC.
//!
//! Microseconds, because upstreams give up to seven digits and PostgreSQL keeps six: at milliseconds a row
//! written 0.4 ms after a deletion would look as old as the deletion itself. Text in several notations is
//! read here and nowhere else.

use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// How an upstream or a column writes a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339 / ISO 8601, with or without offset (UTC then), any number of fractional digits; a bare date
    /// is its first instant.
    Iso8601,
    UnixSeconds,
    UnixMillis,
}

impl Timestamp {
    /// The earliest time that can be told; older than every real one.
    pub const MIN: Self = Self(i64::MIN);

    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Saturates, since a time a million years off is as wrong as the largest one.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    #[must_use]
    pub fn minus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(duration)))
    }

    #[must_use]
    pub fn plus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(micros_of(duration)))
    }

    /// Time from `earlier` to `self`; zero when the clocks say it was the other way round.
    #[must_use]
    pub fn since(self, earlier: Self) -> std::time::Duration {
        let micros = self.0.saturating_sub(earlier.0);
        std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// `None` outside the years that a calendar can show.
    #[must_use]
    pub fn to_datetime(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }

    #[must_use]
    pub fn from_datetime(at: DateTime<Utc>) -> Self {
        Self(at.timestamp_micros())
    }

    /// Reads `text` in `format`; `None` if it is anything else. Digits beyond the microsecond are cut.
    #[must_use]
    pub fn parse(text: &str, format: TimeFormat) -> Option<Self> {
        match format {
            TimeFormat::Iso8601 => parse_iso8601(text),
            TimeFormat::UnixSeconds => Some(Self(text.parse::<i64>().ok()?.checked_mul(1_000_000)?)),
            TimeFormat::UnixMillis => Some(Self(text.parse::<i64>().ok()?.checked_mul(1_000)?)),
        }
    }
}

fn micros_of(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn parse_iso8601(text: &str) -> Option<Timestamp> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(Timestamp(at.timestamp_micros()));
    }
    if let Ok(at) = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z") {
        return Some(Timestamp(at.timestamp_micros()));
    }
    let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"))
        .ok()
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))?;
    Some(Timestamp(naive.and_utc().timestamp_micros()))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_datetime() {
            Some(at) => f.write_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{} µs", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_notations_that_upstreams_use() {
        let expected = Some(Timestamp::from_micros(1_732_051_527_869_000));
        for text in [
            "2024-11-19T21:25:27.869Z",
            "2024-11-19T21:25:27.8690000Z",
            "2024-11-19T22:25:27.869+01:00",
            "2024-11-19T22:25:27.869+0100",
            "2024-11-19T21:25:27.869",
            "2024-11-19 21:25:27.869",
        ] {
            assert_eq!(Timestamp::parse(text, TimeFormat::Iso8601), expected, "{text}");
        }
        assert_eq!(Timestamp::parse("1732051527869", TimeFormat::UnixMillis), expected);
    }

    #[test]
    fn refuses_what_is_not_a_time_and_never_overflows() {
        for text in ["", "yesterday", "2024-13-01", "9223372036854775807", "-9223372036854775808", "1e9", "٣"]
        {
            assert_eq!(Timestamp::parse(text, TimeFormat::UnixSeconds), None, "{text}");
        }
        assert_eq!(Timestamp::MIN.minus(std::time::Duration::MAX), Timestamp::MIN);
        assert_eq!(Timestamp::MIN.since(Timestamp::from_seconds(1)), std::time::Duration::ZERO);
    }
}
