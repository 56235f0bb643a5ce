//! Under one key, a request is carried out once: at once, after a crash, and until a day is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::desk::{HASTY, heard, keys};
use super::{Desk, READER, Seen};
use crate::support::mirror;
use crate::support::rig::until;

const KEY: (&str, &str) = ("idempotency-key", "order 66");

fn same(first: &Seen, second: &Seen) {
    assert_eq!((first.status, &first.text), (second.status, &second.text));
    assert_eq!(first.header("location"), second.header("location"));
    assert_eq!(
        (first.header("idempotent-replayed"), second.header("idempotent-replayed")),
        (None, Some("true"))
    );
}

#[tokio::test]
async fn i2_the_same_request_has_the_same_answer_also_after_a_restart_and_a_rebuild() {
    let desk = Desk::with_tokens(3).await;
    let body = json!({ "entity": "listing", "by": "number", "ids": ["W1", "W77"] }).to_string();
    let first = desk.ask_again("", &[KEY], &body).await;
    assert_eq!((first.status, &first.body["refused"]), (202, &json!(1)), "{}", first.text);
    same(&first, &desk.ask_again("", &[KEY], &body).await);
    let waited = desk.ask_again("?wait=30s", &[KEY], &body).await;
    assert_eq!((waited.status, waited.receipt()), (200, first.receipt()));
    assert_eq!(waited.outcomes(), ["deleted", "not_found"]);

    let desk = desk.restart().await;
    same(&first, &desk.ask_again("", &[KEY], &body).await);
    let (clock, folder) = (desk.clock.clone(), desk.stop().await);
    for name in ["state.projections.db", "state.projections.db-wal", "state.projections.db-shm"] {
        std::fs::remove_file(folder.path().join(name)).ok();
    }
    let desk = Desk::again(folder, clock).await;
    same(&first, &desk.ask_again("", &[KEY], &body).await);

    let other = json!({ "entity": "listing", "ids": keys(2..=2) }).to_string();
    let refused = desk.ask_again("", &[KEY], &other).await;
    assert_eq!((refused.status, refused.code()), (409, "idempotency_key_reused"));
    let spaced = body.replace(':', ": ");
    assert_eq!(desk.ask_again("", &[KEY], &spaced).await.status, 409, "the same body is the same bytes");
    let lines = desk.upload("entity=listing&by=number", "text/plain", &[KEY], "W1\nW77\n").await;
    assert_eq!(lines.status, 409, "an upload is another request");
    assert_eq!(desk.listings().await, ["W2", "W3"]);
    assert_eq!(heard(desk.stop().await.path()).await.len(), 1, "one request is in the journal");
}

