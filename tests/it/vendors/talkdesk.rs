//! Talkdesk's record lists: DELETE with a body, tokens of ten minutes, and failures inside a 200.

use std::collections::BTreeSet;
use std::time::Duration;

use expunged::clock::Clock as _;
use expunged::domain::{Action, Entity};
use expunged::sandbox::{Fault, Simulator as _, Talkdesk};
use expunged::targets::{Batch, Effect, Removal, Severity};

use super::{
    World, begin, code, counts, deleted, hear, keys, left_alone, numbers, outcomes, record, record_list,
    talkdesk_at, task, vendor,
};
use crate::support::rig::{Rig, until};

const BY_ID: &str = "id = \"{1}\"";
const BY_PHONE: &str = "kind = \"phone_number\", id = \"+49301234{1}\"";
const BY_EXTERNAL: &str = "kind = \"external\"";

fn add(talkdesk: &Talkdesk, numbers: &[String]) {
    for number in numbers {
        talkdesk.add(number, record(number));
    }
}

fn target(base: &str, entity: &str) -> String {
    vendor("talkdesk", base, &record_list(entity))
}

#[tokio::test]
async fn records_go_by_each_kind_of_identifier_100_at_a_time_with_one_token() {
    for entity in [BY_ID, BY_PHONE, BY_EXTERNAL] {
        let world = World::new();
        let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
        let all = numbers(0..250);
        add(&talkdesk, &all);
        let mut rig = world.rig(&target(&base, entity)).await;
        deleted(&mut rig, &all).await;
        assert_eq!(outcomes(&rig, "talkdesk").await, counts(&[("deleted", 250)]), "{entity}");
        assert_eq!((talkdesk.bulks(), talkdesk.tokens_given()), (vec![100, 100, 50], 1));
        assert!(talkdesk.records().is_empty());
        rig.stop().await;
    }
}

#[tokio::test]
async fn kinds_of_identifiers_never_share_a_request() {
    let world = World::new();
    let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
    let all = numbers(0..40);
    add(&talkdesk, &all);
    let list = "params = { record_list_id = \"7\" }";
    let deal = format!("entities.deal = {{ kind = \"phone_number\", id = \"+49301234{{1}}\", {list} }}");
    let target = world.target(&format!("{}\n{deal}\n", target(&base, BY_ID).trim_end())).await;
    // Ten by id and thirty by phone number, one after the other.
    let removal = |(place, key)| {
        let entity = Entity::new(if place % 4 == 0 { "listing" } else { "deal" });
        Removal { entity, key, action: Action::Delete, at: world.clock.now() }
    };
    let removals = keys(&all).into_iter().enumerate().map(removal).collect();
    let effects = target.apply(&Batch { number: 1, removals }).await.unwrap();
    assert!(effects.iter().all(|effect| *effect == Effect::Removed { rows: 1 }), "{effects:?}");
    // One that is mixed would be refused, and asked for again in halves.
    assert_eq!(talkdesk.bulks().into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([10, 30]));
    assert!(talkdesk.records().is_empty());
}

#[tokio::test]
async fn i8_a_200_that_hides_failures_is_told_record_by_record() {
    let world = World::new();
    let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
    let all = numbers(0..100);
    add(&talkdesk, &all);
    talkdesk.stick("000037", true);
    let mut rig = world.rig(&target(&base, BY_ID)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "talkdesk").await, counts(&[("deleted", 99), ("failed", 1)]));
    let failed = task(&rig, "000037").await.failure.unwrap();
    assert!(failed.code == "record_failed" && failed.retry_at.is_some(), "{failed:?}");
    talkdesk.stick("000037", false);
    world.later(Duration::from_mins(1));
    until("it to go", async || outcomes(&rig, "talkdesk").await == counts(&[("deleted", 100)])).await;
    rig.stop().await;
}

#[tokio::test]
async fn i8_a_failure_that_is_named_in_another_way_than_we_asked_is_cornered() {
    let world = World::new();
    let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
    let all = numbers(0..100);
    add(&talkdesk, &all);
    talkdesk.stick("000037", true);
    let mut rig = world.rig(&target(&base, BY_PHONE)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "talkdesk").await, counts(&[("already_deleted", 99), ("failed", 1)]));
    assert_eq!(code(&rig, "000037").await, "record_failed");
    assert!(talkdesk.bulks().len() <= 15, "halves, not one by one: {:?}", talkdesk.bulks());
    assert_eq!(talkdesk.records(), ["000037"]);
    rig.stop().await;
}

