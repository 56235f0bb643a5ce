//! How notices merge: by the upstream's evidence, in any order.

use proptest::prelude::*;

use super::*;
use crate::domain::Evidence;

const DAY: Duration = Duration::from_hours(24);

fn notice(action: Action, event_id: Option<&str>, at: Option<i64>) -> Notice {
    Notice {
        entity: Entity::new("listing"),
        key: Key::new(vec!["1".into()]).unwrap(),
        action,
        evidence: Evidence {
            event_id: event_id.map(Into::into),
            deleted_at: at.map(Timestamp::from_seconds),
            updated_at: None,
        },
    }
}

fn arrival(notice: &Notice, seq: Seq, heard: i64, door: Door) -> Arrival<'_> {
    Arrival { notice, seq, heard_at: Timestamp::from_seconds(heard), source: "s", door, retry_horizon: DAY }
}

fn merged(notices: &[Notice]) -> Tombstone {
    let mut stone = Tombstone::first(1, &arrival(&notices[0], 1, 1_000, Door::Webhook));
    for notice in &notices[1..] {
        stone.hear(&arrival(notice, 1, 1_000, Door::Webhook));
    }
    stone.fingerprints.sort();
    stone
}

#[test]
fn i3_a_repeat_is_known_by_the_upstreams_evidence_not_by_when_it_was_heard() {
    let deleted = notice(Action::Delete, None, Some(100));
    let relisted = notice(Action::Relisted, None, Some(200));
    let again = notice(Action::Delete, None, Some(300));
    let mut stone = Tombstone::first(1, &arrival(&deleted, 1, 1_000, Door::Webhook));
    assert_eq!(stone.hear(&arrival(&relisted, 2, 1_001, Door::Webhook)), Hearing::New);
    // An overlapping poll tells of the first deletion again, long after.
    let year = 86_400 * 365;
    let repeat = stone.hear(&arrival(&deleted, 3, year, Door::Feed));
    assert!(matches!(repeat, Hearing::Repeat { .. }), "{repeat:?}");
    assert_eq!(stone.action, Action::Relisted, "the record stays listed");
    // A second deletion a moment later is a new one.
    assert_eq!(stone.hear(&arrival(&again, 4, year + 1, Door::Webhook)), Hearing::New);
    assert_eq!((stone.action, stone.at, stone.cause), (Action::Delete, Timestamp::from_seconds(300), 4));
}

#[test]
fn i3_an_older_deletion_never_overtakes_a_later_relisting() {
    let relisted = notice(Action::Relisted, None, Some(200));
    let deleted = notice(Action::Delete, None, Some(100));
    let mut stone = Tombstone::first(1, &arrival(&relisted, 1, 1_000, Door::Webhook));
    assert_eq!(stone.hear(&arrival(&deleted, 2, 1_001, Door::Feed)), Hearing::Late);
    assert_eq!(stone.action, Action::Relisted);
}

#[test]
fn i3_at_equal_times_the_deletion_stands() {
    for order in [[Action::Delete, Action::Relisted], [Action::Relisted, Action::Delete]] {
        let stone = merged(&order.map(|action| notice(action, None, Some(100))));
        assert_eq!(stone.action, Action::Delete);
    }
}

#[test]
fn a_notice_without_evidence_repeats_within_the_retry_horizon_and_is_new_after_it() {
    let bare = notice(Action::Delete, None, None);
    let horizon = 86_400;
    let mut stone = Tombstone::first(1, &arrival(&bare, 1, 0, Door::Webhook));
    let within = stone.hear(&arrival(&bare, 2, horizon, Door::Webhook));
    assert_eq!(within, Hearing::Repeat { first_by_feed: false });
    assert_eq!(stone.hear(&arrival(&bare, 3, 2 * horizon + 1, Door::Webhook)), Hearing::New);
}

#[test]
fn the_feed_finds_what_a_webhook_told_once() {
    let deleted = notice(Action::Delete, None, Some(100));
    let mut stone = Tombstone::first(1, &arrival(&deleted, 1, 1_000, Door::Webhook));
    let first = stone.hear(&arrival(&deleted, 2, 1_001, Door::Feed));
    let second = stone.hear(&arrival(&deleted, 3, 1_002, Door::Feed));
    assert_eq!(first, Hearing::Repeat { first_by_feed: true });
    assert_eq!(second, Hearing::Repeat { first_by_feed: false });
}

fn any_notice() -> impl Strategy<Value = Notice> {
    let action = prop_oneof![Just(Action::Delete), Just(Action::Deactivate), Just(Action::Relisted)];
    (action, 0..6_i64).prop_map(|(action, at)| notice(action, None, Some(at)))
}

proptest! {
    #[test]
    fn i2_any_order_and_any_repetition_leave_the_same_fact(
        notices in prop::collection::vec(any_notice(), 1..12),
        seed in any::<prop::sample::Index>(),
    ) {
        let once = merged(&notices);
        let mut shuffled: Vec<Notice> = notices.iter().chain(&notices).cloned().collect();
        let by = seed.index(shuffled.len());
        shuffled.rotate_left(by);
        shuffled.reverse();
        let twice = merged(&shuffled);
        prop_assert_eq!((once.action, once.at), (twice.action, twice.at));
        prop_assert_eq!(once.fingerprints, twice.fingerprints);
    }
}
