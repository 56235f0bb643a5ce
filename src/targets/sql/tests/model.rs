//! Random rows, keys and guards against a model in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Row {
    /// Seconds relative to [`NOW`]; `None` is NULL.
    guard: Option<i64>,
    readable: bool,
    images: u8,
}

type Id = (i64, String);

fn rows() -> impl Strategy<Value = BTreeMap<Id, Row>> {
    let row = (prop::option::of(-2i64..3), prop::bool::weighted(0.9), 0u8..4);
    let row = row.prop_map(|(guard, readable, images)| Row { guard, readable, images });
    prop::collection::btree_map(id(), row, 0..40)
}

fn id() -> impl Strategy<Value = Id> {
    (prop::sample::select(vec![-1, 0, 1, i64::MAX]), "[a-c0]{1,2}|'|\"| a|é")
}

fn keys() -> impl Strategy<Value = BTreeSet<Id>> {
    prop::collection::btree_set(id(), 0..40)
}

/// What a batch does, by definition.
fn expected(rows: &mut BTreeMap<Id, Row>, id: &Id) -> Effect {
    let Some(row) = rows.get(id) else { return Effect::Absent };
    match row.guard {
        Some(_) if !row.readable => return Effect::Failed(unreadable()),
        Some(seconds) if seconds > 0 => return Effect::Newer,
        _ => {}
    }
    let images = u64::from(row.images);
    rows.remove(id);
    removed(1 + images)
}

fn unreadable() -> crate::targets::RecordFailure {
    crate::targets::RecordFailure {
        code: "guard_unreadable",
        message: "the value in guard column \"updated_at\" is no time that can be read".to_owned(),
        retry: false,
    }
}

fn schema(rows: &BTreeMap<Id, Row>, without_rowid: bool) -> String {
    let (id, suffix) = if without_rowid { ("TEXT UNIQUE", "WITHOUT ROWID") } else { ("TEXT UNIQUE", "") };
    let mut sql = format!(
        "CREATE TABLE listings(id {id}, board INTEGER, mls TEXT, updated_at TEXT, PRIMARY KEY(board, mls)) {suffix};
         CREATE TABLE images(n INTEGER PRIMARY KEY, listing_id TEXT REFERENCES listings(id));
         CREATE INDEX images_listing ON images(listing_id);"
    );
    for ((board, mls), row) in rows {
        let mls = mls.replace('\'', "''");
        let guard = match row.guard {
            None => "NULL".to_owned(),
            Some(_) if !row.readable => "'soon'".to_owned(),
            Some(seconds) => {
                format!("'{}'", Timestamp::from_seconds(NOW.seconds() + seconds))
            }
        };
        write!(sql, "INSERT INTO listings VALUES ('{board}/{mls}', {board}, '{mls}', {guard});").unwrap();
        for _ in 0..row.images {
            write!(sql, "INSERT INTO images(listing_id) VALUES ('{board}/{mls}');").unwrap();
        }
    }
    sql
}

async fn compare(
    mut rows: BTreeMap<Id, Row>,
    batches: Vec<BTreeSet<Id>>,
    without_rowid: bool,
) -> Result<(), TestCaseError> {
    let children = vec![child("images", "listing_id", OnDelete::Delete)];
    let table = Table { children, ..guarded(&["board", "mls"], None) };
    let mut bench = Bench::new(&schema(&rows, without_rowid), table).await;
    for batch in batches {
        let removals: Vec<Removal> =
            batch.iter().rev().map(|(board, mls)| delete(&[&board.to_string(), mls])).collect();
        let weights = bench.target.weigh(&removals).await.unwrap();
        let effects = bench.apply(removals).await.unwrap();
        let expected: Vec<Effect> = batch.iter().rev().map(|id| expected(&mut rows, id)).collect();
        prop_assert_eq!(&effects, &expected);
        let taken = |effect: &Effect| if let Effect::Removed { rows } = effect { *rows } else { 0 };
        prop_assert_eq!(weights, effects.iter().map(taken).collect::<Vec<_>>());
        let left = bench.lines("SELECT board, mls FROM listings ORDER BY board, mls").await;
        let kept: Vec<String> = rows.keys().map(|(board, mls)| format!("{board}|{mls}")).collect();
        prop_assert_eq!(left, kept);
        let images: u64 = rows.values().map(|row| u64::from(row.images)).sum();
        prop_assert_eq!(bench.lines("SELECT count(*) FROM images").await, vec![images.to_string()]);
        let mirrored = bench.target.mirrored(&Entity::new("listing")).await.unwrap();
        prop_assert_eq!(mirrored, images + rows.len() as u64);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn i3_i6_any_batches_do_what_the_model_says(
        rows in rows(),
        batches in prop::collection::vec(keys(), 1..4),
        without_rowid: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(rows, batches, without_rowid))?;
    }
}
