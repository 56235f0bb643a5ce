//! What is told before a deletion: which rows would go, and which record another identifier names.

use expunged::config::target::{Child, OnDelete, Table};
use expunged::domain::{Entity, Key};
use expunged::targets::{Effect, Identified, Target as _};

use super::bench::{Bench, Database, child, delete, guarded, removed};

super::on_every_database!(rows_are_told_by_table, i11_an_identifier_names_one_record_exactly_or_none);

const SCHEMA: &str = "CREATE TABLE listings(id INTEGER PRIMARY KEY, board INTEGER, number {key}, slug {key}, updated_at {text}, UNIQUE(board, number));
    CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER);
    CREATE TABLE photos(id INTEGER PRIMARY KEY, room_id INTEGER);
    INSERT INTO listings VALUES (1,2,'W1','elm-1','2020-01-01'), (2,2,'007','elm-2','2100-01-01'), (3,3,'W3','same',NULL), (4,3,'W4','same',NULL);
    INSERT INTO rooms VALUES (10,1), (11,1), (12,2); INSERT INTO photos VALUES (20,10), (21,11), (22,11), (23,12);";

fn listings() -> Table {
    let photos = child("photos", "room_id", OnDelete::Delete);
    let rooms = Child { children: vec![photos], ..child("rooms", "listing_id", OnDelete::Delete) };
    let alternates =
        [("slug".to_owned(), vec!["slug".to_owned()]), ("row".to_owned(), vec!["id".to_owned()])];
    Table { children: vec![rooms], alternates: alternates.into(), ..guarded(&["board", "number"], None) }
}

async fn rows_are_told_by_table(database: Database) {
    let bench = Bench::new(database, SCHEMA, listings()).await;
    let keys: [&[&str]; 4] = [&["3", "W3"], &["2", "007"], &["2", "W1"], &["9", "W9"]];
    let removals: Vec<_> = keys.iter().map(|key| delete(key)).collect();
    let foreseen = bench.target.foresee(&removals).await.unwrap();
    assert_eq!(bench.lines("SELECT count(*) FROM listings").await, ["4"]);
    let rows = |rows: [u64; 3]| {
        ["listings", "rooms", "photos"].map(ToOwned::to_owned).into_iter().zip(rows).collect::<Vec<_>>()
    };
    let tables: Vec<_> = foreseen.iter().map(|it| it.tables.clone()).collect();
    assert_eq!(tables, [rows([1, 0, 0]), vec![], rows([1, 2, 3]), vec![]]);
    let told: Vec<Effect> = foreseen.into_iter().map(|it| it.effect).collect();
    assert_eq!(told, [removed(1), Effect::Newer, removed(6), Effect::Absent]);
    assert_eq!(told, bench.apply(removals).await.unwrap());
}

async fn i11_an_identifier_names_one_record_exactly_or_none(database: Database) {
    let bench = Bench::new(database, SCHEMA, listings()).await;
    let key = |parts: &[&str]| Key::new(parts.iter().map(ToString::to_string).collect()).unwrap();
    let look_up = async |name: &str, ids: &[&str]| {
        let ids: Vec<Key> = ids.iter().map(|id| key(&[id])).collect();
        bench.target.look_up(&Entity::new("listing"), name, &ids).await.unwrap()
    };
    let found = |parts: &[&str]| Identified::Key(key(parts));
    assert_eq!(
        look_up("slug", &["elm-2", "ELM-1", "same", "a' OR 1"]).await,
        [found(&["2", "007"]), Identified::Nobody, Identified::Several, Identified::Nobody]
    );
    assert_eq!(
        look_up("row", &["1", "01", "9"]).await,
        [found(&["2", "W1"]), Identified::Unfit, Identified::Nobody]
    );
}
