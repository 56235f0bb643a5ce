//! What only MariaDB and MySQL do to us.

mod drift;
mod links;

use expunged::config::target::{OnDelete, Table, Value};
use expunged::domain::{Action, Entity, Key, Timestamp};
use expunged::targets::{Batch, Effect, Identified, Severity, Target as _, TargetError};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::bench::{
    Bench, Database, NOW, child, code, delete, guarded, removal, removed, says, table, target, with_children,
};
use crate::support::servers::{Server, mariadb::is_mysql};

const LISTINGS: &str = "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at DATETIME(6));
    INSERT INTO listings(id) VALUES (1), (2), (3);";

async fn mariadb(schema: &str, table: Table) -> Option<Bench> {
    if !Database::MariaDb.available() {
        return None;
    }
    Some(Bench::new(Database::MariaDb, schema, table).await)
}

async fn left(bench: &Bench) -> Vec<String> {
    bench.lines("SELECT id FROM listings ORDER BY id").await
}

/// Another connection of the owner's.
async fn owner(bench: &Bench) -> MySqlConnection {
    MySqlConnection::connect(&bench.url()).await.unwrap()
}

async fn say(connection: &mut MySqlConnection, sql: &str) {
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// The servers cut a number that is too great to the greatest one, write a question mark for a letter that a
/// charset does not have, and pad.
#[tokio::test]
async fn i11_a_key_of_every_exact_type_names_its_row_and_no_other() {
    for (declared, key, held, others) in [
        ("BIGINT", "9223372036854775807", "9223372036854775807", vec!["9223372036854775806"]),
        (
            "BIGINT UNSIGNED",
            "18446744073709551615",
            "18446744073709551615",
            vec!["18446744073709551616", "-1"],
        ),
        ("INTEGER", "2147483647", "2147483647", vec!["2147483648", "99999999999", "-7"]),
        ("SMALLINT UNSIGNED", "0", "0", vec!["-1", "65536"]),
        ("INTEGER(6) ZEROFILL", "7", "7", vec!["70"]),
        (
            "DECIMAL(30,0)",
            "123456789012345678901234567890",
            "123456789012345678901234567890",
            vec!["123456789012345678901234567891"],
        ),
        (
            "UUID",
            "550e8400-e29b-41d4-a716-446655440000",
            "550e8400-e29b-41d4-a716-446655440000",
            vec!["550e8400-e29b-41d4-a716-446655440001"],
        ),
        ("VARCHAR(4) CHARACTER SET latin1", "W?", "W?", vec!["W☃", "W", "w?", "W? ", "W?   "]),
        ("VARCHAR(4) CHARACTER SET latin1", "é", "é", vec!["e", "É", "e\u{301}"]),
        ("VARCHAR(4) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "ab", "ab", vec!["ab ", "AB", "abcde"]),
        ("CHAR(5)", "ab", "ab", vec!["AB", "abcdef"]),
        ("ENUM('sale','it''s') COLLATE utf8mb4_general_ci", "it's", "it''s", vec!["sale"]),
    ] {
        if declared == "UUID" && is_mysql() {
            continue;
        }
        let schema = format!(
            "CREATE TABLE listings(id {declared} PRIMARY KEY); INSERT INTO listings VALUES ('{held}');"
        );
        let Some(bench) = mariadb(&schema, table(&["id"])).await else { return };
        for other in others {
            assert_eq!(bench.delete(&[&[other]]).await, [Effect::Absent], "{declared} {other}");
        }
        assert_eq!(bench.delete(&[&[key]]).await, [removed(1)], "{declared}");
        let found = bench.check().await;
        assert!(found.iter().all(|finding| finding.severity != Severity::Fault), "{declared}: {found:#?}");
    }
}

#[tokio::test]
async fn i11_types_that_keep_no_key_exactly_are_refused() {
    for declared in ["DOUBLE", "DATETIME", "BINARY(16)", "DECIMAL(9,2)"] {
        let schema = format!("CREATE TABLE listings(id {declared} PRIMARY KEY);");
        let Some(bench) = mariadb(&schema, table(&["id"])).await else { return };
        assert_eq!(code(&bench.delete(&[&["9007199254740993"]]).await[0]), "schema", "{declared}");
        assert!(says(&bench.check().await, Severity::Fault, "does not hold keys exactly"), "{declared}");
    }
}

#[tokio::test]
async fn children_in_another_charset_are_found_all_the_same() {
    let schema = "CREATE TABLE listings(id VARCHAR(20) COLLATE utf8mb4_bin PRIMARY KEY);
        CREATE TABLE rooms(id VARCHAR(20) CHARACTER SET latin1 PRIMARY KEY, listing_id VARCHAR(20) CHARACTER SET latin1, KEY(listing_id));
        CREATE TABLE photos(id INTEGER PRIMARY KEY, room_id VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci, KEY(room_id));
        INSERT INTO listings VALUES ('é'), ('☃'), ('?');
        INSERT INTO rooms VALUES ('r1','é'), ('r2','É'), ('r3','?');
        INSERT INTO photos VALUES (1,'r1'), (2,'r1'), (3,'R1'), (4,'r3');";
    let photos = child("photos", "room_id", OnDelete::Delete);
    let rooms = expunged::config::target::Child {
        children: vec![photos],
        ..child("rooms", "listing_id", OnDelete::Delete)
    };
    let Some(bench) = mariadb(schema, with_children(vec![rooms])).await else { return };
    assert_eq!(bench.delete(&[&["é"], &["☃"]]).await, [removed(4), removed(1)]);
    assert_eq!(bench.lines("SELECT id FROM rooms ORDER BY id").await, ["r2", "r3"]);
    assert_eq!(bench.lines("SELECT id FROM photos ORDER BY id").await, ["3", "4"]);
}

#[tokio::test]
async fn rows_are_told_by_table_and_other_identifiers_name_their_record() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, board INTEGER(6) ZEROFILL, mls VARCHAR(9), slug VARCHAR(20), UNIQUE(board, mls), KEY(slug));
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER, KEY(listing_id));
        CREATE TABLE photos(id INTEGER PRIMARY KEY, room_id INTEGER, KEY(room_id));
        INSERT INTO listings VALUES (1,7,'007','elm'), (2,7,'8','same'), (3,7,'9','same');
        INSERT INTO rooms VALUES (10,1), (11,1), (12,2); INSERT INTO photos VALUES (20,10), (21,11), (22,11);";
    let photos = child("photos", "room_id", OnDelete::Delete);
    let rooms = expunged::config::target::Child {
        children: vec![photos],
        ..child("rooms", "listing_id", OnDelete::Delete)
    };
    let table = Table {
        children: vec![rooms],
        alternates: [("slug".to_owned(), vec!["slug".to_owned()])].into(),
        ..table(&["board", "mls"])
    };
    let Some(bench) = mariadb(schema, table).await else { return };
    let batch = vec![delete(&["7", "007"]), delete(&["7", "8"]), delete(&["7", "x"])];
    let foreseen = bench.target.foresee(&batch).await.unwrap();
    let tables = |rows: [u64; 3]| {
        let names = ["listings", "rooms", "photos"].map(str::to_owned);
        names.into_iter().zip(rows).collect::<Vec<_>>()
    };
    assert_eq!((&foreseen[0].tables, &foreseen[1].tables), (&tables([1, 2, 3]), &tables([1, 1, 0])));
    assert_eq!(foreseen[2].tables, []);
    let key = |parts: &[&str]| Key::new(parts.iter().map(ToString::to_string).collect()).unwrap();
    let asked = ["elm", "ELM", "same", "none"].map(|slug| key(&[slug]));
    let told = bench.target.look_up(&Entity::new("listing"), "slug", &asked).await.unwrap();
    let elm = Identified::Key(key(&["7", "007"]));
    assert_eq!(told, [elm, Identified::Nobody, Identified::Several, Identified::Nobody]);
    let told: Vec<Effect> = foreseen.into_iter().map(|foreseen| foreseen.effect).collect();
    assert_eq!(bench.apply(batch).await.unwrap(), told);
}

