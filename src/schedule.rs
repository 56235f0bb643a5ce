//! Wakes what runs on a schedule. Decides when, never what.
//!
//! `slots` says which instants an expression means; `tokio-cron-scheduler` keeps the timers. Its own reading
//! of cron expressions is not used, since it loses or doubles slots when clocks change: each slot is a
//! one-shot job, and its firing arms the next one. A wake carries a name and a slot, no data, so that a lost
//! one costs latency and nothing else.

pub mod slots;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

pub use slots::{ScheduleFault, Slots};

use crate::clock::SharedClock;
use crate::domain::Timestamp;

/// What is called at a slot, with the entry's name. Must return at once: it only wakes.
pub type Wake = Arc<dyn Fn(&str, Timestamp) + Send + Sync>;

/// The library rounds an instant down twice, to whole seconds; this much later, it still gives the slot's own
/// second.
const ROUNDING: Duration = Duration::from_secs(1);
/// How often slots are looked for whose job was lost, and how late one is then.
const AUDIT: Duration = Duration::from_mins(1);

/// The timers could not be set up.
#[derive(Clone, Debug, thiserror::Error)]
#[error("scheduler: {0}")]
pub struct SchedulerError(#[from] JobSchedulerError);

/// Running timers. They stop with [`Scheduler::stop`] or with the runtime.
pub struct Scheduler {
    jobs: JobScheduler,
}

impl Scheduler {
    /// Arms every entry for its next slot. Slots that pass while the machine sleeps are one wake.
    ///
    /// # Errors
    /// The library could not be set up.
    pub async fn start(
        entries: Vec<(String, Slots)>,
        clock: SharedClock,
        wake: Wake,
    ) -> Result<Self, SchedulerError> {
        // Room for every entry in the library's channels, which otherwise drop the oldest message.
        let jobs = JobScheduler::new_with_channel_size(200 + 4 * entries.len()).await?;
        let entries: Vec<Arc<Entry>> = entries
            .into_iter()
            .map(|(name, slots)| {
                let next = Mutex::new(slots.next_after(clock.now()));
                Arc::new(Entry { name, slots, next, clock: Arc::clone(&clock), wake: Arc::clone(&wake) })
            })
            .collect();
        for entry in &entries {
            if let Some(slot) = entry.next() {
                arm(&jobs, entry, slot).await?;
            }
        }
        jobs.add(audit(entries)?).await?;
        jobs.start().await?;
        Ok(Self { jobs })
    }

    /// No wake is begun after this.
    ///
    /// # Errors
    /// The library refused.
    pub async fn stop(mut self) -> Result<(), SchedulerError> {
        Ok(self.jobs.shutdown().await?)
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scheduler")
    }
}

/// Something that runs on a schedule.
struct Entry {
    name: String,
    slots: Slots,
    /// The slot that is waited for.
    next: Mutex<Option<Timestamp>>,
    clock: SharedClock,
    wake: Wake,
}

/// What a firing came to.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// Another firing had this slot: the library may fire a job twice.
    Stale,
    /// Too early, or carried out: this slot is to be armed.
    Arm(Timestamp),
    /// Carried out, and the calendar ends here.
    End,
}

impl Entry {
    fn next(&self) -> Option<Timestamp> {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes for `slot` if it has come and has not been carried out.
    fn turn(&self, slot: Timestamp) -> Turn {
        let now = self.clock.now();
        let following = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            if *next != Some(slot) {
                return Turn::Stale;
            }
            if now < slot {
                return Turn::Arm(slot);
            }
            *next = self.slots.next_after(now);
            *next
        };
        (self.wake)(&self.name, slot);
        following.map_or(Turn::End, Turn::Arm)
    }
}

async fn arm(jobs: &JobScheduler, entry: &Arc<Entry>, slot: Timestamp) -> Result<(), JobSchedulerError> {
    let wait = slot.since(entry.clock.now()) + ROUNDING;
    let entry = Arc::clone(entry);
    let job = Job::new_one_shot_async(wait, move |_, jobs| fire(jobs, Arc::clone(&entry), slot))?;
    jobs.add(job).await.map(drop)
}

