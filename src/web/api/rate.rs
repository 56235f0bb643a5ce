//! How many requests a token has in a minute, told in every answer.
//!
//! Counted in memory: it bounds work, and no correctness rests on it. Minutes are those of the clock, so that
//! a program can tell from `X-RateLimit-Reset` alone when it may go on.

use std::sync::{Mutex, PoisonError};

use crate::domain::Timestamp;

const MINUTE: i64 = 60;

/// The requests of one token.
#[derive(Debug)]
pub struct Rate {
    limit: u32,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    /// Minutes since 1970.
    minute: i64,
    requests: u32,
}

/// What is left of the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub limit: u32,
    pub remaining: u32,
    /// When the next minute begins, seconds since 1970.
    pub reset: i64,
    pub exceeded: bool,
}

impl Rate {
    pub fn new(limit: u32) -> Self {
        Self { limit, used: Mutex::default() }
    }

    /// Counts one request.
    pub fn count(&self, now: Timestamp) -> Allowance {
        let minute = now.seconds().div_euclid(MINUTE);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.minute != minute {
            *used = Used { minute, requests: 0 };
        }
        let exceeded = used.requests >= self.limit;
        if !exceeded {
            used.requests += 1;
        }
        Allowance {
            limit: self.limit,
            remaining: self.limit - used.requests,
            reset: (minute + 1) * MINUTE,
            exceeded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_its_requests_and_the_next_one_has_them_anew() {
        let rate = Rate::new(2);
        let at = |seconds| rate.count(Timestamp::from_seconds(seconds));
        let allowance = |remaining, reset, exceeded| Allowance { limit: 2, remaining, reset, exceeded };
        assert_eq!(at(119), allowance(1, 120, false));
        assert_eq!(at(120), allowance(1, 180, false));
        assert_eq!(at(130), allowance(0, 180, false));
        assert_eq!(at(179), allowance(0, 180, true));
        assert_eq!(at(180), allowance(1, 240, false));
    }
}