#[tokio::test]
async fn tables_without_transactions_are_refused_and_told() {
    let engines: &[&str] = if is_mysql() { &["MyISAM"] } else { &["MyISAM", "Aria"] };
    for engine in engines {
        let schema = format!(
            "CREATE TABLE listings(id INTEGER PRIMARY KEY); CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER, KEY(listing_id)) ENGINE={engine};
             INSERT INTO listings VALUES (1); INSERT INTO rooms VALUES (10,1);"
        );
        let children = vec![child("rooms", "listing_id", OnDelete::Delete)];
        let Some(bench) = mariadb(&schema, with_children(children)).await else { return };
        assert_eq!(code(&bench.delete(&[&["1"]]).await[0]), "schema", "{engine}");
        assert_eq!(bench.lines("SELECT count(*) FROM rooms").await, ["1"]);
        assert!(says(&bench.check().await, Severity::Fault, "ENGINE = InnoDB"));
        bench.sql("ALTER TABLE rooms ENGINE = InnoDB").await;
        assert_eq!(bench.delete(&[&["1"]]).await, [removed(2)], "noticed without a restart");
    }
}

#[tokio::test]
async fn check_tells_of_history_partitions_and_columns_that_change_themselves() {
    // MySQL keeps no history.
    let history = if is_mysql() { "" } else { "WITH SYSTEM VERSIONING" };
    let schema = format!(
        "CREATE TABLE listings(id INTEGER PRIMARY KEY,
            updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP) {history};
         CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER) PARTITION BY HASH(id) PARTITIONS 4;"
    );
    let table =
        Table { children: vec![child("rooms", "listing_id", OnDelete::Delete)], ..guarded(&["id"], None) };
    let Some(bench) = mariadb(&schema, table).await else { return };
    let found = bench.check().await;
    assert_eq!(says(&found, Severity::Warning, "stays in it as history"), !is_mysql(), "{found:#?}");
    assert!(says(&found, Severity::Note, "is partitioned"), "{found:#?}");
    assert!(says(&found, Severity::Warning, "time of our own copying"), "{found:#?}");
    assert!(
        says(&found, Severity::Warning, "CREATE INDEX `rooms_listing_id` ON `rooms` (`listing_id`);"),
        "{found:#?}"
    );
    bench.sql("CREATE INDEX \"rooms_listing_id\" ON \"rooms\" (\"listing_id\")").await;
    assert!(!says(&bench.check().await, Severity::Warning, "has no index"));
}

