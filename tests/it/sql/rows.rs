//! Keys, guards, marks: what happens to the row itself.

use expunged::config::target::{Guard, Table, Value};
use expunged::domain::timestamp::TimeFormat;
use expunged::domain::{Action, Entity, Timestamp};
use expunged::targets::{Effect, Removal, Severity, TargetError};

use super::bench::{Bench, Database, NOW, code, delete, guarded, removal, removed, says, table};

super::on_every_database!(
    i2_a_batch_that_comes_twice_leaves_the_same_contents,
    i11_neighbours_beyond_the_floats_are_told_apart,
    i6_a_key_that_does_not_fit_fails_alone,
    i11_a_column_that_ignores_case_is_compared_byte_for_byte_all_the_same,
    i11_any_text_is_a_key,
    i3_newer_stays_equal_and_older_and_unknown_go,
    i3_number_guards_count_in_their_own_unit,
    i3_what_is_no_time_fails_alone,
    soft_deletion_writes_the_time_of_the_deletion_once,
    deactivation_sets_columns_and_respects_the_guard,
    i6_what_is_not_configured_fails_by_name_and_the_rest_is_done,
    batches_of_every_size_find_all_their_rows,
    i12_a_key_with_two_rows_rolls_the_batch_back,
    names_are_quoted_whatever_they_hold,
);

const COMPOSITE: &str = "CREATE TABLE listings(id INTEGER PRIMARY KEY, board_id BIGINT, mls {key}, \
    updated_at {time}, UNIQUE(board_id, mls));
    INSERT INTO listings(id, board_id, mls) VALUES (1,1,'7'), (2,1,'007'), (3,2,'7'), (4,2,'W1'), (5,2,'w1');";

async fn i2_a_batch_that_comes_twice_leaves_the_same_contents(database: Database) {
    let bench = Bench::new(database, COMPOSITE, table(&["board_id", "mls"])).await;
    let keys: [&[&str]; 3] = [&["2", "W1"], &["9", "9"], &["1", "007"]];
    assert_eq!(bench.delete(&keys).await, [removed(1), Effect::Absent, removed(1)]);
    let left = bench.lines("SELECT board_id, mls FROM listings ORDER BY id").await;
    assert_eq!(left, ["1|7", "2|7", "2|w1"]);
    assert_eq!(bench.delete(&keys).await, [Effect::Absent, Effect::Absent, Effect::Absent]);
    assert_eq!(bench.lines("SELECT board_id, mls FROM listings ORDER BY id").await, left);
}

async fn i11_neighbours_beyond_the_floats_are_told_apart(database: Database) {
    let schema = "CREATE TABLE listings(id BIGINT PRIMARY KEY);
        INSERT INTO listings VALUES (9007199254740992), (9007199254740993);";
    let bench = Bench::new(database, schema, table(&["id"])).await;
    assert_eq!(bench.delete(&[&["9007199254740993"]]).await, [removed(1)]);
    assert_eq!(bench.lines("SELECT id FROM listings").await, ["9007199254740992"]);
}

async fn i6_a_key_that_does_not_fit_fails_alone(database: Database) {
    let bench = Bench::new(database, COMPOSITE, table(&["board_id", "mls"])).await;
    let keys: [&[&str]; 6] =
        [&["01", "7"], &["1.0", "7"], &[" 1", "7"], &["9223372036854775808", "7"], &["1"], &["1", "7"]];
    let effects = bench.delete(&keys).await;
    let codes: Vec<_> = effects.iter().map(code).collect();
    assert_eq!(codes, ["key_type", "key_type", "key_type", "key_type", "key_parts", ""]);
    assert_eq!(effects[5], removed(1));
    assert_eq!(bench.lines("SELECT count(*) FROM listings").await, ["4"]);
}

async fn i11_a_column_that_ignores_case_is_compared_byte_for_byte_all_the_same(database: Database) {
    let schema = "CREATE TABLE listings(id {loose} PRIMARY KEY); INSERT INTO listings VALUES ('ab');";
    let bench = Bench::new(database, schema, table(&["id"])).await;
    assert_eq!(bench.delete(&[&["AB"]]).await, [Effect::Absent]);
    assert_eq!(bench.delete(&[&["AB"], &["ab"]]).await, [Effect::Absent, removed(1)]);
}

