//! Carrying out while targets are down, records are poisonous and the queue is long.

mod overtaken;

use std::sync::Arc;
use std::time::Duration;

use expunged::clock::{Clock as _, ManualClock};
use expunged::domain::{Action, Door, Key, Notice, Outcome, Timestamp};
use expunged::store::StoryTask;
use expunged::targets::{Batch, RecordFailure, Target};
use tempfile::TempDir;

use crate::support::memory::Memory;
use crate::support::mirror;
use crate::support::rig::{Rig, listing, notice, until};

struct World {
    folder: TempDir,
    clock: Arc<ManualClock>,
    replica: Arc<Memory>,
    search: Arc<Memory>,
}

impl World {
    fn new() -> Self {
        let clock = mirror::clock();
        let (replica, search) = (Memory::new("replica", clock.clone()), Memory::new("search", clock.clone()));
        Self { folder: tempfile::tempdir().unwrap(), clock, replica, search }
    }

    async fn rig(&self) -> Rig {
        self.rig_with(self.search.clone()).await
    }

    async fn rig_with(&self, search: Arc<dyn Target>) -> Rig {
        let config = mirror::config(self.folder.path(), "http://127.0.0.1:9", "[brake]\nmode = \"off\"", "");
        let targets: Vec<Arc<dyn Target>> = vec![self.replica.clone(), search];
        Rig::over(config, self.clock.clone(), targets).await
    }

    fn put(&self, keys: &[Key], guard: Timestamp) {
        for key in keys {
            self.replica.put(key, 1, guard);
            self.search.put(key, 1, guard);
        }
    }

    fn later(&self, by: Duration) -> Timestamp {
        let now = self.clock.now().plus(by);
        self.clock.set(now);
        now
    }
}

fn keys(range: std::ops::Range<usize>) -> Vec<Key> {
    range.map(|number| listing(format!("{number:06}"))).collect()
}

fn told(keys: &[Key], action: Action, at: Timestamp) -> Vec<Notice> {
    keys.iter().map(|key| notice(key, action, at)).collect()
}

fn named(batch: &Batch) -> Vec<Key> {
    batch.removals.iter().map(|removal| removal.key.clone()).collect()
}

async fn at_target(rig: &Rig, key: &Key, target: &str) -> Option<StoryTask> {
    rig.story(key).await?.tasks.into_iter().find(|task| task.target == target)
}

async fn outcomes(rig: &Rig, target: &str) -> Vec<(String, u64)> {
    let tally = rig.parts.store.tally().await.unwrap();
    tally
        .outcomes
        .into_iter()
        .filter(|(of, _, _)| of == target)
        .map(|(_, what, count)| (what, count))
        .collect()
}

fn failure(retry: bool) -> RecordFailure {
    RecordFailure { code: "foreign_key", message: "bookings still refer to it".into(), retry }
}

#[tokio::test]
async fn i6_a_target_that_is_down_keeps_no_other_waiting_and_catches_up_without_loss() {
    let world = World::new();
    let mut rig = world.rig().await;
    let all = keys(0..500);
    world.put(&all, Timestamp::MIN);
    world.search.state().down = true;
    rig.run();
    for part in all.chunks(50) {
        rig.record(Door::Webhook, told(part, Action::Delete, rig.now())).await;
    }
    until("the replica is done", async || outcomes(&rig, "replica").await == [("deleted".into(), 500)]).await;
    until("the index was tried again", async || world.search.state().turned_away > 2).await;
    assert_eq!((world.replica.rows_gone(), world.search.rows_gone()), (500, 0));
    world.search.state().down = false;
    rig.quiet().await;
    assert_eq!(outcomes(&rig, "search").await, [("deleted".into(), 500)]);
    let asked: usize = world.search.state().batches.iter().map(|batch| batch.removals.len()).sum();
    assert_eq!((asked, world.search.rows_gone()), (500, 500), "each once");
    rig.stop().await;
}

