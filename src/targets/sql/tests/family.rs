//! Children: which rows go along, which stay, and how many are told.

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

#[tokio::test]
async fn children_go_to_any_depth_and_are_counted() {
    let mut bench = Bench::new(FAMILY, family()).await;
    let batch = [delete(&["1"]), delete(&["3"]), delete(&["7"])];
    assert_eq!(bench.target.weigh(&batch).await.unwrap(), [7, 1, 0]);
    assert_eq!(bench.target.mirrored(&Entity::new("listing")).await.unwrap(), 3 + 3 + 3 + 3);
    assert_eq!(bench.apply(batch.to_vec()).await.unwrap(), [removed(7), removed(1), Effect::Absent]);
    for (sql, left) in [
        ("SELECT id FROM listings", vec!["2"]),
        ("SELECT id FROM rooms", vec!["12"]),
        ("SELECT id FROM photos", vec!["22", "23"]),
        ("SELECT id FROM tags", vec!["32"]),
        ("SELECT * FROM bookings", vec!["40|NULL", "41|2"]),
        ("SELECT * FROM visits", vec!["50|1", "51|2"]),
    ] {
        assert_eq!(bench.lines(sql).await, left, "{sql}");
    }
    assert_eq!(bench.target.mirrored(&Entity::new("listing")).await.unwrap(), 1 + 1 + 1 + 1);
}

#[tokio::test]
async fn weighing_changes_nothing_and_knows_guards_marks_and_actions() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at TEXT, gone TEXT);
        INSERT INTO listings VALUES (1,NULL,NULL), (2,'2030-01-01',NULL), (3,'?',NULL), (4,NULL,'2001-01-01');";
    let soft = Table { deleted_at: Some("gone".to_owned()), ..guarded(&["id"], None) };
    let mut bench = Bench::new(schema, soft).await;
    let mut batch: Vec<Removal> = ["1", "2", "3", "4"].iter().map(|id| delete(&[id])).collect();
    batch.push(removal(Action::Deactivate, &["1"], NOW));
    batch.push(delete(&["x"]));
    assert_eq!(bench.target.weigh(&batch).await.unwrap(), [1, 0, 0, 0, 0, 0]);
    assert_eq!(bench.target.mirrored(&Entity::new("listing")).await.unwrap(), 3);
    assert_eq!(bench.target.mirrored(&Entity::new("deal")).await.unwrap(), 0);
    bench.sql("UPDATE listings SET updated_at = NULL").await;
}

#[tokio::test]
async fn what_the_database_cascades_is_counted_too() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings ON DELETE CASCADE);
        CREATE TABLE photos(id INTEGER PRIMARY KEY, room_id INTEGER REFERENCES rooms(id) ON DELETE CASCADE);
        INSERT INTO listings VALUES (1), (2); INSERT INTO rooms VALUES (10,1), (11,1), (12,2);
        INSERT INTO photos VALUES (20,10), (21,10), (22,12);";
    let mut bench = Bench::new(schema, table(&["id"])).await;
    assert_eq!(bench.target.mirrored(&Entity::new("listing")).await.unwrap(), 8);
    assert_eq!(bench.target.weigh(&[delete(&["1"])]).await.unwrap(), [5]);
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(5)]);
    assert_eq!(bench.lines("SELECT id FROM photos").await, ["22"]);
}

#[tokio::test]
async fn rows_that_are_to_be_kept_are_not_left_to_a_cascade() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings ON DELETE CASCADE);
        INSERT INTO listings VALUES (1); INSERT INTO rooms VALUES (10,1);";
    let mut bench = Bench::new(schema, with_children(vec![child("rooms", "listing_id", Keep)])).await;
    let refused = bench.apply(vec![delete(&["1"])]).await;
    assert!(matches!(refused, Err(TargetError::Misconfigured(_))), "{refused:?}");
    assert_eq!(bench.lines("SELECT count(*) FROM listings, rooms").await, ["1"]);
}

#[tokio::test]
async fn a_soft_deletion_takes_the_children_that_are_configured_to_go() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, gone TEXT);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings ON DELETE CASCADE);
        CREATE TABLE notes(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings ON DELETE CASCADE);
        INSERT INTO listings VALUES (1,NULL); INSERT INTO rooms VALUES (10,1); INSERT INTO notes VALUES (20,1);";
    let children = vec![child("rooms", "listing_id", Delete), child("notes", "listing_id", Keep)];
    let soft = Table { deleted_at: Some("gone".to_owned()), ..with_children(children) };
    let mut bench = Bench::new(schema, soft).await;
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(2)]);
    assert_eq!(bench.lines("SELECT count(*) FROM notes").await, ["1"]);
    assert_eq!(bench.lines("SELECT count(*) FROM rooms").await, ["0"]);
}

#[tokio::test]
async fn i11_children_are_matched_byte_for_byte() {
    let schema = "CREATE TABLE listings(id TEXT PRIMARY KEY);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id TEXT COLLATE NOCASE);
        INSERT INTO listings VALUES ('a'), ('A'); INSERT INTO rooms VALUES (10,'a'), (11,'A');";
    let mut bench = Bench::new(schema, with_children(vec![child("rooms", "listing_id", Delete)])).await;
    assert_eq!(bench.delete(&[&["a"]]).await, [removed(2)]);
    assert_eq!(bench.lines("SELECT listing_id FROM rooms").await, ["A"]);
}

#[tokio::test]
async fn children_of_a_column_that_names_several_rows_are_refused() {
    let schema = "CREATE TABLE listings(id TEXT PRIMARY KEY, mls TEXT);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, mls TEXT);
        INSERT INTO listings VALUES ('1:a','a'), ('2:a','a'); INSERT INTO rooms VALUES (10,'a');";
    let rooms = Child { references: "mls".to_owned(), ..child("rooms", "mls", Delete) };
    let bench = Bench::new(schema, with_children(vec![rooms])).await;
    assert!(matches!(bench.apply(vec![delete(&["1:a"])]).await, Err(TargetError::Misconfigured(_))));
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