#[tokio::test]
async fn a_key_is_its_tokens_own_and_good_for_a_day() {
    let desk = Desk::with_tokens(1).await;
    let body = json!({ "entity": "listing", "ids": keys(1..=1) }).to_string();
    let first = desk.ask_again("", &[KEY], &body).await;
    let headers = [("authorization", &*format!("Bearer {HASTY}")), ("content-type", "application/json"), KEY];
    let others = desk.send(Method::POST, "/api/v1/deletions", &headers, body.clone()).await;
    assert_eq!(others.status, 202);
    assert_ne!(first.receipt(), others.receipt());
    desk.clock.set(mirror::time("2024-05-17T09:59:59Z"));
    assert_eq!(desk.ask_again("", &[KEY], &body).await.receipt(), first.receipt());
    desk.clock.set(mirror::time("2024-05-17T10:00:00Z"));
    let next_day = desk.ask_again("", &[KEY], &body).await;
    assert_eq!(next_day.header("idempotent-replayed"), None);
    assert_ne!(next_day.receipt(), first.receipt());

    for key in ["", &"k".repeat(256)] {
        let seen = desk.ask_again("", &[("idempotency-key", key)], &body).await;
        assert_eq!((seen.status, seen.code()), (400, "bad_idempotency_key"));
    }
    assert_eq!(desk.ask_again("", &[("idempotency-key", &"k".repeat(255))], &body).await.status, 202);
    let twice = desk.ask_again("", &[KEY, KEY], &body).await;
    assert_eq!((twice.status, twice.code()), (400, "bad_idempotency_key"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_of_many_at_once_one_is_recorded() {
    let desk = Arc::new(Desk::with_tokens(3).await);
    let body = json!({ "entity": "listing", "ids": keys(1..=3) }).to_string();
    let posts: Vec<_> = (0..12)
        .map(|_| {
            let (desk, body) = (desk.clone(), body.clone());
            tokio::spawn(async move { desk.ask_again("", &[KEY], &body).await })
        })
        .collect();
    let (mut receipts, mut put_off) = (BTreeSet::new(), 0);
    for post in posts {
        let seen = post.await.unwrap();
        match seen.status {
            202 => {
                receipts.insert(seen.receipt().to_owned());
            }
            409 => {
                assert_eq!((seen.code(), seen.header("retry-after")), ("request_under_way", Some("1")));
                put_off += 1;
            }
            other => panic!("{other}: {}", seen.text),
        }
    }
    assert!(receipts.len() == 1, "{receipts:?}, {put_off} put off");
    let receipt = receipts.first().unwrap();
    let told = desk.get(READER, &format!("/api/v1/deletions/{receipt}?wait=30s")).await;
    assert_eq!(told.body["counts"], json!({ "deleted": 3 }));
    let desk = Arc::into_inner(desk).unwrap();
    assert_eq!(heard(desk.stop().await.path()).await.len(), 1);
}

#[tokio::test]
async fn an_upload_is_known_again_by_all_that_it_says() {
    let desk = Desk::with_tokens(3).await;
    let send = async |query: &str, body: &str| desk.upload(query, "text/plain", &[KEY], body).await;
    let first = send("entity=listing&reason=a", "2\tW1\nhalf a key\n").await;
    assert_eq!((first.status, &first.body["refused"]), (202, &json!(1)), "{}", first.text);
    same(&first, &send("entity=listing&reason=a", "2\tW1\nhalf a key\n").await);
    let waited = send("entity=listing&reason=a&wait=30s", "2\tW1\nhalf a key\n").await;
    assert_eq!((waited.status, waited.receipt()), (200, first.receipt()));
    for (query, body) in [
        ("entity=listing&reason=a", "2\tW1\nhalf a key"),
        ("entity=listing&reason=b", "2\tW1\nhalf a key\n"),
        ("entity=deal&reason=a", "2\tW1\nhalf a key\n"),
    ] {
        let seen = send(query, body).await;
        assert_eq!((seen.status, seen.code()), (409, "idempotency_key_reused"), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_sender_that_went_away_and_comes_again_is_known_while_its_request_is_not_written_yet() {
    let desk = Desk::with_tokens(1).await;
    let body = json!({ "entity": "listing", "ids": keys(1..=1) }).to_string();
    let options = SqliteConnectOptions::new().filename(desk.folder.path().join("state.db"));
    let mut other = options.disable_statement_logging().connect().await.unwrap();
    // Another process writes: what is handed to the journal waits.
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let patience = Duration::from_millis(300);
    assert!(tokio::time::timeout(patience, desk.ask_again("", &[KEY], &body)).await.is_err());
    // It is under way until the daemon sees that nobody waits for it, and known from then on.
    while let Ok(seen) = tokio::time::timeout(patience, desk.ask_again("", &[KEY], &body)).await {
        assert_eq!((seen.status, seen.code()), (409, "request_under_way"), "{}", seen.text);
    }
    held.rollback().await.unwrap();
    until("it is known", async || {
        let seen = desk.ask_again("", &[KEY], &body).await;
        assert!(seen.status == 202 || seen.code() == "request_under_way", "{}", seen.text);
        seen.header("idempotent-replayed") == Some("true")
    })
    .await;
    assert_eq!(heard(desk.stop().await.path()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_outcomes_keeps_neither_the_key_nor_a_place_from_others() {
    let desk = Arc::new(Desk::with_tokens(1).await);
    std::fs::rename(desk.folder.path().join("replica.db"), desk.folder.path().join("away.db")).unwrap();
    let mut waiting = Vec::new();
    // One more than there are places.
    for number in 1..=17 {
        let (asking, body) = (desk.clone(), json!({ "entity": "listing", "ids": keys(number..=number) }));
        let name = format!("key {number}");
        waiting.push(tokio::spawn(async move {
            let headers = [("idempotency-key", name.as_str())];
            asking.ask_again("?wait=60s", &headers, &body.to_string()).await
        }));
        until("it is recorded", async || {
            let listed = desk.get(READER, &format!("/api/v1/tombstones?after={}", number - 1)).await;
            listed.body["tombstones"].as_array().unwrap().len() == 1
        })
        .await;
    }
    let body = json!({ "entity": "listing", "ids": keys(1..=1) }).to_string();
    until("the key is free", async || {
        let seen = desk.ask_again("", &[("idempotency-key", "key 1")], &body).await;
        seen.header("idempotent-replayed") == Some("true")
    })
    .await;
    assert!(waiting.iter().all(|task| !task.is_finished()));
    desk.drain();
    for task in waiting {
        let seen = task.await.unwrap();
        assert_eq!((seen.status, seen.outcomes()), (202, vec!["pending"]), "{}", seen.text);
    }
    Arc::into_inner(desk).unwrap().stop().await;
}
