//! Calmyx: a count instead of outcomes, and a quota of deletions that never comes back.

use std::sync::Arc;
use std::time::Duration;

use expunged::clock::SystemClock;
use expunged::config::Secret;
use expunged::domain::{Action, Event};
use expunged::sandbox::calmyx::CalmyxSettings;
use expunged::sandbox::{Calmyx, Fault, Simulator as _};
use expunged::sources::http::plain_client;
use expunged::store::Entry;
use expunged::targets::Severity;

use super::{
    API_KEY, BY_NUMBER, World, begin, calmyx_at, code, counts, crash, deleted, gauge, hear, keys, left_alone,
    numbers, outcomes, task, vendor,
};
use crate::support::crash::settled;
use crate::support::mirror::serve;
use crate::support::rig::{Rig, until};
use crate::support::secrets::{BOARD_SECRET, OTHER_API_KEY};

/// A plan for five times that many deletions.
fn plan(deletions: u32) -> CalmyxSettings {
    CalmyxSettings::documented(Secret::new(API_KEY), deletions * 5)
}

fn unlimited() -> CalmyxSettings {
    CalmyxSettings::enterprise(Secret::new(API_KEY))
}

fn sizes(batches: &[Vec<String>]) -> Vec<usize> {
    batches.iter().map(Vec::len).collect()
}

#[tokio::test]
async fn listings_go_in_batches_of_100_and_are_told_as_deleted_since_the_count_says_so() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(plan(2_000), &world).await;
    let all = numbers(0..250);
    for id in &all {
        calmyx.add(id);
    }
    let mut rig = world.rig(&vendor("calmyx", &base, BY_NUMBER)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "calmyx").await, counts(&[("deleted", 250)]));
    assert_eq!(sizes(&calmyx.batches()), [100, 100, 50]);
    assert_eq!(calmyx.requests(), 4, "and the stats once before");
    assert_eq!(gauge(&rig, "quota_left", "calmyx").as_deref(), Some("1750"));
    assert!(calmyx.listings().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn i8_what_the_count_does_not_prove_is_asked_in_halves_and_never_claimed() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(unlimited(), &world).await;
    let all = numbers(0..200);
    // Three of the first hundred are not there.
    all.iter().skip(3).for_each(|id| calmyx.add(id));
    let mut rig = world.rig(&vendor("calmyx", &base, BY_NUMBER)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "calmyx").await, counts(&[("already_deleted", 100), ("deleted", 100)]));
    assert_eq!(sizes(&calmyx.batches()), [100, 50, 50, 100]);
    assert_eq!(calmyx.deletions(), 197);
    rig.stop().await;
}

#[tokio::test]
async fn i8_what_the_count_does_not_prove_is_parked_as_unconfirmed_where_that_is_wanted() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(unlimited(), &world).await;
    let all = numbers(0..100);
    all.iter().skip(3).for_each(|id| calmyx.add(id));
    let lines = format!("answer.unproven = \"park\"\n{BY_NUMBER}");
    let mut rig = world.rig(&vendor("calmyx", &base, &lines)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "calmyx").await, counts(&[("failed", 100)]));
    assert_eq!((code(&rig, "000050").await.as_str(), calmyx.batches().len()), ("unconfirmed", 1));
    assert_eq!(rig.parts.store.queue("calmyx").await.unwrap().parked, 100);
    rig.stop().await;
}

