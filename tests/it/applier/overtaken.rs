//! Deletions of records that are listed again while their batch waits, is under way, or fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use expunged::domain::{Action, Door, Entity, Key, Outcome, Timestamp};
use expunged::intake::Intake;
use expunged::store::SharedStore;
use expunged::targets::{Batch, Effect, Target, TargetError};

use super::{World, at_target, failure, keys, named, told};
use crate::support::between::{Between, Seen};
use crate::support::memory::Memory;
use crate::support::mirror;
use crate::support::rig::{Rig, delivery, notice, until};

#[tokio::test]
async fn i3_a_relisting_supersedes_what_waits_and_no_target_is_asked_for_it() {
    let world = World::new();
    let mut rig = world.rig().await;
    let all = keys(0..10);
    let deleted = rig.now();
    world.put(&all, Timestamp::MIN);
    rig.record(Door::Feed, told(&all, Action::Delete, deleted)).await;
    rig.decide().await;
    let back = world.later(Duration::from_mins(1));
    rig.record(Door::Webhook, told(&all[4..6], Action::Relisted, back)).await;
    rig.decide().await;
    rig.run();
    rig.quiet().await;
    let asked: Vec<Key> = world.replica.state().batches.iter().flat_map(named).collect();
    assert_eq!(asked, [&all[..4], &all[6..]].concat());
    assert_eq!(at_target(&rig, &all[4], "replica").await.unwrap().outcome, Some(Outcome::Superseded));
    assert!(world.replica.has(&all[4]) && world.search.has(&all[5]));
    rig.stop().await;
}

/// A target at which a record is written back, and listed again, just when it is asked to delete it.
struct Relisted {
    inner: Arc<Memory>,
    key: Key,
    /// Of the record that is written back.
    guard: Timestamp,
    /// Not while it is at work, but while it makes the batch wait for its turn.
    waits: bool,
    daemon: OnceLock<(Intake, SharedStore)>,
    done: AtomicBool,
}

#[async_trait]
impl Between for Relisted {
    fn behind(&self) -> &dyn Target {
        &*self.inner
    }

    async fn ready(&self) -> Result<(), TargetError> {
        if self.waits {
            self.relist().await;
        }
        Ok(())
    }

    async fn apply(&self, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
        let named = batch.removals.iter().any(|removal| removal.key == self.key);
        if named && !self.waits {
            self.relist().await;
        }
        self.inner.apply(batch).await
    }
}

impl Relisted {
    /// Once, and until it is known.
    async fn relist(&self) {
        let Some((intake, store)) = self.daemon.get() else { return };
        let entity = Entity::new("listing");
        let Some(known) = store.story(&entity, &self.key).await.unwrap() else { return };
        if self.done.swap(true, Ordering::SeqCst) {
            return;
        }
        self.inner.put(&self.key, 1, self.guard);
        let back = vec![notice(&self.key, Action::Relisted, known.tombstone.at.plus(Duration::from_secs(1)))];
        intake.record(delivery(Door::Webhook, back)).await.unwrap();
        while store.story(&entity, &self.key).await.unwrap().unwrap().decision != "none" {
            tokio::task::yield_now().await;
        }
    }
}

/// Has all of them deleted, and the second of them listed again while the search target is at work.
async fn relisted_under_way(world: &World, guard: Timestamp, all: &[Key], waits: bool) -> Rig {
    let (inner, key) = (world.search.clone(), all[1].clone());
    let done = AtomicBool::new(false);
    let search = Arc::new(Seen(Relisted { inner, key, guard, waits, daemon: OnceLock::new(), done }));
    let mut rig = world.rig_with(search.clone()).await;
    assert!(search.0.daemon.set((rig.parts.intake.clone(), rig.parts.store.clone())).is_ok());
    world.put(all, Timestamp::MIN);
    rig.run();
    rig.record(Door::Webhook, told(all, Action::Delete, rig.now())).await;
    rig.quiet_or_waiting().await;
    assert!(search.0.done.load(Ordering::SeqCst), "it was asked for, and listed again meanwhile");
    rig
}

#[tokio::test]
async fn i3_a_relisting_that_comes_while_its_batch_is_under_way_leaves_the_newer_record() {
    let world = World::new();
    let all = keys(0..10);
    let rig = relisted_under_way(&world, mirror::time("2100-01-01T00:00:00Z"), &all, false).await;
    assert!(world.search.has(&all[1]));
    assert_eq!(world.search.rows_gone(), 9);
    assert_eq!(at_target(&rig, &all[1], "search").await.unwrap().outcome, Some(Outcome::Superseded));
    rig.stop().await;
}

#[tokio::test]
async fn i3_a_relisting_that_comes_while_the_target_makes_its_batch_wait_leaves_the_record() {
    let world = World::new();
    let all = keys(0..10);
    // A copy without a guard.
    let rig = relisted_under_way(&world, Timestamp::MIN, &all, true).await;
    assert!(world.search.has(&all[1]), "listed again, and deleted");
    assert_eq!(world.search.rows_gone(), 9);
    assert_eq!(at_target(&rig, &all[1], "search").await.unwrap().outcome, Some(Outcome::Superseded));
    rig.stop().await;
}

