//! What children refer to, in types that only MariaDB and MySQL treat as they do.

use expunged::config::target::{Child, OnDelete, Table};

use super::super::bench::{child, delete, removed, table};
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
