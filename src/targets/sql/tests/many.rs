//! Batches that are large enough for children to go by lists.

use super::*;

/// More than three lists, the last one not full.
const LISTINGS: u64 = 1_000;

const CHILDREN: &str = "
    CREATE TABLE images(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id));
    CREATE INDEX images_of ON images(listing_id);
    CREATE TABLE sizes(id INTEGER PRIMARY KEY, image_id INTEGER REFERENCES images(id));
    CREATE INDEX sizes_of ON sizes(image_id);
    CREATE TABLE notes(id INTEGER PRIMARY KEY, listing_id REFERENCES listings(id));
    CREATE INDEX notes_of ON notes(listing_id);
    CREATE TABLE bookings(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings(id));
    CREATE INDEX bookings_of ON bookings(listing_id);";

/// Two images of two sizes each, a note and a booking for each listing; every tenth listing is newer.
fn seed(listings: &str) -> String {
    format!(
        "{listings} {CHILDREN}
         CREATE TEMP TABLE numbers AS WITH RECURSIVE g(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM g WHERE v < {LISTINGS})
           SELECT v FROM g;
         INSERT INTO listings(id, updated_at) SELECT v, iif(v % 10 = 0, '2030-01-01', '2020-01-01') FROM numbers;
         INSERT INTO images SELECT v * 2 + n, v FROM numbers, (SELECT 0 AS n UNION SELECT 1);
         INSERT INTO sizes SELECT id * 2 + n, id FROM images, (SELECT 0 AS n UNION SELECT 1);
         INSERT INTO notes SELECT v, v FROM numbers;
         INSERT INTO bookings SELECT v, v FROM numbers;"
    )
}

fn family() -> Table {
    let images = Child {
        children: vec![child("sizes", "image_id", OnDelete::Delete)],
        ..child("images", "listing_id", OnDelete::Delete)
    };
    let notes = child("notes", "listing_id", OnDelete::Delete);
    let bookings = child("bookings", "listing_id", OnDelete::Nullify);
    Table { children: vec![images, notes, bookings], ..guarded(&["id"], None) }
}

/// Deletes all but every seventh, and ten that there never were.
async fn delete_many(bench: &Bench) -> Vec<(u64, Effect)> {
    let numbers: Vec<u64> = (1..=LISTINGS + 10).rev().filter(|number| number % 7 != 0).collect();
    let removals = numbers.iter().map(|number| delete(&[&number.to_string()])).collect();
    numbers.into_iter().zip(bench.apply(removals).await.unwrap()).collect()
}

const LEFT: &str = "SELECT (SELECT count(*) FROM listings), (SELECT count(*) FROM images),
    (SELECT count(*) FROM sizes), (SELECT count(*) FROM notes), (SELECT count(listing_id) FROM bookings)";

#[tokio::test]
async fn i8_each_of_many_is_told_by_what_the_database_held_and_takes_its_own_children_alone() {
    for listings in [
        "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at TEXT);",
        // Children refer to another column than the row's number.
        "CREATE TABLE listings(id INTEGER UNIQUE, updated_at TEXT);",
        // A key that is a number by its look alone.
        "CREATE TABLE listings(id TEXT PRIMARY KEY, updated_at TEXT) WITHOUT ROWID;",
    ] {
        let children = if listings.contains("TEXT PRIMARY") {
            seed(listings)
                .replace("listing_id INTEGER", "listing_id TEXT")
                .replace("listing_id REF", "listing_id TEXT REF")
        } else {
            seed(listings).replace("listing_id REF", "listing_id NUMERIC REF")
        };
        let mut bench = Bench::new(&children, family()).await;
        let effects = delete_many(&bench).await;
        let mut stays = LISTINGS / 7;
        for (number, effect) in effects {
            let expected = match number {
                _ if number > LISTINGS => Effect::Absent,
                _ if number % 10 == 0 => Effect::Newer,
                _ => removed(8),
            };
            stays += u64::from(expected == Effect::Newer);
            assert_eq!(effect, expected, "{listings} {number}");
        }
        let left = format!("{stays}|{}|{}|{stays}|{stays}", 2 * stays, 4 * stays);
        assert_eq!(bench.lines(LEFT).await, [left], "{listings}");
        let orphans = "SELECT count(*) FROM images WHERE listing_id NOT IN (SELECT id FROM listings)";
        assert_eq!(bench.lines(orphans).await, ["0"], "{listings}");
    }
}

#[tokio::test]
async fn i12_a_child_that_is_kept_keeps_its_parent_among_many() {
    let keep =
        "CREATE TRIGGER keep BEFORE DELETE ON sizes WHEN old.image_id = 11 BEGIN SELECT RAISE(IGNORE); END;
        CREATE TRIGGER keep_image BEFORE DELETE ON images WHEN old.id = 11 BEGIN SELECT RAISE(IGNORE); END;";
    let listings = "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at TEXT);";
    // Foreign keys would refuse all of it.
    let schema = seed(listings).replace("listing_id REF", "listing_id INTEGER REF");
    let schema = schema.replace("REFERENCES listings(id)", "").replace("REFERENCES images(id)", "");
    let mut bench = Bench::new(&format!("{schema} {keep}"), family()).await;
    let effects = delete_many(&bench).await;
    for (number, effect) in &effects {
        assert_eq!(code(effect) == "still_there", *number == 5, "{number}: {effect:?}");
    }
    assert_eq!(
        bench.lines("SELECT count(*) FROM images WHERE listing_id = 5").await,
        ["2"],
        "nothing of it goes"
    );
    assert_eq!(bench.lines("SELECT count(*) FROM sizes WHERE image_id IN (10, 11)").await, ["4"]);
}
