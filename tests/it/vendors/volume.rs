//! A hundred thousand deletions to each vendor, at its documented limits: as few requests as there can be, and no
//! quota passed.

use std::time::Duration;

use expunged::config::Secret;
use expunged::sandbox::calmyx::CalmyxSettings;

use super::{
    API_KEY, BY_NUMBER, World, begin, calmyx_at, counts, leadlex_at, numbers, outcomes, record, record_list,
    talkdesk_at, vendor,
};
use crate::support::rig::until;

const ALL: u32 = 100_000;

/// At most one in a hundred more than the least.
fn within_a_hundredth(requests: usize, least: usize) {
    assert!(requests >= least && requests * 100 <= least * 101, "{requests} requests, {least} would do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_deletions_take_the_least_requests_and_pass_no_quota() {
    let world = World::new();
    let all = numbers(0..ALL);
    let (calmyx, at_calmyx) = calmyx_at(CalmyxSettings::enterprise(Secret::new(API_KEY)), &world).await;
    // The day's quota is short of what is needed, so that two days are.
    let (leadlex, at_leadlex) = leadlex_at(|settings| settings.requests_per_day = 120, &world).await;
    let (talkdesk, at_talkdesk) = talkdesk_at(|_| {}, &world).await;
    for id in &all {
        calmyx.add(id);
        leadlex.add(id, "a deal");
        talkdesk.add(id, record(id));
    }
    let targets = [
        vendor("calmyx", &at_calmyx, BY_NUMBER),
        vendor("leadlex", &at_leadlex, BY_NUMBER),
        vendor("talkdesk", &at_talkdesk, &record_list("kind = \"phone_number\", id = \"+49301234{1}\"")),
    ];
    let mut rig = world.rig(&targets.join("\n")).await;
    begin(&mut rig, &all).await;
    let a_day = counts(&[("deleted", 60_000), ("due", 40_000)]);
    until("the first day to end", async || outcomes(&rig, "leadlex").await == a_day).await;
    assert_eq!((leadlex.bulk_requests().len(), leadlex.turned_away()), (120, 0));
    world.later(Duration::from_hours(14));
    rig.quiet().await;
    for target in ["calmyx", "leadlex", "talkdesk"] {
        assert_eq!(outcomes(&rig, target).await, counts(&[("deleted", u64::from(ALL))]), "{target}");
    }
    assert_eq!(leadlex.turned_away(), 0);
    within_a_hundredth(leadlex.bulk_requests().len(), 200);
    within_a_hundredth(usize::try_from(calmyx.requests()).unwrap(), 1_000);
    within_a_hundredth(talkdesk.bulks().len() + talkdesk.tokens_given(), 1_000);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_s_20_000_deletions_are_used_to_the_last_and_not_passed() {
    let world = World::new();
    let (calmyx, base) = calmyx_at(CalmyxSettings::documented(Secret::new(API_KEY), ALL), &world).await;
    let all = numbers(0..25_050);
    for id in &all {
        calmyx.add(id);
    }
    let mut rig = world.rig(&vendor("calmyx", &base, BY_NUMBER)).await;
    begin(&mut rig, &all).await;
    rig.quiet().await;
    assert_eq!(outcomes(&rig, "calmyx").await, counts(&[("deleted", 20_000), ("failed", 5_050)]));
    assert_eq!((calmyx.deletions(), calmyx.batches().len()), (20_000, 200));
    within_a_hundredth(usize::try_from(calmyx.requests()).unwrap(), 200);
    rig.stop().await;
}
