//! Children: which rows go along, which stay, and how many are told.

use expunged::config::target::OnDelete::{Delete, Keep, Nullify};
use expunged::config::target::{Child, Table};
use expunged::domain::{Action, Entity};
use expunged::targets::{Effect, Removal, Severity, Target as _, TargetError};

use super::bench::{
    Bench, Database, NOW, child, code, delete, guarded, removal, removed, table, with_children,
};

super::on_every_database!(
    children_go_to_any_depth_and_are_counted,
    weighing_changes_nothing_and_knows_guards_marks_and_actions,
    what_the_database_cascades_is_counted_too,
    rows_that_are_to_be_kept_are_not_left_to_a_cascade,
    a_soft_deletion_takes_the_children_that_are_configured_to_go,
    i11_children_are_matched_byte_for_byte,
    children_of_a_column_that_names_several_rows_are_refused,
    i11_children_of_a_column_that_rounds_are_refused_by_name,
    constraints_refuse_by_name_and_leave_everything,
);

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

async fn children_go_to_any_depth_and_are_counted(database: Database) {
    let bench = Bench::new(database, FAMILY, family()).await;
    let batch = [delete(&["1"]), delete(&["3"]), delete(&["7"])];
    assert_eq!(bench.target.weigh(&batch).await.unwrap(), [7, 1, 0]);
    assert_eq!(bench.target.mirrored(&Entity::new("listing")).await.unwrap(), 3 + 3 + 3 + 3);
    assert_eq!(bench.apply(batch.to_vec()).await.unwrap(), [removed(7), removed(1), Effect::Absent]);
    for (sql, left) in [
        ("SELECT id FROM listings", vec!["2"]),
        ("SELECT id FROM rooms", vec!["12"]),
        ("SELECT id FROM photos ORDER BY id", vec!["22", "23"]),
        ("SELECT id FROM tags", vec!["32"]),
        ("SELECT id, listing_id FROM bookings ORDER BY id", vec!["40|NULL", "41|2"]),
        ("SELECT id, listing_id FROM visits ORDER BY id", vec!["50|1", "51|2"]),
    ] {
        assert_eq!(bench.lines(sql).await, left, "{sql}");
    }
    assert_eq!(bench.target.mirrored(&Entity::new("listing")).await.unwrap(), 1 + 1 + 1 + 1);
}

async fn weighing_changes_nothing_and_knows_guards_marks_and_actions(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at {text}, gone {text});
        INSERT INTO listings VALUES (1,NULL,NULL), (2,'2030-01-01',NULL), (3,'?',NULL), (4,NULL,'2001-01-01');";
    let soft = Table { deleted_at: Some("gone".to_owned()), ..guarded(&["id"], None) };
    let bench = Bench::new(database, schema, soft).await;
    let mut batch: Vec<Removal> = ["1", "2", "3", "4"].iter().map(|id| delete(&[id])).collect();
    batch.push(removal(Action::Deactivate, &["1"], NOW));
    batch.push(delete(&["x"]));
    assert_eq!(bench.target.weigh(&batch).await.unwrap(), [1, 0, 0, 0, 0, 0]);
    assert_eq!(bench.target.mirrored(&Entity::new("listing")).await.unwrap(), 3);
    assert_eq!(bench.target.mirrored(&Entity::new("deal")).await.unwrap(), 0);
    bench.sql("UPDATE listings SET updated_at = NULL").await;
}

async fn what_the_database_cascades_is_counted_too(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id) ON DELETE CASCADE);
        CREATE TABLE photos(id INTEGER PRIMARY KEY, room_id INTEGER REFERENCES rooms(id) ON DELETE CASCADE);
        INSERT INTO listings VALUES (1), (2); INSERT INTO rooms VALUES (10,1), (11,1), (12,2);
        INSERT INTO photos VALUES (20,10), (21,10), (22,12);";
    let bench = Bench::new(database, schema, table(&["id"])).await;
    assert_eq!(bench.target.mirrored(&Entity::new("listing")).await.unwrap(), 8);
    assert_eq!(bench.target.weigh(&[delete(&["1"])]).await.unwrap(), [5]);
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(5)]);
    assert_eq!(bench.lines("SELECT id FROM photos").await, ["22"]);
}

async fn rows_that_are_to_be_kept_are_not_left_to_a_cascade(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id) ON DELETE CASCADE);
        INSERT INTO listings VALUES (1); INSERT INTO rooms VALUES (10,1);";
    let bench = Bench::new(database, schema, with_children(vec![child("rooms", "listing_id", Keep)])).await;
    assert_eq!(code(&bench.delete(&[&["1"]]).await[0]), "schema");
    assert_eq!(bench.lines("SELECT count(*) FROM listings, rooms").await, ["1"]);
}

