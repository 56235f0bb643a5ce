use std::collections::BTreeMap;

use async_trait::async_trait;

use super::*;
use crate::domain::{
    Action, Entity, Key,
    event::{Fact, Topology},
};
use crate::targets::{Batch, Effect, Finding, Removal, TargetError};

/// Takes so many records at once, and is never asked to.
struct Named(u32);

#[async_trait]
impl Target for Named {
    fn name(&self) -> &str {
        "replica"
    }

    fn batch_max(&self) -> u32 {
        self.0
    }

    async fn check(&self) -> Result<Vec<Finding>, TargetError> {
        unreachable!()
    }

    async fn mirrored(&self, _: &Entity) -> Result<u64, TargetError> {
        unreachable!()
    }

    async fn weigh(&self, _: &[Removal]) -> Result<Vec<u64>, TargetError> {
        unreachable!()
    }

    async fn apply(&self, _: &Batch) -> Result<Vec<Effect>, TargetError> {
        unreachable!()
    }
}

const NOW: Timestamp = Timestamp::from_seconds(100);

fn handover(batch_max: u32) -> Handover {
    Handover::new(Arc::new(Named(batch_max)), "us")
}

fn task(tombstone: i64, entity: &str, key: &str, action: Action) -> Task {
    Task {
        fact: Fact(tombstone, tombstone + 100),
        entity: Entity::new(entity),
        key: Key::new(vec![key.into()]).unwrap(),
        action,
        at: NOW,
        upstream_time: true,
        heard_at: NOW,
        attempts: 0,
        removed: false,
    }
}

/// Listings go at the replica, deals may be marked there too, and images are none of its business.
fn fresh(unknown_from: i64, awaiting: Vec<Task>) -> (Fresh, Decided) {
    let entities = BTreeMap::from([(Entity::new("listing"), false), (Entity::new("deal"), true)]);
    let targets = BTreeMap::from([("replica".to_owned(), entities)]);
    let topology = Topology { targets, retry_horizons: BTreeMap::new() };
    let released = awaiting.iter().map(|task| task.fact).collect();
    (Fresh { awaiting, unknown_from, topology }, Decided { released, ..Decided::default() })
}

fn members(ready: &Ready) -> Vec<i64> {
    assert_eq!(ready.started.members, ready.tasks.iter().map(|task| task.fact).collect::<Vec<_>>());
    ready.started.members.iter().map(|fact| fact.0).collect()
}

#[tokio::test]
async fn a_target_that_waits_gets_what_was_let_go_and_concerns_it_in_the_order_of_keys() {
    let handover = handover(1_000);
    let (fresh, mut decided) = fresh(
        1,
        vec![
            task(1, "listing", "b", Action::Delete),
            task(2, "listing", "a", Action::Delete),
            task(3, "listing", "held", Action::Delete),
            task(4, "listing", "marked", Action::Deactivate),
            task(5, "deal", "z", Action::Deactivate),
            task(6, "image", "a", Action::Delete),
        ],
    );
    decided.released.retain(|fact| fact.0 != 3);
    let awaited = handover.offer();
    let ready = handover.prepare(&fresh, &decided, NOW).unwrap();
    assert_eq!(members(&ready), [5, 2, 1]);
    assert_eq!((ready.started.target.as_str(), ready.started.holder.as_str()), ("replica", "us"));
    assert!(!handover.is_awaited(), "one batch at a time");
    assert!(handover.prepare(&fresh, &decided, NOW).is_none());
    ready.go(7);
    let handed = handover.withdraw(awaited).await.unwrap();
    assert_eq!((handed.number, handed.tasks.len()), (7, 3));
}

#[test]
fn i8_a_record_that_was_known_before_goes_by_the_queue() {
    let handover = handover(1_000);
    let _awaited = handover.offer();
    let listing = |tombstone| task(tombstone, "listing", "a", Action::Delete);
    let (known, decided) = fresh(10, vec![listing(9)]);
    assert!(handover.prepare(&known, &decided, NOW).is_none());
    assert!(handover.is_awaited(), "what is not taken is still there");
    let (both, decided) = fresh(10, vec![listing(9), listing(10)]);
    assert_eq!(members(&handover.prepare(&both, &decided, NOW).unwrap()), [10]);
}

#[test]
fn a_batch_is_no_larger_than_the_target_takes_and_no_target_is_asked_that_does_not_wait() {
    let (two, decided) =
        fresh(1, vec![task(1, "listing", "a", Action::Delete), task(2, "listing", "b", Action::Delete)]);
    let (narrow, wide) = (handover(1), handover(2));
    assert!(wide.prepare(&two, &decided, NOW).is_none(), "it does not wait");
    let _awaited = (narrow.offer(), wide.offer());
    assert!(narrow.prepare(&two, &decided, NOW).is_none());
    assert!(wide.prepare(&two, &decided, NOW).is_some());
}

#[tokio::test]
async fn i6_a_batch_that_did_not_come_to_be_leaves_the_loop_as_it_was() {
    let handover = handover(1_000);
    let (one, decided) = fresh(1, vec![task(1, "listing", "a", Action::Delete)]);
    let awaited = handover.offer();
    drop(handover.prepare(&one, &decided, NOW).unwrap());
    assert!(handover.withdraw(awaited).await.is_none());
    let awaited = handover.offer();
    assert!(handover.withdraw(awaited).await.is_none(), "nobody has taken it");
    assert!(!handover.is_awaited());
}
