//! What is told before a deletion: which rows would go, and which record another identifier names.

use super::*;
use crate::targets::Identified;
use crate::targets::Severity::{Fault, Warning};

const SCHEMA: &str = "
CREATE TABLE listings (
    id INTEGER PRIMARY KEY, board INTEGER NOT NULL, number TEXT NOT NULL, slug TEXT COLLATE NOCASE,
    provider TEXT, provider_id INTEGER, updated_at TEXT, gone TEXT, UNIQUE (board, number));
CREATE TABLE \"odd\"\"name\" (id INTEGER PRIMARY KEY, listing_id INTEGER);
CREATE TABLE marks (odd_id INTEGER);
CREATE TABLE notes (listing_id INTEGER, other_id INTEGER REFERENCES listings (id) ON DELETE CASCADE);
INSERT INTO listings (id, board, number, slug, provider, provider_id, updated_at) VALUES
  (1, 2, 'W1', 'elm-street-1', 'a', 1, '2020-01-01T00:00:00Z'),
  (2, 2, '007', 'elm-street-2', 'a', 2, '2100-01-01T00:00:00Z'),
  (3, 3, 'W3', 'same', 'b', 1, '2020-01-01T00:00:00Z'),
  (4, 3, 'W4', 'same', NULL, NULL, '2020-01-01T00:00:00Z');
INSERT INTO \"odd\"\"name\" VALUES (1, 1), (2, 1), (3, 3);
INSERT INTO marks VALUES (1), (1), (2), (3);
INSERT INTO notes VALUES (1, NULL), (NULL, 1), (1, 1), (3, NULL);
";

fn listings() -> Table {
    let below = Child { column: "odd_id".into(), ..child("marks", "", OnDelete::Delete) };
    let odd = Child { children: vec![below], ..child("odd\"name", "listing_id", OnDelete::Delete) };
    let notes = child("notes", "listing_id", OnDelete::Delete);
    let columns = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let alternates = [
        ("slug", columns(&["slug"])),
        ("row", columns(&["id"])),
        ("provider", columns(&["provider", "provider_id"])),
        ("missing", columns(&["no_such_column"])),
    ];
    Table {
        children: vec![odd, notes],
        alternates: alternates.map(|(name, columns)| (name.to_owned(), columns)).into(),
        ..guarded(&["board", "number"], None)
    }
}

#[tokio::test]
async fn rows_are_told_by_table_and_are_those_that_go() {
    let mut bench = Bench::new(SCHEMA, listings()).await;
    let keys: [&[&str]; 5] = [&["2", "W1"], &["2", "007"], &["3", "W3"], &["3", "W9"], &["x", "W1"]];
    let removals: Vec<Removal> = keys.iter().map(|key| delete(key)).collect();
    let before = bench.lines("SELECT count(*), (SELECT count(*) FROM notes) FROM listings").await;
    let foreseen = bench.target.foresee(&removals).await.unwrap();
    assert_eq!(bench.lines("SELECT count(*), (SELECT count(*) FROM notes) FROM listings").await, before);

    let tables = |n: usize| foreseen[n].tables.clone();
    let rows = |rows: [u64; 4]| {
        let names = ["listings", "odd\"name", "marks", "notes"].map(ToOwned::to_owned);
        names.into_iter().zip(rows).collect::<Vec<_>>()
    };
    // The note that refers to the listing in both ways is reached twice.
    assert_eq!(tables(0), rows([1, 2, 3, 4]));
    assert_eq!(tables(2), rows([1, 1, 1, 1]));
    assert_eq!((tables(1), tables(3), tables(4)), (vec![], vec![], vec![]));
    let told: Vec<Effect> = foreseen.into_iter().map(|it| it.effect).collect();
    assert_eq!(told[1], Effect::Newer);
    assert_eq!(told, bench.apply(removals).await.unwrap());
}

#[tokio::test]
async fn i11_an_identifier_names_one_record_exactly_or_none() {
    let mut bench = Bench::new(SCHEMA, listings()).await;
    let entity = Entity::new("listing");
    let key = |parts: &[&str]| Key::new(parts.iter().map(ToString::to_string).collect()).unwrap();
    let found = |parts: &[&str]| Identified::Key(key(parts));
    let look_up = async |name: &str, ids: &[&[&str]]| {
        let ids: Vec<Key> = ids.iter().map(|parts| key(parts)).collect();
        bench.target.look_up(&entity, name, &ids).await
    };
    assert_eq!(
        look_up("slug", &[&["elm-street-2"], &["ELM-street-1"], &["same"], &["elm-street-1"], &["a' OR 1"]])
            .await
            .unwrap(),
        [
            found(&["2", "007"]),
            Identified::Nobody,
            Identified::Several,
            found(&["2", "W1"]),
            Identified::Nobody
        ]
    );
    assert_eq!(
        look_up("row", &[&["1"], &["01"], &["9"], &["1", "2"]]).await.unwrap(),
        [found(&["2", "W1"]), Identified::Unfit, Identified::Nobody, Identified::Unfit]
    );
    assert_eq!(
        look_up("provider", &[&["b", "1"], &["a", "2"], &["b", "2"]]).await.unwrap(),
        [found(&["3", "W3"]), found(&["2", "007"]), Identified::Nobody]
    );
    assert_eq!(look_up("slug", &[]).await.unwrap(), []);
    for (name, what) in [("missing", "no column"), ("unheard-of", "no identifier")] {
        let error = look_up(name, &[&["1"]]).await.unwrap_err();
        assert!(matches!(&error, TargetError::Misconfigured(told) if told.contains(what)), "{error}");
    }
    assert_eq!(bench.delete(&[&["2", "W1"]]).await, [removed(10)], "a wrong one stops no deletion");

    let marked = Table { deleted_at: Some("gone".into()), children: vec![], ..listings() };
    bench.sql("UPDATE listings SET gone = '2024-01-01' WHERE id = 4").await;
    let marked = target(&bench.path, marked);
    assert_eq!(marked.look_up(&entity, "slug", &[key(&["same"])]).await.unwrap(), [found(&["3", "W3"])]);
}

#[tokio::test]
async fn identifiers_without_a_column_or_an_index_are_told() {
    let bench = Bench::new(SCHEMA, listings()).await;
    let told = bench.target.check().await.unwrap();
    let told: Vec<_> = told
        .iter()
        .filter_map(|it| Some((it.place.split_once("alternates.")?.1, it.severity, it.what.as_str())))
        .collect();
    let names: Vec<_> = told.iter().map(|(name, severity, _)| (*name, *severity)).collect();
    assert_eq!(names, [("missing", Fault), ("provider", Warning), ("slug", Warning)]);
}
