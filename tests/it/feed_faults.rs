//! The deleted feed when things go wrong: no gap, no wrong deletion, and the checkpoint where it may be (I4).

mod clocks;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use expunged::clock::{Clock as _, ManualClock};
use expunged::config::{Config, Source};
use expunged::domain::{Action, Door, Timestamp};
use expunged::fold;
use expunged::reconcile::{Report, RunError};
use expunged::sandbox::repliers::ListingKey;
use expunged::sandbox::{Fault, Repliers, Simulator as _};
use expunged::store::Run;
use expunged::targets::Target;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::support::memory::Memory;
use crate::support::mirror;
use crate::support::rig::{Rig, listing, notice, until};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// An upstream with its clock, a daemon with another one, and what the daemon mirrors.
struct World {
    folder: TempDir,
    upstream: Arc<Repliers>,
    address: String,
    theirs: Arc<ManualClock>,
    ours: Arc<ManualClock>,
    target: Arc<Memory>,
}

impl World {
    async fn new() -> Self {
        let (theirs, ours) = (mirror::clock(), mirror::clock());
        let (upstream, address) = mirror::repliers(theirs.clone()).await;
        let target = Memory::new("replica", ours.clone());
        Self { folder: tempfile::tempdir().unwrap(), upstream, address, theirs, ours, target }
    }

    fn config(&self, folder: &Path) -> Config {
        let brake = "[brake]\nrows = 1000000";
        mirror::config(folder, &self.address, brake, "feed.attempts_max = 2\nfeed.paging.size = 10")
    }

    async fn rig(&self) -> Rig {
        let targets: Vec<Arc<dyn Target>> = vec![self.target.clone()];
        let config = self.config(self.folder.path());
        let mut rig = Rig::over(config, self.ours.clone(), targets).await;
        rig.run();
        rig
    }

    /// A listing of theirs and ours, last updated at `at`.
    fn list(&self, mls: &str, at: Timestamp) {
        self.upstream.list_silently(&ListingKey::new(2, mls), at);
        self.target.put(&listing(mls), 1, at);
    }

    /// Listings that are deleted one after the other, a minute apart, until an hour ago.
    fn deleted(&self, names: impl ExactSizeIterator<Item = String>) {
        let end = self.theirs.now().minus(HOUR);
        let count = u32::try_from(names.len()).unwrap();
        for (number, mls) in (0..).zip(names) {
            let at = end.minus(Duration::from_mins(1) * (count - number));
            self.list(&mls, at.minus(DAY));
            assert!(self.upstream.delete(&ListingKey::new(2, mls), at));
        }
    }

    fn both_later(&self, by: Duration) {
        self.theirs.set(self.theirs.now().plus(by));
        self.ours.set(self.ours.now().plus(by));
    }
}

fn names(letter: char, count: usize) -> impl ExactSizeIterator<Item = String> {
    (0..count).map(move |number| format!("{letter}{number}"))
}

fn source(rig: &Rig) -> Source {
    rig.parts.config.sources.iter().find(|source| source.name == "repliers").unwrap().clone()
}

async fn run(rig: &Rig) -> Result<Report, RunError> {
    let result = rig.parts.reconciler().run(&source(rig), None, &|_, _| {}).await;
    rig.quiet().await;
    result
}

async fn checkpoint(rig: &Rig) -> Option<Timestamp> {
    rig.parts.store.checkpoint("repliers").await.unwrap()
}

async fn last_run(rig: &Rig) -> Run {
    rig.parts.store.runs(Some("repliers"), 1).await.unwrap().remove(0)
}

#[tokio::test]
async fn an_upstream_that_is_busy_or_broken_for_a_moment_is_asked_again() {
    let world = World::new().await;
    let rig = world.rig().await;
    world.deleted(names('A', 25));
    world.upstream.faults().script([
        Fault::too_many("1"),
        Fault::Pass,
        Fault::server_error(),
        Fault::Pass,
        Fault::Cut,
        Fault::Drip { pieces: 7, pause: Duration::from_millis(1) },
    ]);
    let report = run(&rig).await.unwrap();
    assert_eq!((report.walked.records, report.walked.walks), (25, 1));
    assert_eq!(world.target.rows_gone(), 25);
    assert_eq!(checkpoint(&rig).await, Some(world.theirs.now()));
    rig.stop().await;
}