#[tokio::test]
async fn check_tells_of_keys_that_are_one_to_the_table() {
    let schema = "CREATE TABLE listings(id VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY);";
    let Some(bench) = mariadb(schema, table(&["id"])).await else { return };
    assert!(says(&bench.check().await, Severity::Warning, "utf8mb4_general_ci"));
    bench.sql("ALTER TABLE listings MODIFY id VARCHAR(20) COLLATE utf8mb4_bin").await;
    assert!(!says(&bench.check().await, Severity::Warning, "differ in case"));
}

#[tokio::test]
async fn an_index_over_the_beginnings_of_keys_is_not_unique_over_keys() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, mls VARCHAR(50), UNIQUE(mls(3)));";
    let Some(bench) = mariadb(schema, table(&["mls"])).await else { return };
    assert!(says(&bench.check().await, Severity::Fault, "no unique index holds exactly `mls`"));
}

/// Whatever zone the server is in, and in the notation that the column reads.
#[tokio::test]
async fn i3_columns_of_times_are_read_and_written_as_utc() {
    for declared in ["DATETIME(6)", "TIMESTAMP(6) NULL"] {
        let schema = format!(
            "SET time_zone = '+00:00';
             CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at {declared}, gone {declared}, ended DATETIME);
             INSERT INTO listings VALUES (1,'2023-11-14 22:13:20',NULL,NULL), (2,'2023-11-14 22:13:20.000001',NULL,NULL), (3,NULL,NULL,NULL), (4,NULL,NULL,NULL);"
        );
        let table = Table {
            deleted_at: Some("gone".to_owned()),
            deactivate: vec![("ended".to_owned(), Value::Now)],
            ..guarded(&["id"], None)
        };
        let Some(bench) = mariadb(&schema, table).await else { return };
        assert_eq!(bench.delete(&[&["1"], &["2"], &["3"]]).await, [removed(1), Effect::Newer, removed(1)]);
        let fine = Timestamp::from_micros(NOW.micros() + 869_000);
        let marked = bench.apply(vec![removal(Action::Deactivate, &["4"], fine)]).await.unwrap();
        assert_eq!(marked, [Effect::Deactivated], "{declared}");
        let left = "SELECT id, gone, ended FROM listings ORDER BY id";
        let written =
            ["1|2023-11-14 22:13:20.000000|NULL", "2|NULL|NULL", "3|2023-11-14 22:13:20.000000|NULL"];
        let mut expected = written.map(str::to_owned).to_vec();
        let ended = bench.lines("SELECT ended FROM listings WHERE id = 4").await;
        assert!(["2023-11-14 22:13:20", "2023-11-14 22:13:21"].contains(&ended[0].as_str()), "{ended:?}");
        expected.push(format!("4|NULL|{}", ended[0]));
        assert_eq!(bench.lines(left).await, expected, "{declared}");
    }
}

