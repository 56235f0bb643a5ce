//! I5: no more than the allowance goes within the window, whatever comes through whichever door.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use expunged::clock::{Clock as _, ManualClock};
use expunged::config::Config;
use expunged::domain::event::Resolved;
use expunged::domain::{Action, Door, Entity, Event, Key, Notice, Seq, Timestamp};
use expunged::fold;
use expunged::store::Hold;
use expunged::targets::{Removal, Target, TargetError};
use tempfile::TempDir;

use crate::support::between::{Between, Seen};
use crate::support::memory::Memory;
use crate::support::mirror;
use crate::support::rig::{Rig, delivery, listing, notice, until};

const DAY: Duration = Duration::from_hours(24);

/// A daemon over one target in memory, both of which outlive it.
struct World {
    folder: TempDir,
    clock: Arc<ManualClock>,
    target: Arc<Memory>,
    brake: &'static str,
}

impl World {
    /// With `records` listings of so many rows each.
    fn new(brake: &'static str, records: usize, rows: u64) -> Self {
        let clock = mirror::clock();
        let target = Memory::new("replica", clock.clone());
        for number in 0..records {
            target.put(&listing(number.to_string()), rows, Timestamp::MIN);
        }
        Self { folder: tempfile::tempdir().unwrap(), clock, target, brake }
    }

    fn config(&self) -> Config {
        mirror::config(self.folder.path(), "http://127.0.0.1:9", self.brake, "")
    }

    async fn rig(&self) -> Rig {
        let targets: Vec<Arc<dyn Target>> = vec![self.target.clone()];
        Rig::over(self.config(), self.clock.clone(), targets).await
    }

    async fn running(&self) -> Rig {
        let mut rig = self.rig().await;
        rig.run();
        rig
    }

    fn later(&self, by: Duration) {
        self.clock.set(self.clock.now().plus(by));
    }

    /// Deletions of the listings with these numbers.
    fn deletions(&self, numbers: std::ops::Range<usize>) -> Vec<Notice> {
        let now = self.clock.now();
        numbers.map(|number| notice(&listing(number.to_string()), Action::Delete, now)).collect()
    }
}

async fn only_hold(rig: &Rig) -> Hold {
    let holds = rig.parts.store.holds(true).await.unwrap();
    assert_eq!(holds.len(), 1, "{holds:?}");
    holds[0].clone()
}

async fn resolve(rig: &Rig, hold: Seq, through: Seq, approve: bool) {
    let resolved = Resolved { hold, approve, through, actor: "ann".into(), reason: Some("looked".into()) };
    rig.parts.intake.note(Event::Resolved(resolved)).await.unwrap();
}

async fn decision(rig: &Rig, key: &Key) -> String {
    rig.story(key).await.unwrap().decision
}

#[tokio::test]
async fn i5_all_doors_together_never_pass_the_allowance_within_the_window_over_restarts() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::new("[brake]\nrows = 100\npercent = 0.001", 600, 3);
        let mut rig = world.running().await;
        let mut next = 0;
        while next < 600 {
            let doors = [Door::Webhook, Door::Feed, Door::Operator];
            let mut bursts = Vec::new();
            for door in doors {
                let end = (next + random.usize(1..25)).min(600);
                bursts.push(rig.record(door, world.deletions(next..end)));
                next = end;
            }
            for burst in bursts {
                burst.await;
            }
            rig.quiet().await;
            assert!(world.target.most_within(DAY) <= 100, "seed {seed}: {}", world.target.most_within(DAY));
            world.later(Duration::from_secs(random.u64(600..20_000)));
            if random.u8(0..4) == 0 {
                rig.stop().await;
                rig = world.running().await;
            }
        }
        let (gone, held) = (world.target.rows_gone() / 3, rig.parts.store.tally().await.unwrap().held);
        assert_eq!(gone + held, 600, "nothing is dropped");
        assert!(gone > 33, "seed {seed}: more goes in a later window, {gone} went");
        rig.stop().await;
    }
}