#[tokio::test]
async fn a_daemon_that_ends_while_a_target_is_down_resumes_the_same_batch() {
    let world = World::new();
    let mut rig = world.rig().await;
    let all = keys(0..20);
    world.put(&all, Timestamp::MIN);
    world.search.state().down = true;
    rig.record(Door::Webhook, told(&all, Action::Delete, rig.now())).await;
    rig.run();
    until("the index was tried", async || world.search.state().turned_away > 0).await;
    until("the batch is folded", async || rig.parts.store.open_batches("search").await.unwrap().len() == 1)
        .await;
    let open = rig.parts.store.open_batches("search").await.unwrap();
    rig.stop().await;
    world.search.state().down = false;
    let mut rig = world.rig().await;
    rig.run();
    rig.quiet().await;
    let asked = world.search.state().batches.clone();
    assert_eq!((asked.len(), asked[0].number, named(&asked[0])), (1, open[0].number, all));
    rig.stop().await;
}

#[tokio::test]
async fn i6_a_batch_with_a_poisonous_record_is_halved_until_it_stands_alone() {
    let world = World::new();
    let mut rig = world.rig().await;
    let all = keys(0..100);
    world.put(&all, Timestamp::MIN);
    world.replica.state().poison.insert(all[37].clone());
    rig.record(Door::Feed, told(&all, Action::Delete, rig.now())).await;
    rig.decide().await;
    rig.run();
    until("the others are gone", async || world.replica.rows_gone() == 99).await;
    until("it has failed", async || at_target(&rig, &all[37], "replica").await.unwrap().attempts == 1).await;
    let sizes: Vec<usize> = world.replica.state().batches.iter().map(|batch| batch.removals.len()).collect();
    assert!(sizes.contains(&100) && sizes.contains(&1), "{sizes:?}");
    assert!(sizes.len() <= 15, "halves, not one by one: {sizes:?}");
    // It is tried to its last attempt, each time alone, and parked with its reason.
    for attempts in 2..=12 {
        world.later(Duration::from_mins(15));
        rig.record(Door::Webhook, vec![]).await;
        until("it was tried again", async || {
            at_target(&rig, &all[37], "replica").await.unwrap().attempts == attempts
        })
        .await;
    }
    let parked = rig.parts.store.parked(10).await.unwrap();
    assert_eq!((parked.len(), parked[0].code.as_str()), (1, "poison"));
    assert_eq!(
        (parked[0].key.clone(), parked[0].message.as_str()),
        (all[37].clone(), "one of them is poisonous")
    );
    assert_eq!(outcomes(&rig, "replica").await, [("deleted".into(), 99), ("failed".into(), 1)]);
    assert_eq!(outcomes(&rig, "search").await, [("deleted".into(), 100)]);
    rig.stop().await;
}

#[tokio::test]
async fn i6_a_record_that_fails_by_itself_waits_longer_each_time_while_the_others_go() {
    let world = World::new();
    let mut rig = world.rig().await;
    let all = keys(0..3);
    world.put(&all, Timestamp::MIN);
    world.replica.state().failing.insert(all[1].clone(), failure(true));
    rig.run();
    rig.record(Door::Feed, told(&all, Action::Delete, rig.now())).await;
    let mut waits = Vec::new();
    for attempts in 1..=4 {
        until("it was tried", async || {
            at_target(&rig, &all[1], "replica").await.is_some_and(|task| task.attempts == attempts)
        })
        .await;
        let task = at_target(&rig, &all[1], "replica").await.unwrap();
        assert_eq!((task.state.as_str(), task.outcome), ("due", Some(Outcome::Failed)));
        let next = task.failure.unwrap().retry_at.unwrap();
        waits.push(next.since(rig.now()).as_millis());
        world.clock.set(next);
        if attempts == 4 {
            world.replica.state().failing.clear();
        }
        rig.record(Door::Webhook, vec![]).await;
    }
    assert_eq!(waits, [200, 400, 800, 1_600], "a tenth of 2, 4, 8 and 16 s");
    rig.quiet().await;
    assert_eq!(outcomes(&rig, "replica").await, [("deleted".into(), 3)]);
    rig.stop().await;
}