#[tokio::test]
async fn i3_our_own_mark_is_no_news_from_upstream() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, status VARCHAR(9), room INTEGER,
            updated_at TIMESTAMP NULL DEFAULT '2020-01-01' ON UPDATE CURRENT_TIMESTAMP);
        INSERT INTO listings(id, status) VALUES (1,'on');";
    let table = Table {
        deactivate: vec![("status".to_owned(), Value::Text("off".to_owned()))],
        ..guarded(&["id"], None)
    };
    let Some(bench) = mariadb(schema, table).await else { return };
    let marked = bench.apply(vec![removal(Action::Deactivate, &["1"], NOW)]).await.unwrap();
    assert_eq!(marked, [Effect::Deactivated]);
    assert_eq!(bench.lines("SELECT status, date(updated_at) FROM listings").await, ["off|2020-01-01"]);
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)]);
}

#[tokio::test]
async fn i10_what_a_trigger_raises_refuses_the_record_and_is_not_repeated() {
    let schema = format!(
        "{LISTINGS} CREATE TRIGGER no BEFORE DELETE ON listings FOR EACH ROW
         IF old.id = 2 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'booked by Smith'; END IF;"
    );
    let Some(bench) = mariadb(&schema, table(&["id"])).await else { return };
    let refused = bench.apply(vec![delete(&["1"]), delete(&["2"])]).await.unwrap_err();
    assert!(matches!(refused, TargetError::Refused { code: "trigger", .. }), "{refused:?}");
    assert!(!refused.to_string().contains("Smith"));
    assert_eq!(left(&bench).await, ["1", "2", "3"]);
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)]);
    assert!(says(&bench.check().await, Severity::Warning, "triggers (no)"));
}

#[tokio::test]
async fn i12_a_trigger_that_writes_a_row_back_is_told_and_the_others_go() {
    let schema = format!(
        "{LISTINGS} CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER); INSERT INTO rooms VALUES (10,1), (20,2);
         CREATE TRIGGER back AFTER DELETE ON listings FOR EACH ROW INSERT INTO rooms SELECT 20, 2 FROM DUAL WHERE old.id = 2;"
    );
    let children = vec![child("rooms", "listing_id", OnDelete::Delete)];
    let Some(bench) = mariadb(&schema, with_children(children)).await else { return };
    let effects = bench.delete(&[&["1"], &["2"], &["3"]]).await;
    assert_eq!((&effects[0], code(&effects[1]), &effects[2]), (&removed(2), "still_there", &removed(1)));
    assert_eq!(left(&bench).await, ["2"]);
}

/// A second row takes the key between the lock and the deletion: a child's trigger writes it. Where children refer to
/// a number that every row has, it tells the rows apart, and the record is told as still there; where not, nothing goes.
#[tokio::test]
async fn i12_a_second_row_of_a_key_that_comes_meanwhile_is_never_taken() {
    for declared in ["INTEGER NOT NULL", "INTEGER", "VARCHAR(9)"] {
        let schema = format!(
            "CREATE TABLE listings(id INTEGER AUTO_INCREMENT PRIMARY KEY, mls VARCHAR(9), ref {declared} UNIQUE);
             CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing {declared}, KEY(listing));
             INSERT INTO listings VALUES (1,'a',7), (2,'b',8); INSERT INTO rooms VALUES (10,7);
             CREATE TRIGGER twice AFTER DELETE ON rooms FOR EACH ROW INSERT INTO listings(mls, ref) VALUES ('a', 9);"
        );
        let rooms = expunged::config::target::Child {
            references: "ref".to_owned(),
            ..child("rooms", "listing", OnDelete::Delete)
        };
        let table = Table { children: vec![rooms], ..table(&["mls"]) };
        let Some(bench) = mariadb(&schema, table).await else { return };
        let result = bench.apply(vec![delete(&["a"]), delete(&["b"])]).await;
        if declared == "INTEGER NOT NULL" {
            let effects = result.unwrap();
            assert_eq!((code(&effects[0]), &effects[1]), ("still_there", &removed(1)));
            assert_eq!(left(&bench).await, ["1"]);
        } else {
            let refused = matches!(result, Err(TargetError::Refused { code: "key_not_unique", .. }));
            assert!(refused, "{result:?}");
            assert_eq!(left(&bench).await, ["1", "2"]);
        }
    }
}

