//! Repliers: boards that share numbers, terminated listings that stay, and listings that came back.

use std::collections::BTreeSet;
use std::sync::Arc;

use expunged::config::source::Schedule;
use expunged::sandbox::repliers::ListingKey;
use expunged::sandbox::{Fault, Repliers, Simulator as _};

use super::{Daemon, folder, heard};
use crate::support::mirror::{self, HOOK_SECRET, replica, texts, time};
use crate::support::rig::{Rig, until};

const TARGETS: [&str; 2] = ["replica", "search"];
const EVENTS: [&str; 3] = ["listing.deleted", "listing.updated", "listing.created"];

async fn scene(folder: &std::path::Path) -> (Daemon, Arc<Repliers>) {
    let clock = mirror::clock();
    let (upstream, address) = mirror::repliers(clock.clone()).await;
    let config = mirror::config(folder, &address, "", "");
    let daemon = Daemon::serve_at(config, clock).await;
    for event in EVENTS {
        upstream.subscribe_known(event, &daemon.hook(&format!("repliers/{event}")));
    }
    (daemon, upstream)
}

async fn rows(folder: &std::path::Path) -> Vec<String> {
    let query = "SELECT board_id || ':' || mls_number || ':' || active FROM listings ORDER BY 1";
    texts(&mut replica(folder).await, query).await
}

#[tokio::test]
async fn a_number_is_unique_within_its_board_only() {
    let folder = folder();
    mirror::seed(folder.path(), &[("W1".into(), time("2024-05-01T00:00:00Z"))], &[]).await;
    let other =
        "INSERT INTO listings (board_id, mls_number, updated_at) VALUES (3, 'W1', '2024-05-01T00:00:00Z')";
    sqlx::raw_sql(other).execute(&mut replica(folder.path()).await).await.unwrap();
    let (daemon, upstream) = scene(folder.path()).await;
    for board in [2, 3] {
        upstream.list_silently(&ListingKey::new(board, "W1"), time("2024-05-02T00:00:00Z"));
    }
    upstream.delete(&ListingKey::new(3, "W1"), time("2024-05-16T09:00:00Z"));
    upstream.deliveries().settled().await;
    daemon.settled(&TARGETS).await;
    assert_eq!(rows(folder.path()).await, ["2:W1:1"]);
    daemon.stop().await;
}

