//! Which instants a cron expression means in a time zone. Pure: no clock, no timers.
//!
//! Cron libraries that walk in local time lose or double the hour of a clock change. Here the expression is
//! evaluated on a calendar without a zone, and each local time that it gives is carried out at the first
//! instant at which the zone's clocks have reached it: in a gap that is the end of the gap, in an overlap the
//! first of the two. Local time can be reached for the first time only once, and later local times are never
//! reached earlier; so no slot is skipped, none comes twice, and the order holds, in every zone. Slots that
//! are reached at the same instant (those inside a gap) are one slot.

use chrono::{MappedLocalTime, NaiveDateTime, TimeZone, Timelike};
use chrono_tz::{GapInfo, Tz};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::domain::Timestamp;

/// A cron expression in its zone.
#[derive(Clone, Debug)]
pub struct Slots {
    cron: Cron,
    zone: Tz,
}

/// Why a schedule was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleFault {
    #[error("\"{expression}\" is not a cron expression of six fields, seconds first: {why}")]
    Expression { expression: String, why: String },
    #[error("\"{0}\" is not the IANA name of a time zone (\"America/Toronto\", \"UTC\")")]
    Zone(String),
    #[error("\"{0}\" never comes: no date fits it")]
    Never(String),
}

impl Slots {
    /// Reads an expression of six fields (`second minute hour day month weekday`) and an IANA zone name.
    ///
    /// # Errors
    /// Names what is wrong, also when the expression is well formed but fits no date (30 February).
    pub fn parse(expression: &str, zone: &str) -> Result<Self, ScheduleFault> {
        let cron = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build()
            .parse(expression)
            .map_err(|fault| ScheduleFault::Expression {
                expression: expression.to_owned(),
                why: fault.to_string().to_lowercase(),
            })?;
        let zone: Tz = zone.parse().map_err(|_| ScheduleFault::Zone(zone.to_owned()))?;
        let slots = Self { cron, zone };
        // A leap day on a given weekday comes once in 28 years at the latest from here.
        match slots.next_after(Timestamp::from_seconds(1_700_000_000)) {
            Some(_) => Ok(slots),
            None => Err(ScheduleFault::Never(expression.to_owned())),
        }
    }

    /// The first slot later than `after`. `None` once the calendar ends.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let mut local = after.to_datetime()?.with_timezone(&self.zone).naive_local().with_nanosecond(0)?;
        loop {
            // Without a zone: to the library, the local time is given as if it were UTC.
            local = self.cron.find_next_occurrence(&local.and_utc(), false).ok()?.naive_utc();
            let slot = first_reached(self.zone, local)?;
            // In the second pass through an overlap the local times that come next were reached before.
            if slot > after {
                return Some(slot);
            }
        }
    }

    /// Whether a slot lies between the last run and now, so that a run was missed. One that never ran has.
    #[must_use]
    pub fn missed(&self, last_run: Option<Timestamp>, now: Timestamp) -> bool {
        last_run.is_none_or(|last| self.next_after(last).is_some_and(|slot| slot <= now))
    }
}

/// The first instant at which clocks in `zone` show `local` or later.
fn first_reached(zone: Tz, local: NaiveDateTime) -> Option<Timestamp> {
    let at = match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(at) => at.to_utc(),
        MappedLocalTime::Ambiguous(one, other) => one.min(other).to_utc(),
        MappedLocalTime::None => GapInfo::new(&local, &zone)?.end?.to_utc(),
    };
    Some(Timestamp::from_datetime(at))
}

#[cfg(test)]
mod tests;
