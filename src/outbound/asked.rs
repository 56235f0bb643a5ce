//! The wait that an answer asks for before the next request. Pure; how long is too long, its user knows.

use std::time::Duration;

use super::http_date;
use crate::domain::Timestamp;

/// The largest number of seconds from now; above it, a number counts from 1970.
const RELATIVE_MAX: u64 = 1_000_000_000;

/// `Retry-After` (RFC 9110 section 10.2.3): seconds or a date. Anything else is as if it were not there.
#[must_use]
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    match whole_number(text) {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => Some(http_date::parse(text)?.since(now)),
    }
}

/// `X-RateLimit-Reset` and its like, which some give in seconds from now and others since 1970.
#[must_use]
pub fn until_reset(reset: u64, now: Timestamp) -> Duration {
    if reset > RELATIVE_MAX {
        Timestamp::from_seconds(i64::try_from(reset).unwrap_or(i64::MAX)).since(now)
    } else {
        Duration::from_secs(reset)
    }
}

/// Digits alone; too many of them are the largest number.
#[must_use]
pub fn whole_number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(784_111_777);

    #[test]
    fn retry_after_is_read_in_all_its_shapes() {
        for (text, seconds) in [
            ("5", Some(5)),
            (" 5 ", Some(5)),
            ("0", Some(0)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("+5", None),
            ("1.5", None),
            ("1e3", None),
            ("٥", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(text, NOW), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn a_reset_counts_from_now_or_from_1970() {
        let later = Timestamp::from_seconds(1_800_000_000);
        assert_eq!(until_reset(30, later), Duration::from_secs(30));
        assert_eq!(until_reset(1_800_000_042, later), Duration::from_secs(42));
        assert_eq!(until_reset(1_700_000_000, later), Duration::ZERO, "it is over");
        assert!(until_reset(u64::MAX, later) > Duration::from_hours(24));
    }
}
