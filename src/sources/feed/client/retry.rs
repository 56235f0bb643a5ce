//! How long to wait before asking again. Pure.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use ring::rand::SecureRandom;

use super::header_text;
use crate::domain::Timestamp;
use crate::sources::feed::http_date;

/// An upstream that says "now" would be asked in a loop.
const ASKED_MIN: Duration = Duration::from_secs(1);
/// An upstream that says "in three years" would silence the feed.
const ASKED_MAX: Duration = Duration::from_hours(1);

/// Upper end of the first wait; it doubles with each attempt.
const BACK_OFF_FIRST: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_mins(1);

/// The largest number of seconds from now; above it, a number counts from 1970.
const RELATIVE_MAX: i64 = 1_000_000_000;

/// Exponential, with full jitter: anything from nothing to the upper end.
pub(super) fn back_off(attempt: u32, jitter: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let upper = BACK_OFF_FIRST.saturating_mul(1 << doublings).min(BACK_OFF_MAX);
    upper.mul_f64(jitter.clamp(0.0, 1.0))
}

/// `Retry-After` (RFC 9110 section 10.2.3): seconds or a date. Anything else is as if it were not there.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = header_text(headers, RETRY_AFTER.as_str())?.trim();
    let wait = match whole_number(text) {
        Some(seconds) => Duration::from_secs(seconds),
        None => http_date::parse(text)?.since(now),
    };
    Some(wait.clamp(ASKED_MIN, ASKED_MAX))
}

/// How long no request is allowed any more: `X-RateLimit-Remaining: 0` until `X-RateLimit-Reset`, which some
/// give in seconds from now and others since 1970.
pub(super) fn quota_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let number = |name| whole_number(header_text(headers, name)?.trim());
    if number("x-ratelimit-remaining")? > 0 {
        return None;
    }
    let reset = i64::try_from(number("x-ratelimit-reset")?).unwrap_or(i64::MAX);
    let wait = if reset > RELATIVE_MAX {
        Timestamp::from_seconds(reset).since(now)
    } else {
        Duration::from_secs(reset.unsigned_abs())
    };
    Some(wait.clamp(ASKED_MIN, ASKED_MAX))
}

/// Digits alone; too many of them are the largest number.
fn whole_number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The operating system's randomness; where it has none, the longest wait.
pub(super) fn system_jitter() -> f64 {
    let mut bytes = [0; 4];
    match ring::rand::SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(784_111_777);

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn retry_after_is_read_in_all_its_shapes_and_bounded() {
        for (text, seconds) in [
            ("5", Some(5)),
            (" 5 ", Some(5)),
            ("0", Some(1)),
            ("99999999", Some(3600)),
            ("99999999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(1)),
            ("Sat, 06 Nov 2094 08:00:00 GMT", Some(3600)),
            ("-1", None),
            ("+5", None),
            ("1.5", None),
            ("1e3", None),
            ("٥", None),
            ("", None),
            ("soon", None),
        ] {
            let headers = [(RETRY_AFTER, HeaderValue::from_bytes(text.as_bytes()).unwrap())];
            let wait = retry_after(&headers.into_iter().collect(), NOW);
            assert_eq!(wait, seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), NOW), None);
    }

    #[test]
    fn a_spent_quota_is_waited_out_and_a_left_one_is_not() {
        let wait = |remaining, reset| {
            quota_wait(&headers(&[("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset)]), NOW)
        };
        assert_eq!(wait("1", "30"), None);
        assert_eq!(wait("0", "30"), Some(Duration::from_secs(30)));
        assert_eq!(wait("0", "soon"), None);
        assert_eq!(wait("0", "0"), Some(ASKED_MIN));
        assert_eq!(wait("0", "18446744073709551615"), Some(ASKED_MAX));
        let later = Timestamp::from_seconds(1_800_000_000);
        let since_1970 = headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000042")]);
        assert_eq!(quota_wait(&since_1970, later), Some(Duration::from_secs(42)));
    }

    #[test]
    fn back_off_doubles_up_to_its_limit_and_never_overflows() {
        let uppers: Vec<_> = (1..=4).map(|attempt| back_off(attempt, 1.0).as_millis()).collect();
        assert_eq!(uppers, [500, 1000, 2000, 4000]);
        assert_eq!(back_off(u32::MAX, 1.0), BACK_OFF_MAX);
        assert_eq!(back_off(3, 0.0), Duration::ZERO);
        for _ in 0..100 {
            assert!((0.0..1.0).contains(&system_jitter()));
        }
    }
}