#[tokio::test]
async fn i4_a_run_that_fails_on_its_second_page_leaves_the_checkpoint_and_says_why() {
    let world = World::new().await;
    let rig = world.rig().await;
    run(&rig).await.unwrap();
    let before = checkpoint(&rig).await;
    world.both_later(DAY);
    world.deleted(names('A', 25));
    let gone = |fault: Fault| [Fault::Pass, fault.clone(), fault];
    for (faults, why) in [
        (gone(Fault::server_error()), "failed 2 times, at last with: status 500"),
        (gone(Fault::too_many("1")), "failed 2 times, at last with: status 429"),
        (gone(Fault::Cut), "the answer broke off"),
        (gone(Fault::garbage()), "page 2 of"),
        (gone(Fault::page(7)), "page 2 of"),
        (gone(Fault::redirect("https://elsewhere.example/")), "a redirect to another host"),
    ] {
        let faults: Vec<Fault> = if why.starts_with("page") || why.starts_with("a redirect") {
            faults.into_iter().take(2).collect()
        } else {
            faults.into()
        };
        world.upstream.faults().script(faults);
        let error = run(&rig).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        let ended = last_run(&rig).await;
        assert_eq!(ended.error.as_deref(), Some(error.as_str()));
        assert_eq!((ended.pages, ended.found, ended.checkpoint), (1, 10, None), "{why}");
        assert_eq!(checkpoint(&rig).await, before);
        assert_eq!(world.target.rows_gone(), 10, "what was read is true all the same");
    }
    run(&rig).await.unwrap();
    assert_eq!((checkpoint(&rig).await, world.target.rows_gone()), (Some(world.theirs.now()), 25));
    let counts = last_run(&rig).await.counts;
    assert_eq!((counts.fresh, counts.repeated), (15, 10));
    rig.stop().await;
}

#[tokio::test]
async fn i4_a_total_that_changes_under_the_walk_begins_it_again() {
    let world = World::new().await;
    let rig = world.rig().await;
    world.deleted(names('A', 25));
    world.upstream.faults().script([Fault::Pass, Fault::total(26)]);
    let report = run(&rig).await.unwrap();
    assert_eq!((report.walked.records, report.walked.walks), (25, 2));
    assert_eq!((checkpoint(&rig).await, world.target.rows_gone()), (Some(world.theirs.now()), 25));
    // And a total that never holds still moves nothing.
    world.both_later(HOUR);
    let before = checkpoint(&rig).await;
    world.upstream.faults().script((0..20).map(|number| Fault::total(100 + number)));
    assert!(run(&rig).await.is_err());
    assert_eq!(checkpoint(&rig).await, before);
    assert!(last_run(&rig).await.error.unwrap().contains("changes faster than it can be read"));
    rig.stop().await;
}

