//! Dates as HTTP headers write them (RFC 9110 section 5.6.7): in `Date` and in `Retry-After`.

use chrono::{DateTime, NaiveDateTime};

use crate::domain::Timestamp;

/// Reads the preferred notation and the two obsolete ones, which a recipient must accept as well.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let preferred = DateTime::parse_from_rfc2822(text).map(|at| at.to_utc());
    let obsolete = |form| NaiveDateTime::parse_from_str(text, form).map(|at| at.and_utc());
    preferred
        .or_else(|_| obsolete("%A, %d-%b-%y %H:%M:%S GMT"))
        .or_else(|_| obsolete("%a %b %e %H:%M:%S %Y"))
        .ok()
        .map(Timestamp::from_datetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_three_notations_and_nothing_else() {
        let expected = Some(Timestamp::from_seconds(784_111_777));
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse(text), expected, "{text}");
        }
        for text in ["", "soon", "784111777", "Sun, 31 Feb 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
