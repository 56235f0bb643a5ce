//! Files that refuse, are busy, are gone, lie, or change under us, as only SQLite does.

use std::task::Poll;

use super::*;

const LISTINGS: &str = "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at TEXT);
    INSERT INTO listings VALUES (1,NULL), (2,NULL), (3,NULL);";

#[tokio::test]
async fn i12_a_row_that_a_trigger_keeps_is_told_and_the_others_go() {
    let schema = format!(
        "{LISTINGS} CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER);
         INSERT INTO rooms VALUES (10,1), (20,2);
         CREATE TRIGGER keep BEFORE DELETE ON listings WHEN old.id = 2 BEGIN SELECT RAISE(IGNORE); END;"
    );
    let mut bench =
        Bench::new(&schema, with_children(vec![child("rooms", "listing_id", OnDelete::Delete)])).await;
    let effects = bench.delete(&[&["1"], &["2"], &["3"]]).await;
    assert_eq!(code(&effects[1]), "still_there");
    assert!(
        matches!(&effects[1], Effect::Failed(failure) if failure.retry),
        "it may be a row that was just added"
    );
    assert_eq!((&effects[0], &effects[2]), (&removed(2), &removed(1)));
    assert_eq!(bench.lines("SELECT id FROM listings").await, ["2"]);
    assert_eq!(bench.lines("SELECT id FROM rooms").await, ["20"]);
}

#[tokio::test]
async fn i12_a_child_that_a_trigger_keeps_keeps_its_parent() {
    let schema = format!(
        "{LISTINGS} CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER);
         INSERT INTO rooms VALUES (10,1), (20,2);
         CREATE TRIGGER keep BEFORE DELETE ON rooms WHEN old.id = 20 BEGIN SELECT RAISE(IGNORE); END;"
    );
    let mut bench =
        Bench::new(&schema, with_children(vec![child("rooms", "listing_id", OnDelete::Delete)])).await;
    let effects = bench.delete(&[&["1"], &["2"]]).await;
    assert_eq!((&effects[0], code(&effects[1])), (&removed(2), "still_there"));
    assert_eq!(bench.lines("SELECT id FROM listings").await, ["2", "3"]);
}

#[tokio::test]
async fn i12_a_view_that_answers_without_deleting_is_noticed() {
    let schema = "CREATE TABLE stored(id INTEGER PRIMARY KEY); INSERT INTO stored VALUES (1), (2);
        CREATE VIEW listings AS SELECT id FROM stored;
        CREATE TRIGGER pretend INSTEAD OF DELETE ON listings WHEN old.id = 1 BEGIN SELECT 1; END;
        CREATE TRIGGER honest INSTEAD OF DELETE ON listings WHEN old.id = 2 BEGIN DELETE FROM stored WHERE id = old.id; END;";
    let mut bench = Bench::new(schema, table(&["id"])).await;
    let effects = bench.delete(&[&["1"], &["2"], &["3"]]).await;
    assert_eq!((code(&effects[0]), &effects[1], &effects[2]), ("still_there", &removed(1), &Effect::Absent));
    assert_eq!(bench.lines("SELECT id FROM stored").await, ["1"]);
}

/// Whenever row 9 goes, the largest row of `returns` that is missing comes back.
fn returning(ids: &str) -> String {
    format!(
        "CREATE TABLE listings(id INTEGER PRIMARY KEY); CREATE TABLE returns(id INTEGER);
         INSERT INTO listings VALUES (5), (6), (7), (8), (9); INSERT INTO returns VALUES {ids};
         CREATE TRIGGER back AFTER DELETE ON listings WHEN old.id = 9 BEGIN INSERT INTO listings
         SELECT max(id) FROM returns WHERE id NOT IN (SELECT id FROM listings) HAVING max(id) > 0; END;"
    )
}

#[tokio::test]
async fn i12_rows_that_come_back_are_spared_in_as_many_rounds_as_the_limit_allows() {
    let keys: [&[&str]; 5] = [&["5"], &["6"], &["7"], &["8"], &["9"]];
    let mut bench = Bench::new(&returning("(7), (8)"), table(&["id"])).await;
    let effects = bench.delete(&keys).await;
    assert_eq!(effects.iter().map(code).collect::<Vec<_>>(), ["", "", "still_there", "still_there", ""]);
    assert_eq!(bench.lines("SELECT id FROM listings").await, ["7", "8"]);

    let mut bench = Bench::new(&returning("(6), (7), (8)"), table(&["id"])).await;
    let result = bench.apply(keys.iter().map(|key| delete(key)).collect()).await;
    assert!(matches!(result, Err(TargetError::Refused { code: "still_there", .. })), "{result:?}");
    assert_eq!(bench.lines("SELECT count(*) FROM listings").await, ["5"]);
}

#[tokio::test]
async fn what_only_the_commit_or_a_trigger_refuses_is_told_by_name_and_leaves_everything() {
    let deferred =
        "CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER NOT NULL REFERENCES listings(id) DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO rooms VALUES (10,2);";
    let raises = "CREATE TRIGGER no BEFORE DELETE ON listings WHEN old.id = 2 BEGIN SELECT RAISE(ABORT, 'secret'); END;";
    let breaks = "CREATE TRIGGER no BEFORE DELETE ON listings WHEN old.id = 2 BEGIN SELECT json('{'); END;";
    for (more, expected) in [(deferred, "foreign_key"), (raises, "trigger"), (breaks, "statement")] {
        let mut bench = Bench::new(&format!("{LISTINGS}{more}"), table(&["id"])).await;
        match bench.apply(vec![delete(&["1"]), delete(&["2"])]).await {
            Err(TargetError::Refused { code, message }) => {
                assert_eq!(code, expected);
                assert!(!message.contains("secret"));
            }
            other => panic!("{expected}: {other:?}"),
        }
        assert_eq!(bench.lines("SELECT count(*) FROM listings").await, ["3"]);
        assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)], "the halves go on");
    }
}

