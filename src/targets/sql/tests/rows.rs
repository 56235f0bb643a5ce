//! Keys, guards, marks: what happens to the row itself.

use super::*;
use crate::config::target::Value;

const COMPOSITE: &str = "CREATE TABLE listings(id INTEGER PRIMARY KEY, board_id INTEGER, mls TEXT, \
    updated_at TEXT, UNIQUE(board_id, mls));
    INSERT INTO listings(board_id, mls) VALUES (1,'7'), (1,'007'), (2,'7'), (2,'W1'), (2,'w1');";

#[tokio::test]
async fn i2_a_batch_that_comes_twice_leaves_the_same_contents() {
    let mut bench = Bench::new(COMPOSITE, table(&["board_id", "mls"])).await;
    let keys: [&[&str]; 3] = [&["2", "W1"], &["9", "9"], &["1", "007"]];
    assert_eq!(bench.delete(&keys).await, [removed(1), Effect::Absent, removed(1)]);
    let left = bench.lines("SELECT board_id, mls FROM listings ORDER BY id").await;
    assert_eq!(left, ["1|7", "2|7", "2|w1"]);
    assert_eq!(bench.delete(&keys).await, [Effect::Absent, Effect::Absent, Effect::Absent]);
    assert_eq!(bench.lines("SELECT board_id, mls FROM listings ORDER BY id").await, left);
}

#[tokio::test]
async fn i11_neighbours_beyond_the_floats_are_told_apart() {
    let schema = "CREATE TABLE listings(id BIGINT PRIMARY KEY);
        INSERT INTO listings VALUES (9007199254740992), (9007199254740993);";
    let mut bench = Bench::new(schema, table(&["id"])).await;
    assert_eq!(bench.delete(&[&["9007199254740993"]]).await, [removed(1)]);
    assert_eq!(bench.lines("SELECT id FROM listings").await, ["9007199254740992"]);
}

#[tokio::test]
async fn i6_a_key_that_does_not_fit_fails_alone() {
    let mut bench = Bench::new(COMPOSITE, table(&["board_id", "mls"])).await;
    let keys: [&[&str]; 6] =
        [&["01", "7"], &["1.0", "7"], &[" 1", "7"], &["9223372036854775808", "7"], &["1"], &["1", "7"]];
    let effects = bench.delete(&keys).await;
    let codes: Vec<_> = effects.iter().map(code).collect();
    assert_eq!(codes, ["key_type", "key_type", "key_type", "key_type", "key_parts", ""]);
    assert_eq!(effects[5], removed(1));
    assert_eq!(bench.lines("SELECT count(*) FROM listings").await, ["4"]);
}

#[tokio::test]
async fn i11_a_column_that_ignores_case_is_compared_byte_for_byte_all_the_same() {
    let schema =
        "CREATE TABLE listings(id TEXT COLLATE NOCASE PRIMARY KEY); INSERT INTO listings VALUES ('ab');";
    let bench = Bench::new(schema, table(&["id"])).await;
    assert_eq!(bench.delete(&[&["AB"]]).await, [Effect::Absent]);
    assert_eq!(bench.delete(&[&["ab"]]).await, [removed(1)]);
}

#[tokio::test]
async fn i3_newer_stays_equal_and_older_and_unknown_go_and_nonsense_fails_alone() {
    let schema = "CREATE TABLE listings(id TEXT PRIMARY KEY, updated_at TEXT);
        INSERT INTO listings VALUES ('newer','2023-11-14T22:13:20.000001Z'), ('equal','2023-11-14 22:13:20'),
        ('older','2023-11-14T23:13:19+01:00'), ('null',NULL), ('nonsense','now'), ('bytes',x'ff00');
        INSERT INTO listings VALUES ('broken', CAST(x'ff' AS TEXT));";
    let mut bench = Bench::new(schema, guarded(&["id"], None)).await;
    let keys: [&[&str]; 7] =
        [&["newer"], &["equal"], &["older"], &["null"], &["nonsense"], &["bytes"], &["broken"]];
    let effects = bench.delete(&keys).await;
    assert_eq!(effects[..4], [Effect::Newer, removed(1), removed(1), removed(1)]);
    assert!(effects[4..].iter().all(|effect| code(effect) == "guard_unreadable"), "{effects:?}");
    let left = bench.lines("SELECT id FROM listings ORDER BY id").await;
    assert_eq!(left, ["broken", "bytes", "newer", "nonsense"]);
}

#[tokio::test]
async fn i3_number_guards_count_in_their_own_unit() {
    for (format, declared, equal, newer) in [
        (TimeFormat::UnixSeconds, "INTEGER", "1700000000", "1700000001"),
        (TimeFormat::UnixMillis, "INTEGER", "1700000000000", "1700000000001"),
        (TimeFormat::UnixSeconds, "REAL", "1700000000", "1700000000.25"),
        (TimeFormat::UnixSeconds, "TEXT", "1700000000", "1700000001"),
    ] {
        let schema = format!(
            "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at {declared});
             INSERT INTO listings VALUES (1,{equal}), (2,{newer}), (3,'soon');"
        );
        let bench = Bench::new(&schema, guarded(&["id"], Some(format))).await;
        let effects = bench.delete(&[&["1"], &["2"], &["3"]]).await;
        assert_eq!(effects[..2], [removed(1), Effect::Newer], "{format:?} {declared}");
        assert_eq!(code(&effects[2]), "guard_unreadable");
    }
}

