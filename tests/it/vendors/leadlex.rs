//! LeadLex: errors per deal, a daily quota of requests, and the same key for the same request.

use std::collections::BTreeSet;
use std::time::Duration;

use expunged::domain::{Action, Door, Entity, Outcome};
use expunged::sandbox::{Fault, LeadLex, Simulator as _};
use expunged::sources::http::plain_client;
use expunged::targets::{Effect, Removal, Severity};

use super::{
    API_KEY, BY_NUMBER, World, begin, code, counts, deleted, gauge, hear, keys, leadlex_at, left_alone,
    numbers, outcomes, task, vendor,
};
use crate::support::rig::{listing, notice, until};

fn add(leadlex: &LeadLex, numbers: &[String]) {
    for id in numbers {
        leadlex.add(id, "a deal");
    }
}

fn sizes(leadlex: &LeadLex) -> Vec<usize> {
    leadlex.bulk_requests().iter().map(|request| request.ids.len()).collect()
}

#[tokio::test]
async fn deals_go_in_requests_of_500_each_with_a_key_of_its_own() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|_| {}, &world).await;
    let all = numbers(0..1_203);
    add(&leadlex, &all[..1_200]);
    let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "leadlex").await, counts(&[("deleted", 1_200), ("not_found", 3)]));
    assert_eq!(sizes(&leadlex), [500, 500, 203]);
    let keys: BTreeSet<_> =
        leadlex.bulk_requests().into_iter().map(|it| it.idempotency_key.unwrap()).collect();
    assert_eq!(keys.len(), 3);
    assert!(leadlex.deals().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn i6_a_deal_that_fails_is_tried_again_while_the_others_are_gone() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|_| {}, &world).await;
    let all = numbers(0..40);
    add(&leadlex, &all);
    leadlex.stick("000017", Some("deal_locked"));
    let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "leadlex").await, counts(&[("deleted", 39), ("failed", 1)]));
    let failure = task(&rig, "000017").await.failure.unwrap();
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("record_failed", "the vendor says deal_locked")
    );
    leadlex.stick("000017", None);
    world.later(Duration::from_mins(1));
    until("it to go", async || outcomes(&rig, "leadlex").await == counts(&[("deleted", 40)])).await;
    rig.stop().await;
}

#[tokio::test]
async fn i8_deals_that_are_counted_as_missing_and_not_named_are_found_out() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|settings| settings.names_missing = false, &world).await;
    let all = numbers(0..40);
    add(&leadlex, &all[..39]);
    let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
    deleted(&mut rig, &all).await;
    // Which of them was missing is not known: none of them is claimed, and all of them are gone.
    assert_eq!(outcomes(&rig, "leadlex").await, counts(&[("already_deleted", 40)]));
    assert_eq!(sizes(&leadlex), [40, 20, 20]);
    rig.stop().await;
}

#[tokio::test]
async fn a_request_that_is_refused_as_a_whole_is_tried_in_halves() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|settings| settings.bulk_max = 60, &world).await;
    let all = numbers(0..200);
    add(&leadlex, &all);
    let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "leadlex").await, counts(&[("deleted", 200)]));
    assert_eq!(sizes(&leadlex), [200, 100, 50, 50, 100, 50, 50]);
    rig.stop().await;
}

#[tokio::test]
async fn i6_a_vendor_that_refuses_everything_is_left_alone_and_nothing_is_lost() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|settings| settings.bulk_max = 0, &world).await;
    let all = numbers(0..500);
    add(&leadlex, &all);
    let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
    begin(&mut rig, &all).await;
    left_alone(&rig, "leadlex").await;
    let told = outcomes(&rig, "leadlex").await;
    let due: u64 = told.iter().find(|(what, _)| what == "due").map_or(0, |(_, count)| *count);
    assert!(due > 400, "{told:?}");
    assert_eq!(leadlex.deals().len(), 500);
    rig.stop().await;
}