#[tokio::test]
async fn i5_the_share_is_of_what_was_there_however_fast_it_shrinks() {
    let world = World::new("[brake]\nrows = 1\npercent = 50", 1_000, 1);
    let rig = world.running().await;
    for start in (0..1_000).step_by(50) {
        rig.record(Door::Webhook, world.deletions(start..start + 50)).await;
        if start % 200 == 0 {
            rig.quiet().await;
        }
    }
    rig.quiet().await;
    assert!(world.target.rows_gone() <= 500, "{} of 1,000 rows went", world.target.rows_gone());
    rig.stop().await;
}

#[tokio::test]
async fn i5_a_backlog_of_single_deliveries_is_decided_once() {
    let world = World::new("[brake]\nrows = 100000", 3_000, 1);
    let mut rig = world.rig().await;
    for number in 0..3_000 {
        // Not waited for one by one: together they share commits.
        let intake = rig.parts.intake.clone();
        let delivery = delivery(Door::Webhook, world.deletions(number..number + 1));
        tokio::spawn(async move { intake.record(delivery).await.unwrap() });
    }
    until("all are recorded", async || rig.parts.store.head().await.unwrap().seq > 3_000).await;
    rig.run();
    rig.quiet().await;
    let spent = rig.parts.store.spent_since(Timestamp::MIN).await.unwrap();
    assert_eq!(spent.iter().map(|(_, rows)| rows).sum::<u64>(), 3_000);
    rig.stop().await;
}

#[tokio::test]
async fn i5_a_backlog_over_the_allowance_opens_one_hold() {
    let world = World::new("[brake]\nrows = 10\npercent = 0.001", 2_000, 1);
    let mut rig = world.rig().await;
    for number in 0..2_000 {
        let intake = rig.parts.intake.clone();
        let delivery = delivery(Door::Webhook, world.deletions(number..number + 1));
        tokio::spawn(async move { intake.record(delivery).await.unwrap() });
    }
    until("all are recorded", async || rig.parts.store.head().await.unwrap().seq > 2_000).await;
    rig.run();
    rig.quiet().await;
    let hold = only_hold(&rig).await;
    assert_eq!((hold.facts, hold.rows, world.target.rows_gone()), (1_990, 1_990, 10));
    rig.stop().await;
}

#[tokio::test]
async fn i5_children_count() {
    let world = World::new("[brake]\nrows = 100\npercent = 0.001", 10, 40);
    let rig = world.running().await;
    rig.record(Door::Webhook, world.deletions(0..10)).await;
    rig.quiet().await;
    assert_eq!(world.target.rows_gone(), 80);
    let hold = only_hold(&rig).await;
    assert_eq!((hold.facts, hold.rows, hold.allowed, hold.gone), (8, 320, 100, 80));
    rig.stop().await;
}

#[tokio::test]
async fn i5_a_hold_survives_a_restart_and_goes_when_it_is_approved() {
    let world = World::new("[brake]\nrows = 5\npercent = 0.001", 20, 1);
    let rig = world.running().await;
    rig.record(Door::Feed, world.deletions(0..20)).await;
    rig.quiet().await;
    let before = only_hold(&rig).await;
    rig.stop().await;

    let rig = world.running().await;
    assert_eq!(only_hold(&rig).await, before);
    assert_eq!(world.target.rows_gone(), 5);
    let seen = rig.parts.store.held(before.id, 100).await.unwrap();
    assert_eq!(seen.len(), 15);
    resolve(&rig, before.id, rig.parts.store.position().await.unwrap().seq, true).await;
    rig.quiet().await;
    assert_eq!(world.target.rows_gone(), 20);
    assert_eq!(rig.parts.store.holds(true).await.unwrap(), []);
    let resolved = &rig.parts.store.holds(false).await.unwrap()[0];
    assert_eq!((resolved.state.as_str(), resolved.actor.as_deref()), ("approved", Some("ann")));
    rig.stop().await;
}

