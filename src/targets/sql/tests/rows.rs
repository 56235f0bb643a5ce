//! What SQLite alone does with a row; the rest is held for all databases by the integration tests.

use super::*;

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
async fn tables_without_row_numbers_are_reached_by_all_columns_of_their_key() {
    let schema = "CREATE TABLE listings(board_id INTEGER, mls TEXT, updated_at TEXT, rowid TEXT, \
            PRIMARY KEY(board_id, mls)) WITHOUT ROWID;
        INSERT INTO listings(board_id, mls, updated_at) VALUES (1,'a','2020-01-01'), (1,'b','2030-01-01'), (2,'a',NULL);";
    let mut bench = Bench::new(schema, guarded(&["board_id", "mls"], None)).await;
    let effects = bench.delete(&[&["1", "a"], &["1", "b"], &["2", "a"], &["2", "b"]]).await;
    assert_eq!(effects, [removed(1), Effect::Newer, removed(1), Effect::Absent]);
    assert_eq!(bench.lines("SELECT mls FROM listings").await, ["b"]);
}

/// The column takes both for one, and its index does not.
#[tokio::test]
async fn i11_a_table_without_row_numbers_that_ignores_case_loses_the_row_that_was_meant() {
    let columns = "board_id INTEGER, mls TEXT COLLATE NOCASE, updated_at TEXT, gone TEXT";
    let soft = |key: &[&str]| Table { deleted_at: Some("gone".to_owned()), ..table(key) };
    for (primary, key) in [("mls", vec!["W1"]), ("board_id, mls", vec!["1", "W1"])] {
        let names: Vec<&str> = primary.split(", ").collect();
        for table in [table(&names), guarded(&names, None), soft(&names)] {
            let schema = format!(
                "CREATE TABLE listings({columns}, PRIMARY KEY({primary} COLLATE BINARY)) WITHOUT ROWID;
                 INSERT INTO listings(board_id, mls) VALUES (1,'w1'), (1,'W1');"
            );
            let mut bench = Bench::new(&schema, table).await;
            assert_eq!(bench.delete(&[&key]).await, [removed(1)], "{primary}");
            let left = bench.lines("SELECT mls FROM listings WHERE gone IS NULL").await;
            assert_eq!(left, ["w1"], "{primary}");
        }
    }
}