async fn a_soft_deletion_takes_the_children_that_are_configured_to_go(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, gone {time});
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id) ON DELETE CASCADE);
        CREATE TABLE notes(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id) ON DELETE CASCADE);
        INSERT INTO listings VALUES (1,NULL); INSERT INTO rooms VALUES (10,1); INSERT INTO notes VALUES (20,1);";
    let children = vec![child("rooms", "listing_id", Delete), child("notes", "listing_id", Keep)];
    let soft = Table { deleted_at: Some("gone".to_owned()), ..with_children(children) };
    let bench = Bench::new(database, schema, soft).await;
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(2)]);
    assert_eq!(bench.lines("SELECT count(*) FROM notes").await, ["1"]);
    assert_eq!(bench.lines("SELECT count(*) FROM rooms").await, ["0"]);
}

async fn i11_children_are_matched_byte_for_byte(database: Database) {
    let schema = "CREATE TABLE listings(id {key} PRIMARY KEY);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id {loose});
        INSERT INTO listings VALUES ('a'), ('A'); INSERT INTO rooms VALUES (10,'a'), (11,'A');";
    let bench = Bench::new(database, schema, with_children(vec![child("rooms", "listing_id", Delete)])).await;
    assert_eq!(bench.delete(&[&["a"]]).await, [removed(2)]);
    assert_eq!(bench.lines("SELECT listing_id FROM rooms").await, ["A"]);
}

async fn children_of_a_column_that_names_several_rows_are_refused(database: Database) {
    let schema = "CREATE TABLE listings(id {key} PRIMARY KEY, mls {key});
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, mls {key});
        INSERT INTO listings VALUES ('1:a','a'), ('2:a','a'); INSERT INTO rooms VALUES (10,'a');";
    let rooms = Child { references: "mls".to_owned(), ..child("rooms", "mls", Delete) };
    let bench = Bench::new(database, schema, with_children(vec![rooms])).await;
    assert_eq!(code(&bench.delete(&[&["1:a"]]).await[0]), "schema");
}

async fn i11_children_of_a_column_that_rounds_are_refused_by_name(database: Database) {
    for (above, here, place) in [
        ("{real}", "{real}", ".children[0].column"),
        ("{real}", "BIGINT", ".children[0].references"),
        ("BIGINT", "{real}", ".children[0].column"),
    ] {
        let schema = format!(
            "CREATE TABLE listings(id INTEGER PRIMARY KEY, number {above} UNIQUE);
             CREATE TABLE rooms(id INTEGER PRIMARY KEY, number {here});
             INSERT INTO listings VALUES (1,9007199254740992), (2,9007199254740994);
             INSERT INTO rooms VALUES (10,9007199254740993);"
        );
        let rooms = Child { references: "number".to_owned(), ..child("rooms", "number", Delete) };
        let bench = Bench::new(database, &schema, with_children(vec![rooms])).await;
        for effect in bench.delete(&[&["1"], &["2"]]).await {
            let refused = matches!(&effect, Effect::Unfit(said) if said.contains("no exact type"));
            assert!(refused, "{above} {here}: {effect:?}");
        }
        assert_eq!(bench.lines("SELECT count(*) FROM rooms, listings").await, ["2"]);
        let found = bench.check().await;
        let fault = found
            .iter()
            .find(|finding| finding.place.ends_with(place) && finding.severity == Severity::Fault);
        assert!(fault.is_some_and(|fault| fault.what.contains("does not tell rows apart")), "{found:#?}");
    }
}

async fn constraints_refuse_by_name_and_leave_everything(database: Database) {
    let rooms = "CREATE TABLE listings(id INTEGER PRIMARY KEY); INSERT INTO listings VALUES (1), (2), (3);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER NOT NULL REFERENCES listings(id));
        INSERT INTO rooms VALUES (10,2);";
    let nullify = vec![child("rooms", "listing_id", Nullify)];
    for (table, expected) in [(table(&["id"]), "foreign_key"), (with_children(nullify), "not_null")] {
        let bench = Bench::new(database, rooms, table).await;
        match bench.apply(vec![delete(&["1"]), delete(&["2"])]).await {
            Err(TargetError::Refused { code, .. }) => assert_eq!(code, expected),
            other => panic!("{expected}: {other:?}"),
        }
        assert_eq!(bench.lines("SELECT count(*) FROM listings").await, ["3"]);
        assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)], "the halves go on");
    }
}