#[tokio::test]
async fn a_rejected_hold_leaves_its_records_and_a_repeat_of_them_does_not_bring_them_back() {
    let world = World::new("[brake]\nrows = 5\npercent = 0.001", 20, 1);
    let rig = world.running().await;
    rig.record(Door::Feed, world.deletions(0..20)).await;
    rig.quiet().await;
    let hold = only_hold(&rig).await;
    resolve(&rig, hold.id, rig.parts.store.position().await.unwrap().seq, false).await;
    rig.quiet().await;
    rig.record(Door::Webhook, world.deletions(0..20)).await;
    rig.quiet().await;
    assert_eq!(world.target.rows_gone(), 5);
    assert_eq!(decision(&rig, &listing("19")).await, "rejected");
    assert_eq!(rig.parts.store.holds(true).await.unwrap(), []);
    // A second deletion upstream is a new fact, and is asked about again.
    world.later(Duration::from_mins(1));
    rig.record(Door::Webhook, world.deletions(19..20)).await;
    rig.quiet().await;
    assert_eq!(only_hold(&rig).await.facts, 1);
    rig.stop().await;
}

#[tokio::test]
async fn only_what_the_person_saw_is_approved() {
    let world = World::new("[brake]\nrows = 5\npercent = 0.001", 40, 1);
    let rig = world.running().await;
    rig.record(Door::Feed, world.deletions(0..20)).await;
    rig.quiet().await;
    let seen = rig.parts.store.position().await.unwrap().seq;
    let hold = only_hold(&rig).await;
    rig.record(Door::Feed, world.deletions(20..40)).await;
    rig.quiet().await;
    assert_eq!(only_hold(&rig).await.facts, 35, "they join the hold that is open");
    resolve(&rig, hold.id, seen, true).await;
    rig.quiet().await;
    assert_eq!(world.target.rows_gone(), 20);
    let left = only_hold(&rig).await;
    assert_eq!((left.id, left.facts), (hold.id, 20));
    assert_eq!(decision(&rig, &listing("39")).await, "held");
    rig.stop().await;
}

#[tokio::test]
async fn a_relisting_takes_a_record_out_of_its_hold() {
    let world = World::new("[brake]\nrows = 1\npercent = 0.001", 3, 1);
    let rig = world.running().await;
    rig.record(Door::Feed, world.deletions(0..3)).await;
    rig.quiet().await;
    let hold = only_hold(&rig).await;
    world.later(Duration::from_mins(1));
    let back = notice(&listing("2"), Action::Relisted, rig.now());
    rig.record(Door::Webhook, vec![back]).await;
    rig.quiet().await;
    assert_eq!(only_hold(&rig).await.facts, 1);
    resolve(&rig, hold.id, rig.parts.store.position().await.unwrap().seq, true).await;
    rig.quiet().await;
    assert!(world.target.has(&listing("2")) && !world.target.has(&listing("1")));
    rig.stop().await;
}

#[tokio::test]
async fn i5_a_hold_that_is_resolved_while_the_brake_looks_is_open_again_for_what_joins_it() {
    for approve in [true, false] {
        let world = World::new("[brake]\nrows = 1\npercent = 0.001", 10, 1);
        let rig = world.rig().await;
        rig.record(Door::Webhook, world.deletions(0..4)).await;
        rig.decide().await;
        let hold = only_hold(&rig).await;
        rig.record(Door::Webhook, world.deletions(4..6)).await;
        let folded = fold::catch_up(&rig.parts.store).await.unwrap();
        let awaiting = rig.parts.store.awaiting(9).await.unwrap();
        let decided = rig.brake().verdict(&awaiting).await.unwrap();
        // A person's word comes before the decision.
        resolve(&rig, hold.id, folded, approve).await;
        rig.parts.intake.note(Event::Decided(decided)).await.unwrap();
        let through = fold::catch_up(&rig.parts.store).await.unwrap();
        let open = only_hold(&rig).await;
        assert_eq!((open.id, open.facts, open.rows, open.actor), (hold.id, 2, 2, None));
        resolve(&rig, hold.id, through, true).await;
        fold::catch_up(&rig.parts.store).await.unwrap();
        assert!(rig.parts.store.holds(true).await.unwrap().is_empty());
        assert_eq!(decision(&rig, &listing("5")).await, "released");
        rig.stop().await;
    }
}