#[tokio::test]
async fn a_locked_database_is_unavailable_and_works_when_it_is_free() {
    let mut bench = Bench::new(LISTINGS, table(&["id"])).await;
    bench.sql("BEGIN IMMEDIATE").await;
    let locked = bench.apply(vec![delete(&["1"])]).await;
    assert!(matches!(locked, Err(TargetError::Unavailable(_))), "{locked:?}");
    bench.sql("ROLLBACK").await;
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)]);
}

#[tokio::test]
async fn a_full_database_is_unavailable_and_nothing_has_changed() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, gone TEXT);
        INSERT INTO listings VALUES (1, NULL);
        CREATE TABLE copies(text);
        CREATE TRIGGER copy AFTER DELETE ON listings BEGIN INSERT INTO copies VALUES (zeroblob(200000)); END;";
    let mut bench = Bench::new(schema, table(&["id"])).await;
    let mut open = bench.target.take(&mut None).await.unwrap();
    open.session.json(&"PRAGMA max_page_count = 20".into(), Vec::new()).await.ok();
    *bench.target.open.lock().await = Some(open);
    let full = bench.apply(vec![delete(&["1"])]).await;
    assert!(matches!(full, Err(TargetError::Unavailable(_))), "{full:?}");
    assert_eq!(bench.lines("SELECT count(*) FROM listings").await, ["1"]);
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)]);
}

#[tokio::test]
async fn a_database_that_is_not_there_yet_delays_and_is_never_created() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later.db");
    let target = target(&path, table(&["id"]));
    let batch = Batch { number: 1, removals: vec![delete(&["1"])] };
    assert!(matches!(target.apply(&batch).await, Err(TargetError::Unavailable(_))));
    assert!(matches!(target.check().await, Err(TargetError::Unavailable(_))));
    assert!(!path.exists());
    let bench = Bench::new(LISTINGS, table(&["id"])).await;
    std::fs::copy(&bench.path, &path).unwrap();
    assert_eq!(target.apply(&batch).await.unwrap(), [removed(1)]);
}

#[tokio::test]
async fn a_file_that_was_replaced_is_opened_anew() {
    let bench = Bench::new(LISTINGS, table(&["id"])).await;
    let other = Bench::new(LISTINGS, table(&["id"])).await;
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)]);
    std::fs::rename(&other.path, &bench.path).unwrap();
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)]);
}

#[tokio::test]
async fn a_schema_that_changes_is_read_again() {
    let mut bench = Bench::new(LISTINGS, table(&["id"])).await;
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)]);
    bench.sql("CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings ON DELETE CASCADE);
        INSERT INTO rooms VALUES (10,2);").await;
    assert_eq!(bench.delete(&[&["2"]]).await, [removed(2)]);
    bench.sql("ALTER TABLE listings RENAME TO houses").await;
    let missing = bench.delete(&[&["3"]]).await;
    assert_eq!(missing, [Effect::Unfit("listing: there is no table \"listings\"".to_owned())]);
    bench.sql("ALTER TABLE houses RENAME TO listings").await;
    assert_eq!(bench.delete(&[&["3"]]).await, [removed(1)]);
}

#[tokio::test]
async fn names_are_found_whatever_their_case() {
    let schema = "CREATE TABLE \"lis\"\"t\"(\"select\" INTEGER PRIMARY KEY, \"n\" TEXT);
        INSERT INTO \"lis\"\"t\" VALUES (1,'2020-01-01');";
    let odd = Table {
        table: "LIS\"T".to_owned(),
        guard: Some(Guard { column: "N".to_owned(), format: None }),
        ..table(&["Select"])
    };
    assert_eq!(Bench::new(schema, odd).await.delete(&[&["1"]]).await, [removed(1)]);
}

/// Polls `work` at most `polls` times, then drops it.
async fn cut<T>(work: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn i2_a_batch_that_is_cut_off_anywhere_is_done_whole_or_not_at_all() {
    let schema = format!("{LISTINGS} CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER);");
    let rooms = vec![child("rooms", "listing_id", OnDelete::Delete)];
    let mut bench = Bench::new(&schema, with_children(rooms)).await;
    let batch = Batch { number: 1, removals: vec![delete(&["1"]), delete(&["2"])] };
    for polls in 1.. {
        bench.sql("INSERT OR REPLACE INTO listings VALUES (1,NULL), (2,NULL)").await;
        bench.sql("INSERT OR REPLACE INTO rooms VALUES (10,1), (20,2)").await;
        // The open connection is dropped half of the time, so that opening is cut off as well.
        if polls % 2 == 0 {
            *bench.target.open.lock().await = None;
        }
        let ended = cut(bench.target.apply(&batch), polls).await;
        let left = bench.lines("SELECT (SELECT count(*) FROM listings), (SELECT count(*) FROM rooms)").await;
        assert!(["1|0", "3|2"].contains(&left[0].as_str()), "after {polls} polls: {left:?}");
        if ended.is_some() && polls % 2 == 0 {
            break;
        }
        let effects = bench.target.apply(&batch).await.unwrap();
        assert!(effects == [removed(2), removed(2)] || effects == [Effect::Absent, Effect::Absent]);
    }
}