async fn i11_any_text_is_a_key(database: Database) {
    let ids = [
        "NULL",
        "",
        "{a}",
        "a,b",
        "a\"b",
        "a\\b",
        "a\\",
        "it's",
        " a",
        "a ",
        "é",
        "e\u{301}",
        "\u{1F3E0}\n\t",
    ];
    let bench = Bench::new(database, "CREATE TABLE listings(id {key} PRIMARY KEY)", table(&["id"])).await;
    for id in ids.iter().filter(|id| !id.is_empty()) {
        bench.sql(&format!("INSERT INTO listings VALUES ('{}')", id.replace('\'', "''"))).await;
    }
    for id in ids.iter().filter(|id| !id.is_empty()).rev() {
        assert_eq!(bench.delete(&[&[id], &["none"]]).await, [removed(1), Effect::Absent], "{id:?}");
    }
    assert_eq!(bench.lines("SELECT count(*) FROM listings").await, ["0"]);
}

async fn i3_newer_stays_equal_and_older_and_unknown_go(database: Database) {
    let schema = "CREATE TABLE listings(id {key} PRIMARY KEY, updated_at {time});
        INSERT INTO listings VALUES ('newer','2023-11-14T22:13:20.000001Z'), ('equal','2023-11-14T22:13:20Z'),
        ('older','2023-11-14T23:13:19+01:00'), ('null',NULL);";
    let bench = Bench::new(database, schema, guarded(&["id"], None)).await;
    let keys: [&[&str]; 4] = [&["newer"], &["equal"], &["older"], &["null"]];
    let effects = bench.delete(&keys).await;
    assert_eq!(effects, [Effect::Newer, removed(1), removed(1), removed(1)]);
    assert_eq!(bench.lines("SELECT id FROM listings").await, ["newer"]);
}

async fn i3_what_is_no_time_fails_alone(database: Database) {
    let schema = "CREATE TABLE listings(id {key} PRIMARY KEY, updated_at {text});
        INSERT INTO listings VALUES ('a','now'), ('b','2020-01-01'), ('c','infinity');";
    let bench = Bench::new(database, schema, guarded(&["id"], None)).await;
    let effects = bench.delete(&[&["a"], &["b"], &["c"]]).await;
    let codes: Vec<_> = effects.iter().map(code).collect();
    assert_eq!(codes, ["guard_unreadable", "", "guard_unreadable"]);
    assert_eq!(bench.lines("SELECT id FROM listings ORDER BY id").await, ["a", "c"]);
}

async fn i3_number_guards_count_in_their_own_unit(database: Database) {
    for (format, declared, equal, newer) in [
        (TimeFormat::UnixSeconds, "BIGINT", "1700000000", "1700000001"),
        (TimeFormat::UnixMillis, "BIGINT", "1700000000000", "1700000000001"),
        (TimeFormat::UnixSeconds, "{real}", "1700000000", "1700000000.25"),
        (TimeFormat::UnixSeconds, "{text}", "1700000000", "1700000001"),
    ] {
        let schema = format!(
            "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at {declared});
             INSERT INTO listings VALUES (1,{equal}), (2,{newer});"
        );
        let bench = Bench::new(database, &schema, guarded(&["id"], Some(format))).await;
        let effects = bench.delete(&[&["1"], &["2"]]).await;
        assert_eq!(effects, [removed(1), Effect::Newer], "{format:?} {declared}");
    }
}

async fn soft_deletion_writes_the_time_of_the_deletion_once(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, deleted_at {text});
        INSERT INTO listings VALUES (1,NULL), (2,'2001-01-01'), (3,NULL);";
    let soft = Table { deleted_at: Some("deleted_at".to_owned()), ..table(&["id"]) };
    let bench = Bench::new(database, schema, soft).await;
    let expected = [removed(1), Effect::Absent, Effect::Absent];
    assert_eq!(bench.delete(&[&["1"], &["2"], &["8"]]).await, expected);
    let left = bench.lines("SELECT id, deleted_at FROM listings ORDER BY id").await;
    assert_eq!(left, ["1|2023-11-14T22:13:20Z", "2|2001-01-01", "3|NULL"]);
    assert_eq!(bench.delete(&[&["1"]]).await, [Effect::Absent]);
    assert_eq!(bench.lines("SELECT id, deleted_at FROM listings ORDER BY id").await, left);
    let endless = bench.apply(vec![removal(Action::Delete, &["3"], Timestamp::MIN)]).await.unwrap();
    assert_eq!(code(&endless[0]), "time_range");
}