#[tokio::test]
async fn i5_the_allowance_is_spent_for_the_window_and_there_again_after_it() {
    let world = World::new("[brake]\nrows = 10\npercent = 0.001", 40, 1);
    let rig = world.running().await;
    rig.record(Door::Operator, world.deletions(0..20)).await;
    rig.quiet().await;
    let hold = only_hold(&rig).await;
    resolve(&rig, hold.id, rig.parts.store.position().await.unwrap().seq, true).await;
    rig.quiet().await;
    assert_eq!(world.target.rows_gone(), 20);
    rig.record(Door::Webhook, world.deletions(20..21)).await;
    rig.quiet().await;
    assert_eq!(only_hold(&rig).await.facts, 1, "the window's allowance is spent");
    world.later(DAY);
    rig.record(Door::Webhook, world.deletions(21..22)).await;
    rig.quiet().await;
    assert!(!world.target.has(&listing("21")), "and is there again after the window");
    assert!(world.target.has(&listing("20")), "what is held waits for a person");
    rig.stop().await;
}

#[tokio::test]
async fn with_the_brake_off_everything_goes() {
    let world = World::new("[brake]\nmode = \"off\"\nrows = 1", 50, 1);
    let rig = world.running().await;
    rig.record(Door::Feed, world.deletions(0..50)).await;
    rig.quiet().await;
    assert_eq!(world.target.rows_gone(), 50);
    rig.stop().await;
}

/// A target whose table of deals does not fit.
struct WithoutDeals(Arc<Memory>);

#[async_trait]
impl Between for WithoutDeals {
    fn behind(&self) -> &dyn Target {
        &*self.0
    }

    async fn weigh(&self, removals: &[Removal]) -> Result<Vec<u64>, TargetError> {
        if removals.iter().any(|removal| removal.entity == Entity::new("deal")) {
            return Err(TargetError::Misconfigured("there is no table \"deals\"".into()));
        }
        self.0.weigh(removals).await
    }
}

#[tokio::test]
async fn i5_a_table_that_cannot_be_asked_leaves_the_others_their_weights() {
    let world = World::new("[brake]\nrows = 5\npercent = 0.001", 4, 3);
    let targets: Vec<Arc<dyn Target>> = vec![Arc::new(Seen(WithoutDeals(world.target.clone())))];
    let rig = Rig::over(world.config(), world.clock.clone(), targets).await;
    let deal = Notice { entity: Entity::new("deal"), ..world.deletions(9..10).remove(0) };
    rig.record(Door::Webhook, [world.deletions(0..4), vec![deal]].concat()).await;
    fold::catch_up(&rig.parts.store).await.unwrap();
    let awaiting = rig.parts.store.awaiting(9).await.unwrap();
    let decided = rig.brake().verdict(&awaiting).await.unwrap();
    assert_eq!(decided.spent[&Entity::new("listing")], 3, "one listing, and not five");
    assert_eq!(decided.held.iter().map(|set| (set.facts.len(), set.rows)).collect::<Vec<_>>(), [(3, 9)]);
    rig.stop().await;
}

#[tokio::test]
async fn i5_a_target_that_is_down_cannot_be_weighed_and_still_counts() {
    let world = World::new("[brake]\nrows = 10\npercent = 0.001", 50, 1);
    world.target.state().down = true;
    let rig = world.running().await;
    rig.record(Door::Feed, world.deletions(0..50)).await;
    until("decided", async || {
        fold::catch_up(&rig.parts.store).await.unwrap();
        rig.parts.store.tally().await.unwrap().held == 40
    })
    .await;
    world.target.state().down = false;
    rig.quiet().await;
    assert_eq!(world.target.rows_gone(), 10);
    rig.stop().await;
}