#[tokio::test]
async fn i3_what_failed_while_its_relisting_came_is_not_asked_for_again() {
    for retry in [true, false] {
        let world = World::new();
        let all = keys(0..3);
        world.search.state().failing.insert(all[1].clone(), failure(retry));
        // A copy without a guard: nothing but the queue keeps a deletion from a record that is listed again.
        let rig = relisted_under_way(&world, Timestamp::MIN, &all, false).await;
        world.search.state().failing.clear();
        world.later(Duration::from_hours(1));
        // Wakes the target's loop, an hour later.
        rig.record(Door::Webhook, told(&keys(5..6), Action::Delete, rig.now())).await;
        rig.quiet().await;
        assert!(world.search.has(&all[1]), "listed again, and deleted");
        assert_eq!(at_target(&rig, &all[1], "search").await.unwrap().outcome, Some(Outcome::Superseded));
        assert!(rig.parts.store.parked(9).await.unwrap().is_empty());
        assert!(!world.search.has(&all[0]) && !world.search.has(&all[2]));
        rig.stop().await;
    }
}

#[tokio::test]
async fn i3_what_is_listed_again_while_a_target_is_down_is_left_out_of_the_batches_that_wait_for_it() {
    let world = World::new();
    let mut rig = world.rig().await;
    let all = keys(0..1_500);
    // A copy without a guard.
    world.put(&all, Timestamp::MIN);
    world.search.state().down = true;
    rig.record(Door::Feed, told(&all, Action::Delete, rig.now())).await;
    rig.decide().await;
    rig.run();
    until("one batch waits, and one behind it", async || {
        let open = rig.parts.store.open_batches("search").await.unwrap();
        world.search.state().turned_away > 0 && open.iter().map(|batch| batch.tasks.len()).eq([1_000, 500])
    })
    .await;
    let back = [&all[7..9], &all[1_234..1_235]].concat();
    rig.record(Door::Webhook, told(&back, Action::Relisted, world.later(Duration::from_mins(1)))).await;
    until("it is known", async || rig.story(&back[2]).await.unwrap().decision == "none").await;
    world.search.state().down = false;
    rig.quiet().await;
    for key in &back {
        assert!(world.search.has(key), "listed again, and deleted");
        assert_eq!(at_target(&rig, key, "search").await.unwrap().outcome, Some(Outcome::Superseded));
    }
    assert_eq!(world.search.rows_gone(), 1_497);
    assert!(rig.parts.store.open_batches("search").await.unwrap().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn i3_what_is_listed_again_while_its_target_is_not_configured_does_not_wait_there_any_more() {
    let world = World::new();
    let rig = world.rig().await;
    let all = keys(0..3);
    // A copy without a guard.
    world.put(&all, Timestamp::MIN);
    rig.record(Door::Webhook, told(&all, Action::Delete, rig.now())).await;
    rig.decide().await;
    rig.stop().await;
    let config = mirror::config(world.folder.path(), "http://127.0.0.1:9", "[brake]\nmode = \"off\"", "");
    let rig = Rig::over(config, world.clock.clone(), vec![world.replica.clone()]).await;
    rig.record(Door::Webhook, told(&all[1..2], Action::Relisted, world.later(Duration::from_mins(1)))).await;
    rig.decide().await;
    rig.stop().await;
    let mut rig = world.rig().await;
    rig.run();
    rig.quiet().await;
    assert!(world.search.has(&all[1]), "listed again, and deleted");
    assert_eq!(at_target(&rig, &all[1], "search").await.unwrap().outcome, Some(Outcome::Superseded));
    assert_eq!(world.search.rows_gone(), 2);
    rig.stop().await;
}

#[tokio::test]
async fn i8_what_is_left_out_while_the_answer_is_unknown_may_have_gone_by_our_own_work() {
    for restarted in [false, true] {
        let world = World::new();
        let mut rig = world.rig().await;
        let all = keys(0..3);
        world.put(&all, Timestamp::MIN);
        world.search.state().answers_are_lost = true;
        rig.run();
        rig.record(Door::Webhook, told(&all, Action::Delete, rig.now())).await;
        until("they are gone", async || world.search.rows_gone() == 3).await;
        if restarted {
            rig.stop().await;
            rig = world.rig().await;
        }
        let later = world.later(Duration::from_mins(1));
        rig.record(Door::Webhook, told(&all[1..2], Action::Relisted, later)).await;
        if restarted {
            rig.decide().await;
        } else {
            until("it is known", async || rig.story(&all[1]).await.unwrap().decision == "none").await;
        }
        world.search.state().answers_are_lost = false;
        if restarted {
            rig.run();
        }
        rig.quiet().await;
        let outcome = async |key| at_target(&rig, key, "search").await.unwrap().outcome;
        for (key, expected) in
            all.iter().zip([Outcome::AlreadyDeleted, Outcome::Superseded, Outcome::AlreadyDeleted])
        {
            assert_eq!(outcome(key).await, Some(expected));
        }
        // Never written back, and deleted again.
        rig.record(Door::Webhook, told(&all[1..2], Action::Delete, world.later(Duration::from_mins(1))))
            .await;
        rig.quiet().await;
        assert_eq!(outcome(&all[1]).await, Some(Outcome::AlreadyDeleted));
        rig.stop().await;
    }
}