#[tokio::test]
async fn terminated_stays_and_what_was_listed_again_is_not_hit_by_its_old_deletion() {
    let folder = folder();
    let at = time("2024-05-01T00:00:00Z");
    mirror::seed(folder.path(), &[("W1".into(), at), ("W2".into(), at)], &[]).await;
    let (daemon, upstream) = scene(folder.path()).await;
    let (first, second) = (ListingKey::new(2, "W1"), ListingKey::new(2, "W2"));
    upstream.list_silently(&first, at);
    upstream.list_silently(&second, at);
    assert!(upstream.terminate(&first, time("2024-05-16T08:00:00Z")));
    upstream.delete(&second, time("2024-05-16T08:00:00Z"));
    upstream.deliveries().settled().await;
    daemon.settled(&TARGETS).await;
    assert_eq!(rows(folder.path()).await, ["2:W1:0"]);

    // Back upstream, and back in the replica by its importer. Then the deletion is told once more.
    upstream.list(&second, time("2024-05-16T09:00:00Z"));
    upstream.deliveries().settled().await;
    let back =
        "INSERT INTO listings (board_id, mls_number, updated_at) VALUES (2, 'W2', '2024-05-16T09:00:00Z')";
    sqlx::raw_sql(back).execute(&mut replica(folder.path()).await).await.unwrap();
    let old = r#"{"data":{"boardId":2,"mlsNumber":"W2","updatedOn":"2024-05-01T00:00:00.000Z"}}"#;
    let secret = [("x-hook-secret", HOOK_SECRET)];
    assert_eq!(daemon.post("repliers/listing.deleted", &secret, old).await, 202);
    daemon.settled(&TARGETS).await;
    assert_eq!(rows(folder.path()).await, ["2:W1:0", "2:W2:1"]);

    // A newer update says the same as a new listing; a cancellation by the other field does not.
    let updated = |states: &str, at: &str| {
        format!(r#"{{"data":{{"boardId":2,"mlsNumber":"W2","updatedOn":"{at}",{states}}},"previous":{{}}}}"#)
    };
    let body = updated(r#""lastStatus":"Pc""#, "2024-05-16T09:10:00Z");
    assert_eq!(daemon.post("repliers/listing.updated", &secret, &body).await, 202);
    let late = r#"{"data":{"boardId":2,"mlsNumber":"W2","updatedOn":"2024-05-16T09:05:00.000Z"}}"#;
    assert_eq!(daemon.post("repliers/listing.deleted", &secret, late).await, 202);
    daemon.settled(&TARGETS).await;
    assert_eq!(rows(folder.path()).await, ["2:W1:0", "2:W2:1"], "the update is the newer fact");
    let body = updated(r#""lastStatus":"New","standardStatus":"Canceled""#, "2024-05-16T09:20:00Z");
    assert_eq!(daemon.post("repliers/listing.updated", &secret, &body).await, 202);
    daemon.settled(&TARGETS).await;
    assert_eq!(rows(folder.path()).await, ["2:W1:0", "2:W2:0"]);
    daemon.stop().await;
}

#[tokio::test]
async fn i4_a_record_that_leaves_the_feed_between_two_pages_hides_no_other() {
    const LISTINGS: u32 = 250;
    let folder = folder();
    mirror::seed(folder.path(), &[], &[]).await;
    let (upstream, address) = mirror::repliers(mirror::clock()).await;
    for number in 1..=LISTINGS {
        let key = ListingKey::new(2, format!("W{number:03}"));
        upstream.list_silently(&key, time("2024-05-01T00:00:00Z"));
        upstream.delete(&key, time(&format!("2024-05-15T10:00:{:02}.{number:03}Z", number / 10)));
    }
    // Between the first page and the second, everything behind the first record moves up by one.
    upstream.faults().script([Fault::Pass, Fault::Shift]);
    let config = mirror::config(folder.path(), &address, "", "");
    let source = config.sources.iter().find(|source| source.name == "repliers").unwrap().clone();
    let rig = Rig::open(config, mirror::clock()).await;
    let report = rig.parts.reconciler().run(&source, None, &|_, _| {}).await.unwrap();
    assert_eq!((report.walked.walks, report.walked.records), (2, u64::from(LISTINGS) - 1));
    let heard = heard(&*rig.parts.store).await.into_iter().flat_map(|heard| heard.notices);
    let keys: BTreeSet<String> = heard.map(|notice| notice.key.to_string()).collect();
    assert_eq!(keys.len(), LISTINGS as usize, "the one that left was read before it did");
}

#[tokio::test]
async fn the_feed_is_read_of_all_boards_or_of_those_that_are_named() {
    for (named, boards) in
        [("", vec!["2", "3", "4"]), ("feed.query.boardId = [\"2\", \"4\"]", vec!["2", "4"])]
    {
        let folder = folder();
        mirror::seed(folder.path(), &[], &[]).await;
        let (upstream, address) = mirror::repliers(mirror::clock()).await;
        for board in 2..=4 {
            let key = ListingKey::new(board, "W1");
            upstream.list_silently(&key, time("2024-05-01T00:00:00Z"));
            upstream.delete(&key, time("2024-05-15T10:00:00Z"));
        }
        let config = mirror::config(folder.path(), &address, "", named);
        let source = config.sources.iter().find(|source| source.name == "repliers").unwrap().clone();
        let rig = Rig::open(config, mirror::clock()).await;
        rig.parts.reconciler().run(&source, None, &|_, _| {}).await.unwrap();
        let heard = heard(&*rig.parts.store).await.into_iter().flat_map(|heard| heard.notices);
        let keys: BTreeSet<Vec<String>> = heard.map(|notice| notice.key.parts().to_vec()).collect();
        let expected = boards.iter().map(|board| vec![(*board).to_owned(), "W1".to_owned()]);
        assert_eq!(keys, expected.collect::<BTreeSet<_>>());
    }
}

#[tokio::test]
async fn i4_a_run_that_failed_is_made_up_for_at_the_next_start_although_its_slot_has_passed() {
    let folder = folder();
    mirror::seed(folder.path(), &[], &[]).await;
    let (upstream, address) = mirror::repliers(mirror::clock()).await;
    let scheduled = || {
        let mut config = mirror::config(folder.path(), &address, "", "");
        let source = config.sources.iter_mut().find(|source| source.name == "repliers").unwrap();
        let nightly = Schedule { expression: "0 15 3 * * *".into(), zone: "UTC".into() };
        source.feed.as_mut().unwrap().schedule = Some(nightly);
        config
    };
    let refused = Fault::Instead { status: 401, headers: vec![], body: String::new() };
    upstream.faults().script([refused]);
    let daemon = Daemon::serve(scheduled()).await;
    let ended = async || daemon.store.runs(Some("repliers"), 1).await.unwrap().pop().map(|run| run.ended_at);
    until("the first run to fail", async || ended().await.flatten().is_some()).await;
    assert_eq!(daemon.store.checkpoint("repliers").await.unwrap(), None);
    daemon.stop().await;

    // The same moment, so that no slot lies between the two starts.
    let daemon = Daemon::serve(scheduled()).await;
    let read = async || daemon.store.checkpoint("repliers").await.unwrap().is_some();
    until("the run to be made up for", read).await;
    daemon.stop().await;
}
