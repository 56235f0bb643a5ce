//! Whether SQLite is asked to look after foreign keys.

use super::*;
use OnDelete::{Delete, Keep, Nullify};

const FAMILY: &str = "CREATE TABLE listings(id INTEGER PRIMARY KEY);
    CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id));
    CREATE TABLE photos(id INTEGER PRIMARY KEY, room_id INTEGER REFERENCES rooms(id));
    CREATE TABLE tags(id INTEGER PRIMARY KEY, photo_id INTEGER REFERENCES photos(id));
    CREATE TABLE bookings(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id));
    CREATE TABLE visits(id INTEGER PRIMARY KEY, listing_id INTEGER);
    INSERT INTO listings VALUES (1), (2), (3);
    INSERT INTO rooms VALUES (10,1), (11,1), (12,2);
    INSERT INTO photos VALUES (20,10), (21,11), (22,12), (23,NULL);
    INSERT INTO tags VALUES (30,20), (31,20), (32,22);
    INSERT INTO bookings VALUES (40,1), (41,2);
    INSERT INTO visits VALUES (50,1), (51,2);";

fn family() -> Table {
    let tags = child("tags", "photo_id", Delete);
    let photos = Child { children: vec![tags], ..child("photos", "room_id", Delete) };
    let rooms = Child { children: vec![photos], ..child("rooms", "listing_id", Delete) };
    with_children(vec![rooms, child("bookings", "listing_id", Nullify), child("visits", "listing_id", Keep)])
}

/// Whether the target would do without the database's own foreign keys.
async fn covered(schema: &str, table: Table) -> bool {
    let bench = Bench::new(schema, table).await;
    let open = bench.target.take(&mut None).await.unwrap();
    open.prepared[&Entity::new("listing")].as_ref().unwrap().0.covered
}

#[tokio::test]
async fn foreign_keys_are_left_aside_only_where_the_statements_take_all_that_refers() {
    assert!(covered(FAMILY, family()).await);
    let rooms = || Table { deleted_at: None, ..with_children(vec![child("rooms", "listing_id", Delete)]) };
    let two = "CREATE TABLE listings(id INTEGER PRIMARY KEY, agent INTEGER REFERENCES agents(id), gone TEXT);
        CREATE TABLE agents(id INTEGER PRIMARY KEY);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id));";
    assert!(covered(two, rooms()).await);
    assert!(!covered(two, with_children(vec![])).await, "rooms refer to it");
    assert!(!covered(two, with_children(vec![child("rooms", "listing_id", Keep)])).await, "rooms stay");
    for (more, why) in [
        ("CREATE TABLE keys(room INTEGER REFERENCES rooms(id));", "what refers to the rooms is not told"),
        ("CREATE TABLE notes(listing INTEGER REFERENCES listings(id));", "notes are not told"),
        ("CREATE TRIGGER t AFTER DELETE ON rooms BEGIN DELETE FROM agents; END;", "a trigger does more"),
        ("CREATE TRIGGER t AFTER DELETE ON listings BEGIN DELETE FROM agents; END;", "a trigger does more"),
    ] {
        assert!(!covered(&format!("{two}{more}"), rooms()).await, "{why}");
    }
    let text = two.replace("id INTEGER PRIMARY KEY, agent", "id TEXT COLLATE NOCASE PRIMARY KEY, agent");
    let text = text.replace("listing_id INTEGER", "listing_id TEXT");
    assert!(!covered(&text, rooms()).await, "texts may be equal for the one and not for the other");
    let soft = |column: &str| Table { deleted_at: Some(column.to_owned()), ..with_children(vec![]) };
    assert!(covered(two, soft("gone")).await, "the row stays");
    assert!(!covered(two, soft("agent")).await, "what is written refers to agents");
}