#[tokio::test]
async fn i7_work_that_was_only_taken_is_never_told_as_deleted() {
    let world = World::new();
    let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
    let all = numbers(0..30);
    add(&talkdesk, &all);
    talkdesk.take_only(true);
    let mut rig = world.rig(&target(&base, BY_ID)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "talkdesk").await, counts(&[("failed", 30)]));
    assert_eq!((code(&rig, "000003").await.as_str(), talkdesk.records().len()), ("accepted", 30));
    assert_eq!(
        rig.parts.store.queue("talkdesk").await.unwrap().parked,
        0,
        "asked for again, and not given up"
    );
    // It was done meanwhile, and the next answer proves it.
    talkdesk.finish();
    talkdesk.take_only(false);
    world.later(Duration::from_mins(5));
    rig.quiet().await;
    assert_eq!(outcomes(&rig, "talkdesk").await, counts(&[("already_deleted", 30)]));
    assert_eq!(talkdesk.bulks().len(), 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_once_when_it_is_refused() {
    let world = World::new();
    let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
    let all = numbers(0..40);
    add(&talkdesk, &all);
    let mut rig = world.rig(&target(&base, BY_ID)).await;
    deleted(&mut rig, &all[..10]).await;
    world.later(Duration::from_secs(539));
    hear(&rig, &keys(&all[10..20]), Action::Delete).await;
    rig.quiet().await;
    assert_eq!(talkdesk.tokens_given(), 1);
    world.later(Duration::from_secs(1));
    hear(&rig, &keys(&all[20..30]), Action::Delete).await;
    rig.quiet().await;
    assert_eq!(talkdesk.tokens_given(), 2, "a minute before its end");
    talkdesk.end_tokens();
    hear(&rig, &keys(&all[30..]), Action::Delete).await;
    rig.quiet().await;
    assert_eq!(talkdesk.tokens_given(), 3);
    assert_eq!(outcomes(&rig, "talkdesk").await, counts(&[("deleted", 40)]));
    rig.stop().await;
}

#[tokio::test]
async fn i6_a_list_that_is_not_there_and_a_client_that_is_not_known_keep_everything_in_the_queue() {
    for (from, to, said) in [
        ("record_list_id = \"7\"", "record_list_id = \"8\"", "answered 404"),
        ("client_id = \"client\"", "client_id = \"nobody\"", "no token: the identity service answered 401"),
    ] {
        let world = World::new();
        let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
        let all = numbers(0..30);
        add(&talkdesk, &all);
        let mut rig = world.rig(&target(&base, BY_ID).replace(from, to)).await;
        begin(&mut rig, &all).await;
        left_alone(&rig, "talkdesk").await;
        assert_eq!(outcomes(&rig, "talkdesk").await, counts(&[("due", 30)]));
        assert_eq!((talkdesk.bulks().len(), talkdesk.records().len()), (0, 30), "and no halves are tried");
        let found = rig.targets[0].check().await.unwrap();
        assert!(found.iter().any(|it| it.severity == Severity::Fault && it.what == said), "{found:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_request_that_is_refused_is_tried_in_halves_and_one_that_is_forbidden_waits() {
    let refused = |status, code: &str| {
        let body = format!(r#"{{"code":"{code}","message":"no","fields":[]}}"#);
        Fault::Instead { status, headers: vec![], body }
    };
    let world = World::new();
    let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
    let all = numbers(0..40);
    add(&talkdesk, &all);
    // A token comes first.
    talkdesk.faults().script([Fault::Pass, refused(400, "0010400"), Fault::Pass, Fault::Pass]);
    talkdesk.faults().script(vec![refused(403, "0010403"); 100]);
    let mut rig = world.rig(&target(&base, BY_ID)).await;
    deleted(&mut rig, &all[..30]).await;
    assert_eq!(outcomes(&rig, "talkdesk").await, counts(&[("deleted", 30)]));
    assert_eq!(talkdesk.bulks(), [15, 15]);
    hear(&rig, &keys(&all[30..]), Action::Delete).await;
    left_alone(&rig, "talkdesk").await;
    assert_eq!(outcomes(&rig, "talkdesk").await, counts(&[("deleted", 30), ("due", 10)]));
    rig.stop().await;
}

#[tokio::test]
async fn i5_a_vendor_that_counts_nothing_leaves_the_brake_its_number_of_rows() {
    let world = World::new();
    let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
    let all = numbers(0..300);
    add(&talkdesk, &all);
    let mut config = world.config(&target(&base, BY_ID));
    config.brake = expunged::config::Brake::default();
    let rig = Rig::open(config, world.clock.clone()).await;
    hear(&rig, &keys(&all), Action::Delete).await;
    let decided = rig.decide().await;
    assert_eq!(decided.iter().map(|it| it.released.len()).sum::<usize>(), 100);
    assert_eq!(decided[0].held[0].facts.len(), 200);
    assert!(talkdesk.bulks().is_empty());
}

#[tokio::test]
async fn a_deactivation_deletes_where_the_configuration_says_so_and_does_nothing_else() {
    for (more, left) in [("", 1), (", delete_on_deactivate = true", 0)] {
        let world = World::new();
        let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
        add(&talkdesk, &numbers(0..1));
        let mut rig = world.rig(&target(&base, &format!("{BY_ID}{more}"))).await;
        hear(&rig, &keys(&numbers(0..1)), Action::Deactivate).await;
        rig.decide().await;
        rig.run();
        rig.quiet().await;
        assert_eq!(talkdesk.records().len(), left);
        rig.stop().await;
    }
}

#[tokio::test]
async fn records_that_are_not_there_are_told_by_what_the_vendor_says_of_them() {
    for (missing_fails, entity, told) in [
        (false, BY_ID, [("not_found", 10)]),
        (false, BY_PHONE, [("not_found", 10)]),
        // Listed as failed without a word, they may still be there.
        (true, BY_ID, [("failed", 10)]),
        (true, BY_PHONE, [("failed", 10)]),
    ] {
        let world = World::new();
        let (_talkdesk, base) = talkdesk_at(|settings| settings.missing_fails = missing_fails, &world).await;
        let mut rig = world.rig(&target(&base, entity)).await;
        deleted(&mut rig, &numbers(0..10)).await;
        assert_eq!(outcomes(&rig, "talkdesk").await, counts(&told), "{missing_fails} {entity}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn i8_a_lost_answer_is_found_out_by_asking_again() {
    let world = World::new();
    let (talkdesk, base) = talkdesk_at(|_| {}, &world).await;
    let all = numbers(0..100);
    add(&talkdesk, &all);
    talkdesk.faults().script([Fault::Pass, Fault::Cut]);
    let mut rig = world.rig(&target(&base, BY_ID)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "talkdesk").await, counts(&[("already_deleted", 100)]));
    rig.stop().await;
}