#[tokio::test]
async fn listings_that_never_were_there_are_told_so() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(plan(20), &world).await;
    let mut rig = world.rig(&vendor("calmyx", &base, BY_NUMBER)).await;
    deleted(&mut rig, &numbers(0..20)).await;
    assert_eq!(outcomes(&rig, "calmyx").await, counts(&[("not_found", 20)]));
    assert_eq!(calmyx.deletions(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_quota_that_is_used_up_parks_the_rest_and_nothing_is_sent_against_it() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(plan(130), &world).await;
    let all = numbers(0..400);
    for id in &all {
        calmyx.add(id);
    }
    let mut rig = world.rig(&vendor("calmyx", &base, BY_NUMBER)).await;
    deleted(&mut rig, &all[..300]).await;
    assert_eq!(outcomes(&rig, "calmyx").await, counts(&[("deleted", 130), ("failed", 170)]));
    assert_eq!((code(&rig, "000200").await.as_str(), calmyx.deletions()), ("quota_exhausted", 130));
    assert_eq!(rig.parts.store.queue("calmyx").await.unwrap().parked, 170);
    assert_eq!(gauge(&rig, "quota_left", "calmyx").as_deref(), Some("0"));
    assert_eq!(sizes(&calmyx.batches()), [100, 30], "no batch was sent to be refused");

    // Hours later, what is new is parked as well; the figures alone are read again.
    world.later(Duration::from_hours(2));
    hear(&rig, &keys(&all[300..350]), Action::Delete).await;
    rig.quiet_or_waiting().await;
    assert_eq!(rig.parts.store.queue("calmyx").await.unwrap().parked, 220);
    assert_eq!(calmyx.batches().len(), 2);

    // A raised plan is found out before the next batch.
    calmyx.raise(50);
    world.later(Duration::from_hours(2));
    hear(&rig, &keys(&all[350..]), Action::Delete).await;
    rig.quiet_or_waiting().await;
    assert_eq!(outcomes(&rig, "calmyx").await, counts(&[("deleted", 180), ("failed", 220)]));
    rig.stop().await;
}

#[tokio::test]
async fn a_batch_that_the_quota_refuses_after_all_is_cut_to_what_is_left_whatever_the_refusal_is_called() {
    for (status, word) in
        [(403, "churn_limit_reached"), (400, "x"), (409, "x"), (402, "x"), (429, "x"), (200, "x")]
    {
        let world = World::new();
        let mut settings = plan(100);
        settings.quota_status = hyper::StatusCode::from_u16(status).unwrap();
        settings.quota_code = word.into();
        let (calmyx, base) = calmyx_at(settings, &world).await;
        let all = numbers(0..160);
        for id in &all {
            calmyx.add(id);
        }
        let mut rig = world.rig(&vendor("calmyx", &base, BY_NUMBER)).await;
        deleted(&mut rig, &all[..10]).await;
        // Others use the quota too: 90 are left as far as we know, and 30 in truth.
        let client = expunged::sources::http::plain_client().unwrap();
        for id in &all[100..160] {
            let url = format!("{base}/v2/listings/{id}");
            let answer = client.delete(url).header("authorization", API_KEY).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
        hear(&rig, &keys(&all[10..90]), Action::Delete).await;
        rig.quiet_or_waiting().await;
        let told = outcomes(&rig, "calmyx").await;
        assert_eq!(told, counts(&[("deleted", 40), ("failed", 50)]), "{status}");
        assert_eq!((calmyx.deletions(), sizes(&calmyx.batches())), (100, vec![10, 80, 30]), "{status}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_an_error_in_the_log_and_names_its_reason_in_status() {
    let settings = CalmyxSettings::documented(Secret::new(BOARD_SECRET), 10);
    let calmyx = Calmyx::new(settings, Arc::new(SystemClock));
    for number in 1..=5 {
        calmyx.add(&crash::id(number));
    }
    let base = serve(vec![calmyx.clone()]).await;
    let home = crash::home_with(crash::target("calmyx", &base, BY_NUMBER)).await;
    let mut daemon = home.serve();
    crash::hear(&mut daemon, &[1, 2, 3, 4, 5]).await;
    let line = daemon.told("the vendor's quota of deletions is used up: parked").await;
    assert!(line.contains(r#""level":"ERROR""#) && line.contains(r#""records":3"#), "{line}");
    let to = daemon.listening().await;
    settled(&plain_client().unwrap(), &daemon, &to).await;
    let status = home.succeed(&["status"]);
    assert!(status.contains("calmyx: 0 due, 3 parked; 2 deleted"), "{status}");
    assert!(status.contains("(quota_exhausted)"), "{status}");
    daemon.kill();
}

/// How many tasks each batch had.
async fn started(rig: &Rig) -> Vec<usize> {
    let entries = rig.parts.store.entries(0, 1_000, 1 << 20).await.unwrap();
    let members = |entry: &Entry| match entry.event().unwrap() {
        Event::Started(started) => Some(started.members.len()),
        _ => None,
    };
    entries.iter().filter_map(members).collect()
}

#[tokio::test]
async fn i6_a_wrong_key_keeps_everything_in_the_queue() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(CalmyxSettings::enterprise(Secret::new(OTHER_API_KEY)), &world).await;
    let all = numbers(0..20);
    for id in &all {
        calmyx.add(id);
    }
    let mut rig = world.rig(&vendor("calmyx", &base, BY_NUMBER)).await;
    begin(&mut rig, &all).await;
    left_alone(&rig, "calmyx").await;
    assert_eq!(outcomes(&rig, "calmyx").await, counts(&[("due", 20)]));
    // What is tried meanwhile is as little as there can be: the journal keeps each try for good.
    until("more tries", async || started(&rig).await.len() > 4).await;
    assert_eq!(started(&rig).await[..4], [20, 1, 1, 1]);
    let found = rig.targets[0].check().await.unwrap();
    assert!(found.iter().any(|it| it.severity == Severity::Fault && it.what == "answered 401"), "{found:?}");
    rig.stop().await;
}

#[tokio::test]
async fn i8_a_lost_answer_is_found_out_by_asking_again() {
    for fault in [Fault::Cut, Fault::server_error(), Fault::garbage()] {
        let world = World::new();
        let (calmyx, base) = calmyx_at(unlimited(), &world).await;
        let all = numbers(0..100);
        for id in &all {
            calmyx.add(id);
        }
        calmyx.faults().script([Fault::Pass, fault.clone()]);
        let mut rig = world.rig(&vendor("calmyx", &base, BY_NUMBER)).await;
        deleted(&mut rig, &all).await;
        // Of what was cut off, the listings had gone; the other faults came instead of the deletion.
        let expected = if fault == Fault::Cut { "already_deleted" } else { "deleted" };
        assert_eq!(outcomes(&rig, "calmyx").await, counts(&[(expected, 100)]), "{fault:?}");
        assert!(calmyx.listings().is_empty());
        rig.stop().await;
    }
}

#[tokio::test]
async fn i7_an_answer_that_nobody_understands_proves_nothing_and_is_not_asked_for_in_a_loop() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(unlimited(), &world).await;
    let all = numbers(0..10);
    for id in &all {
        calmyx.add(id);
    }
    calmyx.faults().script([Fault::Pass, Fault::garbage(), Fault::garbage(), Fault::garbage()]);
    let mut rig = world.rig(&vendor("calmyx", &base, BY_NUMBER)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "calmyx").await, counts(&[("failed", 10)]));
    let failure = task(&rig, "000003").await.failure.unwrap();
    assert_eq!(
        (failure.code.as_str(), failure.retry_at),
        ("unreadable", Some(rig.now().plus(Duration::from_mins(15))))
    );
    rig.stop().await;
}

#[tokio::test]
async fn i5_the_brake_holds_what_goes_over_the_share_of_the_vendor_s_own_count() {
    for (records, released) in [(10_000, 200), (1_000, 100)] {
        let world = World::new();
        let (calmyx, base) = calmyx_at(unlimited(), &world).await;
        let all = numbers(0..records);
        for id in &all {
            calmyx.add(id);
        }
        let mut config = world.config(&vendor("calmyx", &base, BY_NUMBER));
        config.brake = expunged::config::Brake::default();
        let rig = Rig::open(config, world.clock.clone()).await;
        hear(&rig, &keys(&all[..300]), Action::Delete).await;
        let decided = rig.decide().await;
        let let_go: usize = decided.iter().map(|it| it.released.len()).sum();
        assert_eq!(let_go, released, "2 % or 100 rows of {records}");
        assert!(calmyx.batches().is_empty());
    }
}

#[tokio::test]
async fn i8_what_stays_unanswered_is_told_as_open_and_is_asked_for_again() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(unlimited(), &world).await;
    let all = numbers(0..300);
    for id in &all {
        calmyx.add(id);
    }
    // The first batch goes, and none of three tries is answered.
    calmyx.faults().script([Fault::Pass, Fault::Cut, Fault::Cut, Fault::Cut]);
    let mut rig = world.rig(&vendor("calmyx", &base, BY_NUMBER)).await;
    begin(&mut rig, &all).await;
    until("the others to go", async || {
        outcomes(&rig, "calmyx").await == counts(&[("deleted", 200), ("failed", 100)])
    })
    .await;
    assert_eq!(code(&rig, "000000").await, "unanswered");
    world.later(Duration::from_mins(1));
    until("an answer", async || {
        outcomes(&rig, "calmyx").await == counts(&[("already_deleted", 100), ("deleted", 200)])
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn the_vendor_s_count_is_the_basis_of_the_brake_and_a_record_weighs_one() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(unlimited(), &world).await;
    for id in &numbers(0..77) {
        calmyx.add(id);
    }
    let target = world.target(&vendor("calmyx", &base, BY_NUMBER)).await;
    let listing = expunged::domain::Entity::new("listing");
    assert_eq!(target.mirrored(&listing).await, Ok(77));
    assert_eq!(target.mirrored(&listing).await, Ok(77));
    assert_eq!(calmyx.requests(), 1, "a count is good for an hour");
    world.later(Duration::from_hours(1));
    assert_eq!(target.mirrored(&listing).await, Ok(77));
    assert_eq!(calmyx.requests(), 2);
    assert_eq!(target.mirrored(&expunged::domain::Entity::new("deal")).await, Ok(0));
    // A vendor that does not answer keeps the brake waiting for a moment, once, and the last count stays.
    world.later(Duration::from_hours(1));
    calmyx.faults().script([Fault::Drip { pieces: 1, pause: Duration::from_hours(1) }]);
    assert_eq!(target.mirrored(&listing).await, Ok(77));
    assert_eq!(target.mirrored(&listing).await, Ok(77));
    assert_eq!(calmyx.requests(), 3);
}

#[tokio::test]
async fn check_tells_what_is_left_of_the_quota() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(plan(60), &world).await;
    let target = world.target(&vendor("calmyx", &base, BY_NUMBER)).await;
    let found = target.check().await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].severity, found[0].place.as_str()), (Severity::Warning, "targets.calmyx.quota"));
    assert_eq!(found[0].what, "60 deletions are left of the vendor's quota");
    assert!(calmyx.batches().is_empty());
}
