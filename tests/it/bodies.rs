//! Raw bodies beside the journal: each entry's own comes back byte for byte, until it is purged.

use std::time::Duration;

use bytes::Bytes;
use expunged::domain::Timestamp;
use expunged::store::chain::Verifier;
use expunged::store::{Draft, SharedStore};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::state::{entries, heard, open};
use crate::support::mirror;

fn start() -> Timestamp {
    mirror::time("2024-05-16T10:00:00Z")
}

/// A draft with that raw body.
fn with(body: Option<&[u8]>) -> Draft {
    Draft { body: body.map(Bytes::copy_from_slice), ..heard("1", start()) }
}

async fn body(store: &SharedStore, seq: i64) -> Option<Vec<u8>> {
    store.body(seq).await.unwrap()
}

#[tokio::test]
async fn bodies_of_one_commit_are_told_apart_whatever_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let bodies: [Option<&[u8]>; 6] =
        [None, Some(b"one"), None, Some(b""), Some(b"\xff\0\xc3\xa9"), Some(b"last")];
    store.append(bodies.map(with).to_vec()).await.unwrap();
    store.append(vec![with(None)]).await.unwrap();
    // More than one statement takes.
    let many: Vec<String> = (0..150).map(|number| format!("body {number}")).collect();
    store.append(many.iter().map(|text| with(Some(text.as_bytes()))).collect()).await.unwrap();

    for (seq, expected) in (1..).zip(bodies) {
        assert_eq!(body(&store, seq).await.as_deref(), expected, "{seq}");
    }
    assert_eq!(body(&store, 7).await, None, "the commit before has bodies, this one has none");
    for (seq, expected) in (8..).zip(&many) {
        assert_eq!(body(&store, seq).await.as_deref(), Some(expected.as_bytes()), "{seq}");
    }
    assert_eq!(body(&store, 158).await, None, "behind the end");
    assert_eq!(store.purge_bodies(start().plus(Duration::from_secs(1)), 100).await.unwrap(), 154);
}

#[tokio::test]
async fn bodies_of_a_journal_from_before_they_were_kept_by_commit_come_back() {
    const BEFORE: &str =
        "DROP VIEW appended; DROP TABLE bodies; DELETE FROM _sqlx_migrations WHERE version >= 2;
        CREATE TABLE bodies (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, body BLOB NOT NULL);
        INSERT INTO bodies VALUES (1, 5, X'c3a900'), (3, 7, X'33')";
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.append(vec![with(None), with(None), with(None)]).await.unwrap();
    drop(store);
    let file = SqliteConnectOptions::new().filename(folder.path().join("state.db"));
    let mut journal = file.connect().await.unwrap();
    sqlx::raw_sql(BEFORE).execute(&mut journal).await.unwrap();
    journal.close().await.unwrap();

    let store = open(folder.path()).await;
    let expected: [Option<&[u8]>; 3] = [Some(b"\xc3\xa9\0"), None, Some(b"3")];
    for (seq, expected) in (1..).zip(expected) {
        assert_eq!(body(&store, seq).await.as_deref(), expected, "{seq}");
    }
}

#[tokio::test]
async fn i10_bodies_are_purged_on_time_and_no_earlier_and_the_chain_still_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let start = start();
    let day = Duration::from_hours(24);
    for number in 0..10 {
        store.append(vec![heard(&number.to_string(), start.plus(day * number))]).await.unwrap();
    }
    assert_eq!(store.purge_bodies(start, 100).await.unwrap(), 0, "exactly as old as may be");
    assert_eq!(store.purge_bodies(start.plus(day * 4), 3).await.unwrap(), 3, "no more at a time than asked");
    assert_eq!(store.purge_bodies(start.plus(day * 4), 3).await.unwrap(), 1);
    assert_eq!(store.body(4).await.unwrap(), None);
    assert_eq!(store.body(5).await.unwrap().as_deref(), Some(b"4".as_slice()));
    let mut verifier = Verifier::default();
    entries(&store).await.iter().try_for_each(|entry| verifier.follow(entry)).unwrap();
}
