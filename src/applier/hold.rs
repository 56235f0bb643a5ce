//! How long a target is left alone after it sent removals away.
//!
//! Exists because such removals go back to the queue, where the next look would find them at once. A
//! measurement, not a state: a process that starts anew asks the target once more.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::DOWN;
use crate::backoff::Dice;
use crate::domain::Timestamp;
use crate::targets::{Effect, Wait};

#[derive(Debug, Default)]
pub struct Hold(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Batches in a row that were sent away, in whole or in part.
    times: u32,
    end: Option<(End, Wait)>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// The target said so, in the time of day.
    At(Timestamp),
    /// Nobody knows: a back-off.
    After(Instant),
}

impl End {
    fn left(self, now: Timestamp) -> Duration {
        match self {
            Self::At(until) => until.since(now),
            Self::After(instant) => instant.saturating_duration_since(Instant::now()),
        }
    }
}

impl Hold {
    /// Notes what a batch came to; whether the target took all of it.
    pub fn note(&self, effects: &[Effect], now: Timestamp, dice: &Dice) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = effects.iter().filter_map(|effect| match effect {
            Effect::Waits(wait) => Some(wait),
            _ => None,
        });
        // What nobody knows the end of comes first: the target is asked sooner then.
        let Some(wait) = waits.min_by_key(|wait| wait.until) else {
            *state = State::default();
            return true;
        };
        state.times += 1;
        let end =
            wait.until.map_or_else(|| End::After(Instant::now() + DOWN.wait(state.times, dice)), End::At);
        let seconds = end.left(now).as_secs();
        tracing::warn!(seconds, reason = wait.reason, "the target takes nothing more now: left alone");
        state.end = Some((end, wait.clone()));
        false
    }

    /// How long the target is still left alone.
    pub fn left(&self, now: Timestamp) -> Option<Duration> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.end.as_ref().map(|(end, _)| end.left(now)).filter(|left| !left.is_zero())
    }

    /// Whether the target is to be tried with as little as there can be: it sent everything away the last time, and
    /// nobody knows whether it takes anything again. Each batch that comes back costs the journal its members.
    pub fn probes(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(state.end, Some((End::After(_), _)))
    }

    /// Why it is.
    pub fn wait(&self, now: Timestamp) -> Option<Wait> {
        self.left(now)?;
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.end.as_ref().map(|(_, wait)| wait.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn waits(until: Option<i64>) -> Effect {
        Effect::Waits(Wait { until: until.map(Timestamp::from_seconds), reason: "no quota".into() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_is_left_alone_until_it_takes_something_again() {
        let dice: Dice = Arc::new(|| 1.0);
        let (hold, now) = (Hold::default(), Timestamp::from_seconds(100));
        assert!(hold.note(&[Effect::Absent], now, &dice));
        assert_eq!(hold.left(now), None);

        assert!(!hold.note(&[Effect::Absent, waits(Some(160))], now, &dice));
        assert_eq!(hold.left(now), Some(Duration::from_mins(1)));
        assert_eq!(hold.wait(now).unwrap().until, Some(Timestamp::from_seconds(160)));
        assert_eq!(hold.left(Timestamp::from_seconds(160)), None);
        assert!(!hold.probes(), "it said itself when it takes more");

        hold.note(&[waits(None), waits(Some(900))], now, &dice);
        let first = hold.left(now).unwrap();
        hold.note(&[waits(None)], now, &dice);
        assert!(hold.left(now).unwrap() > first, "longer each time");
        tokio::time::advance(DOWN.cap).await;
        assert!(hold.left(now).is_none() && hold.probes());
        assert!(hold.note(&[Effect::Absent], now, &dice));
        assert!(hold.left(now).is_none() && !hold.probes());
    }
}
