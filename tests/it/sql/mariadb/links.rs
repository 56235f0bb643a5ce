//! What children refer to, in types that only MariaDB and MySQL treat as they do.

use expunged::config::target::{Child, OnDelete, Table};
use expunged::targets::{Effect, Severity};

use super::super::bench::{child, delete, removed, says, table};
use super::mariadb;

/// The child refers to `references` by its column `link`.
fn linked(references: &str) -> Child {
    Child { references: references.to_owned(), ..child("rooms", "link", OnDelete::Delete) }
}

/// The number is the shortest way to a row, and leads to none that has no number.
#[tokio::test]
async fn i12_a_row_without_the_number_that_children_refer_to_goes_by_its_key() {
    let schema = "CREATE TABLE listings(mls VARCHAR(9) PRIMARY KEY, number BIGINT UNIQUE, gone DATETIME);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, link BIGINT, KEY(link));
        INSERT INTO listings VALUES ('a',NULL,NULL), ('b',7,NULL), ('c',NULL,NULL); INSERT INTO rooms VALUES (10,7), (11,NULL);";
    let hard = Table { children: vec![linked("number")], ..table(&["mls"]) };
    for table in [Table { deleted_at: Some("gone".to_owned()), ..hard.clone() }, hard] {
        let Some(bench) = mariadb(schema, table).await else { return };
        let batch = vec![delete(&["a"]), delete(&["b"])];
        assert_eq!(bench.apply(batch).await.unwrap(), [removed(1), removed(2)]);
        assert_eq!(bench.lines("SELECT mls FROM listings WHERE gone IS NULL").await, ["c"]);
        assert_eq!(bench.lines("SELECT id FROM rooms").await, ["11"]);
    }
}

#[tokio::test]
async fn i11_children_refer_by_bytes_to_any_depth() {
    for (above, here) in [("BINARY(4)", "BINARY(4)"), ("VARBINARY(9)", "VARBINARY(4)")] {
        let schema = format!(
            "CREATE TABLE listings(mls VARCHAR(9) PRIMARY KEY, number {above} UNIQUE);
             CREATE TABLE rooms(id {above} PRIMARY KEY, link {here}, KEY(link));
             CREATE TABLE photos(id INTEGER PRIMARY KEY, room {here}, KEY(room));
             INSERT INTO listings VALUES ('a',x'FF00610A'), ('b',x'FF00410A'), ('c',x'27225C00'), ('d',NULL);
             INSERT INTO rooms VALUES (x'00000000',x'FF00610A'), (x'00000001',x'FF00410A'), (x'80000002',x'27225C00'), (x'FFFFFFFF',NULL);
             INSERT INTO photos VALUES (1,x'00000000'), (2,x'80000002'), (3,x'80000002'), (4,x'FFFFFFFF');"
        );
        let rooms = Child { children: vec![child("photos", "room", OnDelete::Delete)], ..linked("number") };
        let Some(bench) = mariadb(&schema, Table { children: vec![rooms], ..table(&["mls"]) }).await else {
            return;
        };
        let effects = bench.delete(&[&["a"], &["c"], &["d"]]).await;
        assert_eq!(effects, [removed(3), removed(4), removed(1)], "{above} {here}");
        assert_eq!(bench.lines("SELECT hex(id) FROM rooms ORDER BY id").await, ["00000001", "FFFFFFFF"]);
        assert_eq!(bench.lines("SELECT id FROM photos").await, ["4"]);
        assert!(!says(&bench.check().await, Severity::Fault, "exactly"));
    }
}

#[tokio::test]
async fn children_of_a_column_that_no_statement_can_say_are_refused_by_name() {
    for declared in ["DATE", "DATETIME(6)", "TIME", "BIT(8)", "YEAR", "DECIMAL(9,2)", "FLOAT"] {
        let schema = format!(
            "CREATE TABLE listings(id INTEGER PRIMARY KEY, number {declared} UNIQUE);
             CREATE TABLE rooms(id INTEGER PRIMARY KEY, link {declared}, KEY(link));
             INSERT INTO listings(id) VALUES (1);"
        );
        let table = Table { children: vec![linked("number")], ..table(&["id"]) };
        let Some(bench) = mariadb(&schema, table).await else { return };
        let effects = bench.delete(&[&["1"]]).await;
        let named =
            |said: &str| said.contains("`link` has no exact type") && said.contains("declare it BIGINT");
        assert!(matches!(&effects[..], [Effect::Unfit(said)] if named(said)), "{declared}: {effects:?}");
        assert!(
            says(&bench.check().await, Severity::Fault, "does not tell rows apart exactly"),
            "{declared}"
        );
    }
}