#[tokio::test]
async fn i4_no_deletion_slips_through_at_the_border_of_a_day_whatever_the_time_of_the_runs() {
    for seed in 0..4 {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::new().await;
        let rig = world.rig().await;
        run(&rig).await.unwrap();
        let mut all = 0;
        for round in 0..12 {
            let last = world.theirs.now();
            world.both_later(Duration::from_secs(random.u64(1..3 * 86_400)));
            let now = world.theirs.now();
            // At the very border of each day between, just before it, and at the moment of this run.
            let midnight = Timestamp::from_seconds(now.seconds() - now.seconds().rem_euclid(86_400));
            let before = midnight.minus(Duration::from_millis(1));
            for (number, at) in [midnight, before, now, last].into_iter().enumerate() {
                let mls = format!("R{round}-{number}");
                let at = at.max(last);
                world.list(&mls, at.minus(DAY));
                assert!(world.upstream.delete(&ListingKey::new(2, mls), at));
                all += 1;
            }
            run(&rig).await.unwrap();
            assert_eq!(world.target.rows_gone(), all, "seed {seed}, round {round}");
            assert_eq!(checkpoint(&rig).await, Some(now));
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn i3_an_overlap_that_repeats_a_deletion_leaves_the_record_that_was_listed_since() {
    let world = World::new().await;
    let rig = world.rig().await;
    world.deleted(names('A', 3));
    run(&rig).await.unwrap();
    assert_eq!(world.target.rows_gone(), 3);
    // All three are back in the mirror; the feed still has them, since its window is days wide. Of one we
    // were told; of one only the row's guard tells; of one nothing tells but that the deletion is known.
    world.both_later(HOUR);
    let now = world.theirs.now();
    rig.record(Door::Webhook, vec![notice(&listing("A0"), Action::Relisted, now)]).await;
    world.target.put(&listing("A0"), 1, now);
    world.target.put(&listing("A1"), 1, now);
    world.target.put(&listing("A2"), 1, now.minus(DAY * 3));
    run(&rig).await.unwrap();
    assert_eq!(last_run(&rig).await.counts.repeated, 3);
    for mls in ["A0", "A1", "A2"] {
        assert!(world.target.has(&listing(mls)), "{mls} was deleted by a repeat");
    }
    // A second deletion upstream is none: it goes.
    world.both_later(HOUR);
    world.list("A0", now);
    assert!(world.upstream.delete(&ListingKey::new(2, "A0"), world.theirs.now()));
    run(&rig).await.unwrap();
    assert!(!world.target.has(&listing("A0")));
    rig.stop().await;
}

#[tokio::test]
async fn i4_a_run_that_is_cut_in_the_middle_and_run_again_leaves_no_gap() {
    let world = World::new().await;
    let rig = world.rig().await;
    run(&rig).await.unwrap();
    let before = checkpoint(&rig).await;
    world.both_later(DAY);
    world.deleted(names('A', 45));
    let third = Arc::new(Notify::new());
    let (reconciler, source, told) = (rig.parts.reconciler(), source(&rig), third.clone());
    let pause = Duration::from_mins(10);
    let slow = Fault::Drip { pieces: 2, pause };
    world.upstream.faults().script([Fault::Pass, Fault::Pass, slow]);
    let cut = tokio::spawn(async move {
        let on_page = |pages, _| {
            if pages == 2 {
                told.notify_one();
            }
        };
        reconciler.run(&source, None, &on_page).await
    });
    third.notified().await;
    cut.abort();
    assert!(cut.await.unwrap_err().is_cancelled());
    rig.quiet().await;
    assert_eq!((checkpoint(&rig).await, world.target.rows_gone()), (before, 20));
    assert_eq!(last_run(&rig).await.ended_at, None);
    rig.stop().await;

    let rig = world.rig().await;
    assert!(matches!(run(&rig).await, Err(RunError::UnderWay)), "another process may be at it still");
    world.both_later(HOUR);
    run(&rig).await.unwrap();
    assert_eq!((checkpoint(&rig).await, world.target.rows_gone()), (Some(world.theirs.now()), 45));
    let counts = last_run(&rig).await.counts;
    assert_eq!((counts.fresh, counts.repeated), (25, 20));
    rig.stop().await;
}

#[tokio::test]
async fn of_two_runs_of_one_source_at_once_the_second_is_refused() {
    let world = World::new().await;
    let rig = world.rig().await;
    world.deleted(names('A', 5));
    let begun = Arc::new(Notify::new());
    let (reconciler, of, told) = (rig.parts.reconciler(), source(&rig), begun.clone());
    let slow = Fault::Drip { pieces: 2, pause: Duration::from_mins(10) };
    world.upstream.faults().script([slow]);
    let first = tokio::spawn(async move { reconciler.run(&of, None, &|_, _| told.notify_one()).await });
    until("the first has begun", async || !rig.parts.store.runs(None, 1).await.unwrap().is_empty()).await;
    let mut elsewhere = rig.parts.reconciler();
    elsewhere.holder = "another process".into();
    for second in [rig.parts.reconciler(), elsewhere] {
        let refused = second.run(&source(&rig), None, &|_, _| {}).await;
        assert!(matches!(refused, Err(RunError::UnderWay)), "{refused:?}");
    }
    assert_eq!(rig.parts.store.runs(None, 9).await.unwrap().len(), 1, "and leaves no trace");
    first.abort();
    rig.stop().await;
}

#[tokio::test]
async fn i4_a_checkpoint_older_than_the_feed_is_an_error_that_names_the_way_on() {
    let world = World::new().await;
    let rig = world.rig().await;
    run(&rig).await.unwrap();
    let before = checkpoint(&rig).await;
    world.both_later(DAY * 31);
    world.deleted(names('A', 5));
    let error = run(&rig).await.unwrap_err();
    assert!(error.to_string().contains("--since") && error.to_string().contains("census"), "{error}");
    assert!(!error.retry_can_help());
    assert_eq!(last_run(&rig).await.error, Some(error.to_string()));
    assert_eq!((checkpoint(&rig).await, world.target.rows_gone()), (before, 0));
    let since = Some(world.theirs.now().minus(DAY * 29));
    rig.parts.reconciler().run(&source(&rig), since, &|_, _| {}).await.unwrap();
    rig.quiet().await;
    assert_eq!((checkpoint(&rig).await, world.target.rows_gone()), (Some(world.theirs.now()), 5));
    rig.stop().await;
}

#[tokio::test]
async fn i4_an_operators_run_before_the_first_one_leaves_it_to_read_back_as_configured() {
    let world = World::new().await;
    let rig = world.rig().await;
    world.deleted(names('A', 3));
    world.both_later(DAY * 10);
    world.deleted(names('B', 5));
    let since = Some(world.theirs.now().minus(DAY * 2));
    rig.parts.reconciler().run(&source(&rig), since, &|_, _| {}).await.unwrap();
    rig.quiet().await;
    assert_eq!((checkpoint(&rig).await, world.target.rows_gone()), (None, 5));
    run(&rig).await.unwrap();
    assert_eq!((checkpoint(&rig).await, world.target.rows_gone()), (Some(world.theirs.now()), 8));
    rig.stop().await;
}

#[tokio::test]
async fn a_dry_run_counts_and_writes_nothing() {
    let world = World::new().await;
    let rig = world.rig().await;
    world.deleted(names('A', 12));
    rig.record(Door::Webhook, vec![]).await;
    let head = rig.parts.store.head().await.unwrap();
    let report = rig.parts.reconciler().dry_run(&source(&rig), None, &|_, _| {}).await.unwrap();
    fold::catch_up(&rig.parts.store).await.unwrap();
    assert_eq!((report.run, report.would_be.unwrap().fresh), (None, 12));
    assert_eq!((rig.parts.store.head().await.unwrap(), checkpoint(&rig).await), (head, None));
    rig.stop().await;
}
