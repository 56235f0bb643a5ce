//! One reconciliation of one source: the deleted feed from the checkpoint on, page by page, into the journal.
//!
//! The feed is the truth that webhooks only hurry along. Each page is on disk before the next is asked for,
//! and the checkpoint moves with the last page, in one transaction, never otherwise (I4). Runs of one source
//! never overlap, in whatever process: a lease sees to that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::SharedClock;
use crate::config;
use crate::domain::{
    Action, Door, Event, Notice, Seq, Timestamp,
    event::{RunEnded, RunStarted},
    tombstone::{Arrival, Hearing, Tombstone},
};
use crate::intake::{Delivery, Intake};
use crate::sources::feed::client::Client;
use crate::sources::feed::walk::{Page, Sink, SinkError, Walked, walk};
use crate::sources::feed::window::{Bounds, Start};
use crate::sources::feed::{FeedError, page::Record};
use crate::store::{RunCounts, SharedStore, StoreError};

/// How long a run is taken to be at work without a word: longer than one request with all its retries.
pub const LEASE: Duration = Duration::from_mins(15);
/// Runs that this process has begun.
static RUNS: AtomicU64 = AtomicU64::new(1);
/// Wait before a page is handed in again when the journal's queue is full.
const QUEUE_FULL: Duration = Duration::from_millis(50);

/// Why a run did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("a run of this source is under way")]
    UnderWay,
    #[error("source {0} has no feed")]
    NoFeed(String),
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunError {
    /// Whether the same run may end well later without a person.
    #[must_use]
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::UnderWay => true,
            Self::NoFeed(_) => false,
            Self::Feed(error) => error.retry_can_help(),
            Self::Store(error) => error.retry_can_help(),
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The run's number; `None` for a dry run.
    pub run: Option<Seq>,
    pub walked: Walked,
    /// What a dry run would have found new; a real run's counts follow when its pages are folded.
    pub would_be: Option<RunCounts>,
}

/// Told after each page: pages and records so far.
pub type OnPage<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Runs reconciliations.
#[derive(Clone)]
pub struct Reconciler {
    pub store: SharedStore,
    pub intake: Intake,
    pub clock: SharedClock,
    /// Names this process on leases.
    pub holder: String,
}

impl Reconciler {
    /// Reads the feed from the checkpoint (or `since`) to its end into the journal.
    ///
    /// # Errors
    /// The run failed; it is in the journal with its reason, and the checkpoint stays.
    pub async fn run(
        &self,
        source: &config::Source,
        since: Option<Timestamp>,
        on_page: OnPage<'_>,
    ) -> Result<Report, RunError> {
        // A name for each run, since a process must not run twice at once either.
        let holder = format!("{}/{}", self.holder, RUNS.fetch_add(1, Ordering::Relaxed));
        let lease = Lease { name: format!("run:{}", source.name), holder };
        if !self.lease(&lease).await? {
            return Err(RunError::UnderWay);
        }
        let result = self.leased(source, since, &lease, on_page).await;
        self.store.release_lease(&lease.name, &lease.holder).await?;
        result
    }

    async fn lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let now = self.clock.now();
        self.store.lease(&lease.name, &lease.holder, now, now.plus(LEASE)).await
    }

    async fn leased(
        &self,
        source: &config::Source,
        since: Option<Timestamp>,
        lease: &Lease,
        on_page: OnPage<'_>,
    ) -> Result<Report, RunError> {
        let feed = source.feed.as_ref().ok_or_else(|| RunError::NoFeed(source.name.clone()))?;
        let start = Start { checkpoint: self.store.checkpoint(&source.name).await?, since };
        let bounds = Bounds::provisional(feed, start, self.clock.now());
        let started = RunStarted { source: source.name.clone(), from: bounds.from, to: bounds.to };
        let run = self.intake.note(Event::RunStarted(started)).await?;
        let mut pages = Pages {
            reconciler: self,
            source,
            run,
            lease,
            on_page,
            read: 0,
            found: 0,
            renewed: self.clock.now(),
        };
        let walked = async {
            let client = Client::new(&feed.access(), self.clock.clone())?;
            walk(feed, &client, start, &mut pages).await
        }
        .await;
        let (read, found) = (pages.read, pages.found);
        match walked {
            Ok(walked) => {
                if let Some(skew) = walked.clock_skew {
                    tracing::warn!(source = source.name, %skew, "clocks differ: signatures with timestamps may be refused");
                }
                Ok(Report { run: Some(run), walked, would_be: None })
            }
            Err(error) => {
                let ended = RunEnded {
                    run,
                    source: source.name.clone(),
                    pages: read,
                    found,
                    checkpoint: None,
                    back: false,
                    error: Some(error.to_string()),
                };
                self.intake.note(Event::RunEnded(ended)).await?;
                Err(error.into())
            }
        }
    }

    /// Reads the feed as a run would, and writes nothing: what would be new?
    pub async fn dry_run(
        &self,
        source: &config::Source,
        since: Option<Timestamp>,
        on_page: OnPage<'_>,
    ) -> Result<Report, RunError> {
        let feed = source.feed.as_ref().ok_or_else(|| RunError::NoFeed(source.name.clone()))?;
        let start = Start { checkpoint: self.store.checkpoint(&source.name).await?, since };
        let client = Client::new(&feed.access(), self.clock.clone())?;
        let mut look =
            Look { reconciler: self, source, on_page, read: 0, found: 0, counts: RunCounts::default() };
        let walked = walk(feed, &client, start, &mut look).await?;
        Ok(Report { run: None, walked, would_be: Some(look.counts) })
    }
}