/// Boxed, since it arms what then calls it.
fn fire(jobs: JobScheduler, entry: Arc<Entry>, slot: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if let Turn::Arm(following) = entry.turn(slot)
            && let Err(error) = arm(&jobs, &entry, following).await
        {
            tracing::warn!(
                name = entry.name, slot = %following, %error,
                "timer not set; the slot is carried out by the audit, up to two minutes late"
            );
        }
    })
}

/// Carries out slots whose job was lost, so that one lost message does not end a schedule.
fn audit(entries: Vec<Arc<Entry>>) -> Result<Job, JobSchedulerError> {
    Job::new_repeated_async(AUDIT, move |_, jobs| {
        let entries = entries.clone();
        Box::pin(async move {
            for entry in &entries {
                let late = |slot: &Timestamp| entry.clock.now() >= slot.plus(AUDIT / 2);
                if let Some(slot) = entry.next().filter(late) {
                    fire(jobs.clone(), Arc::clone(entry), slot).await;
                }
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::clock::{ManualClock, SystemClock};

    fn entry(clock: &Arc<ManualClock>) -> (Entry, mpsc::UnboundedReceiver<(String, Timestamp)>) {
        let (heard, wakes) = mpsc::unbounded_channel();
        let slots = Slots::parse("0 0 * * * *", "UTC").unwrap();
        let next = Mutex::new(slots.next_after(Timestamp::from_seconds(0)));
        let clock = Arc::clone(clock) as SharedClock;
        let wake: Wake = Arc::new(move |name, slot| heard.send((name.to_owned(), slot)).unwrap());
        (Entry { name: "repliers".to_owned(), slots, next, clock, wake }, wakes)
    }

    #[test]
    fn a_slot_is_carried_out_once_however_often_its_job_fires() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(3_600)));
        let (entry, mut wakes) = entry(&clock);
        let (first, second) = (Timestamp::from_seconds(3_600), Timestamp::from_seconds(7_200));
        assert_eq!(entry.turn(first), Turn::Arm(second));
        assert_eq!(entry.turn(first), Turn::Stale);
        assert_eq!(wakes.try_recv().unwrap(), ("repliers".to_owned(), first));
        assert!(wakes.try_recv().is_err());
    }

    #[test]
    fn a_job_that_fires_early_wakes_nobody_and_is_armed_again() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(3_599)));
        let (entry, mut wakes) = entry(&clock);
        let slot = Timestamp::from_seconds(3_600);
        assert_eq!(entry.turn(slot), Turn::Arm(slot));
        assert!(wakes.try_recv().is_err());
    }

    #[test]
    fn slots_that_passed_in_sleep_are_one_wake() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(10 * 3_600 + 1)));
        let (entry, mut wakes) = entry(&clock);
        let slot = Timestamp::from_seconds(3_600);
        assert_eq!(entry.turn(slot), Turn::Arm(Timestamp::from_seconds(11 * 3_600)));
        assert_eq!(wakes.try_recv().unwrap().1, slot);
        assert!(wakes.try_recv().is_err());
    }

    #[tokio::test]
    async fn timers_fire_at_every_slot_and_stop_when_told() {
        let (heard, mut wakes) = mpsc::unbounded_channel();
        let clock: SharedClock = Arc::new(SystemClock);
        let slots = Slots::parse("* * * * * *", "America/Toronto").unwrap();
        let wake: Wake = {
            let clock = Arc::clone(&clock);
            Arc::new(move |name, slot| drop(heard.send((name.to_owned(), slot, clock.now()))))
        };
        let scheduler = Scheduler::start(vec![("repliers".to_owned(), slots)], clock, wake).await.unwrap();
        let mut last = Timestamp::MIN;
        for _ in 0..3 {
            let (name, slot, heard_at) = wakes.recv().await.unwrap();
            assert_eq!(name, "repliers");
            assert!(slot > last, "{slot} after {last}");
            assert!(heard_at >= slot, "woken at {heard_at}, before {slot}");
            last = slot;
        }
        scheduler.stop().await.unwrap();
    }
}
