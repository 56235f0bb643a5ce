//! Random rows, keys and guards against a model in memory.

use std::collections::{BTreeMap, BTreeSet};

use expunged::config::target::{OnDelete, Table};
use expunged::domain::{Entity, Timestamp};
use expunged::targets::{Effect, Target as _};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::bench::{Bench, Database, NOW, child, code, delete, guarded, removed};

super::on_every_database!(i3_i6_any_batches_do_what_the_model_says);

/// Databases' worth of rows, each way to store them.
const CASES: u32 = 24;

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

/// An effect, or the code of a failure: its words quote names as the database does.
type Told = Result<Effect, &'static str>;

fn told(effect: Effect) -> Told {
    if matches!(effect, Effect::Failed(_) | Effect::Unfit(_)) { Err(code(&effect)) } else { Ok(effect) }
}

/// What a batch does, by definition.
fn expected(rows: &mut BTreeMap<Id, Row>, id: &Id) -> Told {
    let Some(row) = rows.get(id) else { return Ok(Effect::Absent) };
    match row.guard {
        Some(_) if !row.readable => return Err("guard_unreadable"),
        Some(seconds) if seconds > 0 => return Ok(Effect::Newer),
        _ => {}
    }
    let images = u64::from(row.images);
    rows.remove(id);
    Ok(removed(1 + images))
}

fn schema(suffix: &str) -> String {
    format!(
        "CREATE TABLE listings(id {{key}} UNIQUE, board BIGINT, mls {{key}}, updated_at {{text}}, PRIMARY KEY(board, mls)) {suffix};
         CREATE TABLE images(n INTEGER PRIMARY KEY, listing_id {{key}} REFERENCES listings(id));
         CREATE INDEX images_listing ON images(listing_id);"
    )
}

/// Statements after which the database holds these rows and no others.
fn holding(rows: &BTreeMap<Id, Row>) -> String {
    let mut statements = vec!["DELETE FROM images; DELETE FROM listings".to_owned()];
    let mut images = 0;
    for ((board, mls), row) in rows {
        let mls = mls.replace('\'', "''");
        let guard = match row.guard {
            None => "NULL".to_owned(),
            Some(_) if !row.readable => "'soon'".to_owned(),
            Some(seconds) => format!("'{}'", Timestamp::from_seconds(NOW.seconds() + seconds)),
        };
        statements.push(format!("INSERT INTO listings VALUES ('{board}/{mls}', {board}, '{mls}', {guard})"));
        for _ in 0..row.images {
            images += 1;
            statements.push(format!("INSERT INTO images VALUES ({images}, '{board}/{mls}')"));
        }
    }
    statements.join(";")
}

async fn compare(
    bench: &Bench,
    mut rows: BTreeMap<Id, Row>,
    batches: Vec<BTreeSet<Id>>,
) -> Result<(), TestCaseError> {
    bench.sql(&holding(&rows)).await;
    for batch in batches {
        let ids = || batch.iter().rev();
        let removals: Vec<_> = ids().map(|(board, mls)| delete(&[&board.to_string(), mls])).collect();
        let weights = bench.target.weigh(&removals).await.unwrap();
        let effects = bench.apply(removals).await.unwrap();
        let taken = |effect: &Effect| if let Effect::Removed { rows } = effect { *rows } else { 0 };
        prop_assert_eq!(weights, effects.iter().map(taken).collect::<Vec<_>>());
        let expected: Vec<Told> = ids().map(|id| expected(&mut rows, id)).collect();
        prop_assert_eq!(effects.into_iter().map(told).collect::<Vec<_>>(), expected);
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

async fn i3_i6_any_batches_do_what_the_model_says(database: Database) {
    let ways: &[&str] = if database == Database::Sqlite { &["", "WITHOUT ROWID"] } else { &[""] };
    for suffix in ways {
        let children = vec![child("images", "listing_id", OnDelete::Delete)];
        let table = Table { children, ..guarded(&["board", "mls"], None) };
        let bench = Bench::new(database, &schema(suffix), table).await;
        let running = tokio::runtime::Handle::current();
        // The runner calls back, and what it calls waits for the database.
        let run = move || {
            let mut runner = TestRunner::new(ProptestConfig { cases: CASES, ..ProptestConfig::default() });
            let strategy = (rows(), prop::collection::vec(keys(), 1..4));
            runner.run(&strategy, |(rows, batches)| running.block_on(compare(&bench, rows, batches)))
        };
        tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    }
}