#[tokio::test]
async fn soft_deletion_writes_the_time_of_the_deletion_once() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, deleted_at TEXT);
        INSERT INTO listings VALUES (1,NULL), (2,'2001-01-01'), (3,NULL);";
    let soft = Table { deleted_at: Some("deleted_at".to_owned()), ..table(&["id"]) };
    let mut bench = Bench::new(schema, soft).await;
    let expected = [removed(1), Effect::Absent, Effect::Absent];
    assert_eq!(bench.delete(&[&["1"], &["2"], &["8"]]).await, expected);
    let left = bench.lines("SELECT * FROM listings").await;
    assert_eq!(left, ["1|2023-11-14T22:13:20Z", "2|2001-01-01", "3|NULL"]);
    assert_eq!(bench.delete(&[&["1"]]).await, [Effect::Absent]);
    assert_eq!(bench.lines("SELECT * FROM listings").await, left);
    let endless = bench.apply(vec![removal(Action::Delete, &["3"], Timestamp::MIN)]).await.unwrap();
    assert_eq!(code(&endless[0]), "time_range");
}

fn deactivating() -> Table {
    let set = |name: &str, value| (name.to_owned(), value);
    let deactivate = vec![
        set("status", Value::Text("it's off".to_owned())),
        set("active", Value::Bool(false)),
        set("agent", Value::Null),
        set("rank", Value::Integer(-1)),
        set("ended", Value::Now),
    ];
    Table { deactivate, ..guarded(&["id"], Some(TimeFormat::UnixSeconds)) }
}

#[tokio::test]
async fn deactivation_sets_columns_and_respects_the_guard() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at INTEGER, status TEXT, \
            active BOOLEAN, agent TEXT, rank TEXT, ended INTEGER);
        INSERT INTO listings VALUES (1,5,'on',1,'a',3,NULL), (2,1700000001,'on',1,'b',3,NULL);";
    let mut bench = Bench::new(schema, deactivating()).await;
    let batch = || ["1", "2", "3"].iter().map(|id| removal(Action::Deactivate, &[id], NOW)).collect();
    for _ in 0..2 {
        let effects = bench.apply(batch()).await.unwrap();
        assert_eq!(effects, [Effect::Deactivated, Effect::Newer, Effect::Absent]);
        let left = bench.lines("SELECT * FROM listings").await;
        assert_eq!(left, ["1|5|it's off|0|NULL|-1|1700000000", "2|1700000001|on|1|b|3|NULL"]);
    }
}

#[tokio::test]
async fn i6_what_is_not_configured_fails_by_name_and_the_rest_is_done() {
    let bench = Bench::new(COMPOSITE, table(&["board_id", "mls"])).await;
    let other = Removal { entity: Entity::new("deal"), ..delete(&["1", "7"]) };
    let marked = removal(Action::Deactivate, &["1", "007"], NOW);
    let effects = bench.apply(vec![other, marked, delete(&["2", "7"])]).await.unwrap();
    assert_eq!(effects.iter().map(code).collect::<Vec<_>>(), ["entity_unknown", "deactivate_unset", ""]);
    assert_eq!(effects[2], removed(1));
}

#[tokio::test]
async fn batches_of_every_size_find_all_their_rows() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, mls TEXT UNIQUE);
        WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM c WHERE i < 2000)
        INSERT INTO listings SELECT i, 'W' || i FROM c;";
    let mut bench = Bench::new(schema, table(&["mls"])).await;
    let mut next = 0;
    for size in [1, 15, 16, 17, 255, 256, 257, 529, 0] {
        let keys: Vec<String> = (next..next + size).map(|i| format!("W{}", i + 1)).collect();
        next += size;
        let batch = keys.iter().rev().map(|key| delete(&[key])).collect();
        assert_eq!(bench.apply(batch).await.unwrap(), vec![removed(1); size]);
        let left = bench.lines("SELECT count(*), min(id) FROM listings").await;
        assert_eq!(left, [format!("{}|{}", 2000 - next, next + 1)]);
    }
}

#[tokio::test]
async fn tables_without_row_numbers_are_reached_by_all_columns_of_their_key() {
    let schema = "CREATE TABLE listings(board_id INTEGER, mls TEXT, updated_at TEXT, rowid TEXT, \
            PRIMARY KEY(board_id, mls)) WITHOUT ROWID;
        INSERT INTO listings(board_id, mls, updated_at) VALUES (1,'a','2020-01-01'), (1,'b','2030-01-01'), (2,'a',NULL);";
    let mut bench = Bench::new(schema, guarded(&["board_id", "mls"], None)).await;
    let effects = bench.delete(&[&["1", "a"], &["1", "b"], &["2", "a"], &["2", "b"]]).await;
    assert_eq!(effects, [removed(1), Effect::Newer, removed(1), Effect::Absent]);
    assert_eq!(bench.lines("SELECT mls FROM listings").await, ["b"]);
}