/// A lock that is waited for too long ends the statement alone; the whole transaction must be.
#[tokio::test]
async fn i2_a_locked_row_is_waited_for_and_never_skipped() {
    let Some(bench) = mariadb(LISTINGS, table(&["id"])).await else { return };
    let mut holder = owner(&bench).await;
    say(&mut holder, "BEGIN; SELECT 1 FROM listings WHERE id = 2 FOR UPDATE").await;
    let result = bench.apply(vec![delete(&["1"]), delete(&["2"])]).await;
    assert!(matches!(result, Err(TargetError::Unavailable(_))), "{result:?}");
    say(&mut holder, "UPDATE listings SET updated_at = NULL WHERE id = 1").await;
    assert_eq!(left(&bench).await, ["1", "2", "3"], "none without the other, and none is held");
    say(&mut holder, "COMMIT").await;
    assert_eq!(bench.delete(&[&["1"], &["2"]]).await, [removed(1), removed(1)]);
}

#[tokio::test]
async fn a_child_that_is_written_meanwhile_waits_for_the_deletion_or_goes_with_it() {
    let schema = format!(
        "{LISTINGS} CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id));"
    );
    let children = vec![child("rooms", "listing_id", OnDelete::Delete)];
    let Some(bench) = mariadb(&schema, with_children(children)).await else { return };
    let mut importer = owner(&bench).await;
    say(&mut importer, "BEGIN; INSERT INTO rooms VALUES (10,1)").await;
    let (batch, commit) = ([delete(&["1"]), delete(&["2"])].to_vec(), say(&mut importer, "COMMIT"));
    let (effects, ()) = tokio::join!(bench.apply(batch), commit);
    let effects = effects.unwrap();
    assert!(effects[0] == removed(2) && effects[1] == removed(1), "{effects:?}");
    assert_eq!(bench.lines("SELECT count(*) FROM rooms").await, ["0"]);
}

/// The rights that the README names suffice, and a server that takes no writes is no reason to give up.
#[tokio::test]
async fn least_privilege_suffices_and_a_read_only_server_is_waited_for() {
    if !Database::MariaDb.available() {
        return;
    }
    // What it told as committed must outlive it.
    let durable = ["--innodb-flush-log-at-trx-commit=2"];
    let server = Server::start_with(Database::MariaDb.kind(), &durable).await;
    let database = server.database().await;
    database.sql(LISTINGS).await;
    database
        .sql(
            "CREATE TABLE images(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id));
             CREATE TABLE bookings(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id));
             INSERT INTO images VALUES (10,1); INSERT INTO bookings VALUES (20,1);",
        )
        .await;
    for line in grants() {
        let name = database.url.rsplit('/').next().unwrap();
        database.sql(&line.replace("replica.", &format!("{name}."))).await;
    }
    let url = database.url.replace("root@", "expunged:secret@");
    let target = target(
        &url,
        with_children(vec![
            child("images", "listing_id", OnDelete::Delete),
            child("bookings", "listing_id", OnDelete::Nullify),
        ]),
    );
    let apply = |key: &'static str| {
        let batch = Batch { number: 1, removals: vec![delete(&[key])] };
        let target = &target;
        async move { target.apply(&batch).await }
    };
    assert_eq!(apply("1").await.unwrap(), [removed(2)]);
    assert!(target.check().await.unwrap().iter().all(|finding| finding.severity != Severity::Fault));
    database.sql("SET GLOBAL read_only = 1").await;
    let refused = apply("2").await;
    assert!(matches!(refused, Err(TargetError::Unavailable(_))), "{refused:?}");
    database.sql("SET GLOBAL read_only = 0").await;
    assert_eq!(apply("2").await.unwrap(), [removed(1)]);
    server.kill().await;
    let gone = apply("3").await;
    assert!(matches!(gone, Err(TargetError::Unavailable(_))), "{gone:?}");
    server.restart().await;
    assert_eq!(apply("3").await.unwrap(), [removed(1)]);
}

/// The statements of the README, one a line.
fn grants() -> Vec<String> {
    let readme = crate::support::text_of("README.md");
    let block = readme.split("```sql\n").find(|block| block.starts_with("CREATE USER")).unwrap();
    block.split("```").next().unwrap().lines().map(str::to_owned).collect()
}