/// The right to run a source, and who has it.
struct Lease {
    name: String,
    holder: String,
}

fn notices(source: &config::Source, records: Vec<Record>) -> Vec<Notice> {
    let notice = |record: Record| Notice {
        entity: source.entity.clone(),
        key: record.key,
        action: Action::Delete,
        evidence: record.evidence,
    };
    records.into_iter().map(notice).collect()
}

/// Writes page after page, and the checkpoint with the last one.
struct Pages<'r> {
    reconciler: &'r Reconciler,
    source: &'r config::Source,
    run: Seq,
    lease: &'r Lease,
    on_page: OnPage<'r>,
    read: u64,
    found: u64,
    renewed: Timestamp,
}

impl Pages<'_> {
    async fn renew(&mut self) -> Result<(), SinkError> {
        let now = self.reconciler.clock.now();
        if now.since(self.renewed) < LEASE / 3 {
            return Ok(());
        }
        if !self.reconciler.lease(self.lease).await? {
            return Err("another process took this run over".into());
        }
        self.renewed = now;
        Ok(())
    }
}

impl Sink for Pages<'_> {
    async fn page(&mut self, page: Page) -> Result<(), SinkError> {
        self.renew().await?;
        self.read += 1;
        self.found += page.records.len() as u64;
        let completes = page.end.map(|end| {
            Event::RunEnded(RunEnded {
                run: self.run,
                source: self.source.name.clone(),
                pages: self.read,
                found: self.found,
                checkpoint: end.covered_until,
                back: end.back,
                error: None,
            })
        });
        let delivery = Delivery {
            source: self.source.name.clone(),
            door: Door::Feed,
            run: Some(self.run),
            notices: notices(self.source, page.records),
            unreadable: vec![],
            reason: None,
            body: Some(page.body),
        };
        loop {
            match self.reconciler.intake.record_with(delivery.clone(), completes.clone()).await {
                Ok(_) => break,
                Err(StoreError::Busy) => tokio::time::sleep(QUEUE_FULL).await,
                Err(error) => return Err(error.into()),
            }
        }
        (self.on_page)(self.read, self.found);
        Ok(())
    }
}

/// Looks at page after page.
struct Look<'r> {
    reconciler: &'r Reconciler,
    source: &'r config::Source,
    on_page: OnPage<'r>,
    read: u64,
    found: u64,
    counts: RunCounts,
}

impl Look<'_> {
    async fn hearing(&self, notice: &Notice) -> Result<Hearing, StoreError> {
        let arrival = Arrival {
            notice,
            seq: 0,
            heard_at: self.reconciler.clock.now(),
            source: &self.source.name,
            door: Door::Feed,
            retry_horizon: self.source.retry_horizon,
        };
        let story = self.reconciler.store.story(&notice.entity, &notice.key).await?;
        Ok(story.map_or(Hearing::New, |story| Tombstone::hear(&mut story.tombstone.clone(), &arrival)))
    }
}

impl Sink for Look<'_> {
    async fn page(&mut self, page: Page) -> Result<(), SinkError> {
        self.read += 1;
        for notice in notices(self.source, page.records) {
            self.found += 1;
            self.counts.count(self.hearing(&notice).await?);
        }
        (self.on_page)(self.read, self.found);
        Ok(())
    }
}