fn deactivating() -> Table {
    let set = |name: &str, value| (name.to_owned(), value);
    let deactivate = vec![
        set("status", Value::Text("it's off".to_owned())),
        set("active", Value::Bool(false)),
        set("agent", Value::Null),
        set("level", Value::Integer(-1)),
        set("ended", Value::Now),
    ];
    Table { deactivate, ..guarded(&["id"], Some(TimeFormat::UnixSeconds)) }
}

async fn deactivation_sets_columns_and_respects_the_guard(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at INTEGER, status {text}, \
            active BOOLEAN, agent {text}, level NUMERIC(6,2), ended INTEGER);
        INSERT INTO listings VALUES (1,5,'on',true,'a',3,NULL), (2,1700000001,'on',true,'b',3,NULL);";
    let bench = Bench::new(database, schema, deactivating()).await;
    let batch = || ["1", "2", "3"].iter().map(|id| removal(Action::Deactivate, &[id], NOW)).collect();
    // As every database writes them.
    let columns = "id, updated_at, status, agent, CASE level WHEN -1 THEN '-1' WHEN 3 THEN '3' END, ended, \
        CASE WHEN active THEN '1' ELSE '0' END";
    for _ in 0..2 {
        let effects = bench.apply(batch()).await.unwrap();
        assert_eq!(effects, [Effect::Deactivated, Effect::Newer, Effect::Absent]);
        let left = bench.lines(&format!("SELECT {columns} FROM listings ORDER BY id")).await;
        assert_eq!(left, ["1|5|it's off|NULL|-1|1700000000|0", "2|1700000001|on|b|3|NULL|1"]);
    }
}

async fn i6_what_is_not_configured_fails_by_name_and_the_rest_is_done(database: Database) {
    let bench = Bench::new(database, COMPOSITE, table(&["board_id", "mls"])).await;
    let other = Removal { entity: Entity::new("deal"), ..delete(&["1", "7"]) };
    let marked = removal(Action::Deactivate, &["1", "007"], NOW);
    let effects = bench.apply(vec![other, marked, delete(&["2", "7"])]).await.unwrap();
    assert_eq!(effects.iter().map(code).collect::<Vec<_>>(), ["entity_unknown", "deactivate_unset", ""]);
    assert_eq!(effects[2], removed(1));
}

async fn batches_of_every_size_find_all_their_rows(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, mls {key} UNIQUE);";
    let bench = Bench::new(database, schema, table(&["mls"])).await;
    let rows: Vec<String> = (1..=2000).map(|id| format!("({id},'W{id}')")).collect();
    bench.sql(&format!("INSERT INTO listings VALUES {}", rows.join(", "))).await;
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

async fn i12_a_key_with_two_rows_rolls_the_batch_back(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, mls {key});
        INSERT INTO listings VALUES (1,'a'), (2,'a'), (3,'b');";
    let bench = Bench::new(database, schema, table(&["mls"])).await;
    let result = bench.apply(vec![delete(&["b"]), delete(&["a"])]).await;
    assert!(matches!(result, Err(TargetError::Refused { code: "key_not_unique", .. })), "{result:?}");
    assert_eq!(bench.lines("SELECT count(*) FROM listings").await, ["3"]);
    assert!(says(&bench.check().await, Severity::Fault, "CREATE UNIQUE INDEX "));
    assert_eq!(bench.delete(&[&["b"]]).await, [removed(1)]);
}

async fn names_are_quoted_whatever_they_hold(database: Database) {
    let schema = "CREATE TABLE \"lis\"\"t`; DROP TABLE x --\"(\"select\" INTEGER PRIMARY KEY, \"n'\" {text});
        INSERT INTO \"lis\"\"t`; DROP TABLE x --\" VALUES (1,'2020-01-01'), (2,NULL);";
    let odd = Table {
        table: "lis\"t`; DROP TABLE x --".to_owned(),
        guard: Some(Guard { column: "n'".to_owned(), format: None }),
        ..table(&["select"])
    };
    let bench = Bench::new(database, schema, odd).await;
    assert_eq!(bench.delete(&[&["1"], &["3"]]).await, [removed(1), Effect::Absent]);
    assert_eq!(bench.lines("SELECT \"select\" FROM \"lis\"\"t`; DROP TABLE x --\"").await, ["2"]);
}