#[tokio::test]
async fn the_day_s_quota_is_never_passed_and_the_rest_goes_the_next_day() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|settings| settings.requests_per_day = 3, &world).await;
    let all = numbers(0..2_500);
    add(&leadlex, &all);
    let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
    begin(&mut rig, &all).await;
    let part = counts(&[("deleted", 1_500), ("due", 1_000)]);
    until("the day's part to go", async || outcomes(&rig, "leadlex").await == part).await;
    assert_eq!(gauge(&rig, "quota_left", "leadlex").as_deref(), Some("0"));
    // Work that comes in meanwhile changes nothing.
    hear(&rig, &keys(&numbers(2_500..2_501)), Action::Delete).await;
    rig.decide().await;
    // 14 hours later it is midnight.
    world.later(Duration::from_hours(13));
    hear(&rig, &keys(&numbers(2_501..2_502)), Action::Delete).await;
    rig.decide().await;
    assert_eq!((sizes(&leadlex), leadlex.turned_away()), (vec![500; 3], 0));
    world.later(Duration::from_hours(1));
    rig.quiet().await;
    assert_eq!(outcomes(&rig, "leadlex").await, counts(&[("deleted", 2_500), ("not_found", 2)]));
    assert_eq!(leadlex.turned_away(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_quota_that_others_used_up_is_run_into_once_and_waited_out() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|settings| settings.requests_per_day = 2, &world).await;
    let all = numbers(0..600);
    add(&leadlex, &all);
    let client = plain_client().unwrap();
    for _ in 0..2 {
        let request = client.get(format!("{base}/v1/deals")).bearer_auth(API_KEY);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
    begin(&mut rig, &all).await;
    left_alone(&rig, "leadlex").await;
    // A 429 without Retry-After: the day ends when X-RateLimit-Reset says so.
    world.later(Duration::from_hours(13));
    hear(&rig, &keys(&numbers(600..601)), Action::Delete).await;
    rig.decide().await;
    world.later(Duration::from_hours(1));
    rig.quiet().await;
    assert_eq!((sizes(&leadlex), leadlex.turned_away()), (vec![500, 101], 1));
    rig.stop().await;
}

#[tokio::test]
async fn i6_a_key_that_is_wrong_or_may_not_delete_keeps_everything_in_the_queue() {
    for (status, code) in [(401, "invalid_key"), (403, "insufficient_permissions")] {
        let world = World::new();
        let (leadlex, base) = leadlex_at(|_| {}, &world).await;
        let all = numbers(0..10);
        add(&leadlex, &all);
        let body = format!(r#"{{"error":{{"code":"{code}","message":"no"}}}}"#);
        leadlex.faults().script(vec![Fault::Instead { status, headers: vec![], body }; 100]);
        let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
        begin(&mut rig, &all).await;
        left_alone(&rig, "leadlex").await;
        assert_eq!(outcomes(&rig, "leadlex").await, counts(&[("due", 10)]), "{code}");
        assert_eq!((sizes(&leadlex), leadlex.deals().len()), (vec![], 10));
        rig.stop().await;
    }
}

#[tokio::test]
async fn i3_a_deal_that_is_listed_again_while_the_quota_is_used_up_stays() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|settings| settings.requests_per_day = 1, &world).await;
    let all = numbers(0..600);
    add(&leadlex, &all);
    let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
    begin(&mut rig, &all).await;
    left_alone(&rig, "leadlex").await;
    world.later(Duration::from_mins(1));
    rig.record(Door::Webhook, vec![notice(&listing("000550"), Action::Relisted, rig.now())]).await;
    until("the re-listing to count", async || {
        task(&rig, "000550").await.outcome == Some(Outcome::Superseded)
    })
    .await;
    world.later(Duration::from_hours(14));
    rig.quiet().await;
    assert_eq!(outcomes(&rig, "leadlex").await, counts(&[("deleted", 599), ("superseded", 1)]));
    assert_eq!(leadlex.deals(), ["000550"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_429_waits_as_long_as_it_says() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|_| {}, &world).await;
    let all = numbers(0..10);
    add(&leadlex, &all);
    leadlex.faults().script([Fault::too_many("600")]);
    let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
    begin(&mut rig, &all).await;
    left_alone(&rig, "leadlex").await;
    world.later(Duration::from_secs(599));
    hear(&rig, &keys(&numbers(10..11)), Action::Delete).await;
    rig.decide().await;
    assert_eq!(sizes(&leadlex), [0; 0]);
    world.later(Duration::from_secs(1));
    rig.quiet().await;
    assert_eq!(sizes(&leadlex), [11]);
    rig.stop().await;
}

#[tokio::test]
async fn i8_a_request_whose_answer_is_lost_is_the_same_request_again() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|_| {}, &world).await;
    let all = numbers(0..10);
    add(&leadlex, &all);
    leadlex.faults().script([Fault::Cut]);
    let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
    deleted(&mut rig, &all).await;
    let requests = leadlex.bulk_requests();
    assert_eq!((requests.len(), &requests[0]), (2, &requests[1]));
    assert_eq!(outcomes(&rig, "leadlex").await, counts(&[("deleted", 10)]), "the first answer, told again");
    rig.stop().await;
}