#[tokio::test]
async fn a_failure_that_no_retry_helps_is_parked_at_once_and_a_new_deletion_takes_it_up_again() {
    let world = World::new();
    let mut rig = world.rig().await;
    let all = keys(0..1);
    world.put(&all, Timestamp::MIN);
    world.replica.state().failing.insert(all[0].clone(), failure(false));
    rig.run();
    rig.record(Door::Feed, told(&all, Action::Delete, rig.now())).await;
    until("parked", async || rig.parts.store.parked(10).await.unwrap().len() == 1).await;
    rig.quiet().await;
    world.replica.state().failing.clear();
    rig.record(Door::Feed, told(&all, Action::Delete, rig.now())).await;
    rig.quiet().await;
    assert!(world.replica.has(&all[0]), "a repeat is no new deletion");
    let now = world.later(Duration::from_mins(1));
    rig.record(Door::Feed, told(&all, Action::Delete, now)).await;
    rig.quiet().await;
    assert!(!world.replica.has(&all[0]));
    assert_eq!(rig.parts.store.parked(10).await.unwrap(), []);
    rig.stop().await;
}

#[tokio::test]
async fn a_second_deletion_after_a_relisting_is_carried_out_again() {
    let world = World::new();
    let mut rig = world.rig().await;
    let all = keys(0..1);
    rig.run();
    for round in 0..3 {
        let listed = world.later(Duration::from_mins(1));
        world.put(&all, listed);
        rig.record(Door::Webhook, told(&all, Action::Relisted, listed)).await;
        rig.quiet().await;
        let deleted = world.later(Duration::from_mins(1));
        rig.record(Door::Webhook, told(&all, Action::Delete, deleted)).await;
        rig.quiet().await;
        assert!(!world.replica.has(&all[0]) && !world.search.has(&all[0]), "round {round}");
        let task = at_target(&rig, &all[0], "replica").await.unwrap();
        assert_eq!(task.outcome, Some(Outcome::Deleted));
    }
    assert_eq!(world.replica.rows_gone(), 3);
    rig.stop().await;
}

#[tokio::test]
async fn a_large_backlog_is_taken_in_the_order_of_its_keys_in_batches_that_grow() {
    let world = World::new();
    let mut rig = world.rig().await;
    let all = keys(0..25_000);
    world.put(&all, Timestamp::MIN);
    let mut shuffled = all.clone();
    fastrand::Rng::with_seed(1).shuffle(&mut shuffled);
    for part in shuffled.chunks(500) {
        rig.record(Door::Feed, told(part, Action::Delete, rig.now())).await;
    }
    rig.decide().await;
    rig.run();
    rig.quiet().await;
    let batches = world.replica.state().batches.clone();
    let sizes: Vec<usize> = batches.iter().map(|batch| batch.removals.len()).collect();
    assert_eq!(sizes, [1_000, 10_000, 10_000, 4_000]);
    assert!(batches.iter().flat_map(named).eq(all), "in the order of the keys, each once");
    assert!(batches.is_sorted_by_key(|batch| batch.number));
    assert_eq!(outcomes(&rig, "search").await, [("deleted".into(), 25_000)]);
    rig.stop().await;
}

#[tokio::test]
async fn i8_a_deletion_that_is_overtaken_while_it_is_carried_out_is_remembered_as_our_own_work() {
    let world = World::new();
    let mut rig = world.rig().await;
    let all = keys(0..1);
    world.put(&all, Timestamp::MIN);
    world.replica.state().down = true;
    rig.run();
    rig.record(Door::Feed, told(&all, Action::Delete, rig.now())).await;
    until("the batch is under way", async || world.replica.state().turned_away > 0).await;
    let again = world.later(Duration::from_mins(1));
    rig.record(Door::Feed, told(&all, Action::Delete, again)).await;
    until("it is decided", async || {
        let story = rig.story(&all[0]).await.unwrap();
        story.tombstone.at == again && story.decision == "released"
    })
    .await;
    world.replica.state().down = false;
    rig.quiet().await;
    assert_eq!(world.replica.rows_gone(), 1);
    assert_eq!(at_target(&rig, &all[0], "replica").await.unwrap().outcome, Some(Outcome::AlreadyDeleted));
    rig.stop().await;
}