#[tokio::test]
async fn i8_three_answers_lost_are_told_as_open_and_then_as_gone() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|_| {}, &world).await;
    let all = numbers(0..10);
    add(&leadlex, &all);
    leadlex.faults().script([Fault::Cut, Fault::Cut, Fault::Cut]);
    let mut rig = world.rig(&vendor("leadlex", &base, BY_NUMBER)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "leadlex").await, counts(&[("failed", 10)]));
    assert_eq!(code(&rig, "000003").await, "unanswered");
    world.later(Duration::from_mins(1));
    rig.quiet().await;
    assert_eq!(outcomes(&rig, "leadlex").await, counts(&[("already_deleted", 10)]));
    rig.stop().await;
}

fn removals(numbers: &[String], world: &World) -> Vec<Removal> {
    use expunged::clock::Clock as _;
    let removal = |number: &String| Removal {
        entity: Entity::new("listing"),
        key: listing(number),
        action: Action::Delete,
        at: world.clock.now(),
    };
    numbers.iter().map(removal).collect()
}

#[tokio::test]
async fn a_rehearsal_weighs_and_checks_and_deletes_nothing() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|_| {}, &world).await;
    let all = numbers(0..10);
    add(&leadlex, &all[..7]);
    let lines = format!("dry_run.weigh = true\n{BY_NUMBER}");
    let target = world.target(&vendor("leadlex", &base, &lines)).await;
    let weights = target.weigh(&removals(&all, &world)).await.unwrap();
    assert_eq!(weights, [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]);
    let foreseen = target.foresee(&removals(&all[6..8], &world)).await.unwrap();
    let effects: Vec<&Effect> = foreseen.iter().map(|it| &it.effect).collect();
    assert_eq!(effects, [&Effect::Removed { rows: 1 }, &Effect::Absent]);
    let found = target.check().await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].severity, found[0].what.as_str()),
        (Severity::Note, "996 requests are left of the vendor's quota")
    );
    assert!(leadlex.bulk_requests().iter().all(|it| it.dry_run && it.idempotency_key.is_none()));
    assert_eq!(leadlex.deals().len(), 7);
}

#[tokio::test]
async fn without_a_rehearsal_a_record_weighs_one_and_no_request_is_spent() {
    let world = World::new();
    let (leadlex, base) = leadlex_at(|_| {}, &world).await;
    let target = world.target(&vendor("leadlex", &base, BY_NUMBER)).await;
    assert_eq!(target.weigh(&removals(&numbers(0..3), &world)).await.unwrap(), [1, 1, 1]);
    assert_eq!(leadlex.bulk_requests(), []);
}
