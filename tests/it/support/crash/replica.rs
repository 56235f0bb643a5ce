//! The home's replica in a database of a server, with the same contents as the file.

use std::collections::BTreeSet;

use super::home::{BOARD, NEWER_EVERY};
use crate::support::servers::Database;

/// Rows that one INSERT takes: every server's packet is larger.
const TOGETHER: usize = 1_000;

const SCHEMA: &str = "
CREATE TABLE listings (
    id INTEGER PRIMARY KEY, board_id INTEGER NOT NULL, mls_number VARCHAR(40) NOT NULL, updated_at VARCHAR(40) NOT NULL,
    UNIQUE (board_id, mls_number));
CREATE TABLE images (
    id INTEGER PRIMARY KEY, listing_id INTEGER NOT NULL, FOREIGN KEY (listing_id) REFERENCES listings (id));
CREATE INDEX images_of ON images (listing_id);
CREATE TABLE bookings (
    id INTEGER PRIMARY KEY, listing_id INTEGER, FOREIGN KEY (listing_id) REFERENCES listings (id));
CREATE INDEX bookings_of ON bookings (listing_id);
";

pub async fn seed(database: &Database, listings: u32) {
    database.sql(SCHEMA).await;
    let of = |rows: fn(u32) -> Vec<String>| (1..=listings).flat_map(rows).collect::<Vec<String>>();
    for (table, rows) in [("listings", of(listing)), ("images", of(images)), ("bookings", of(booking))] {
        for rows in rows.chunks(TOGETHER) {
            database.sql(&format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await;
        }
    }
}

fn listing(id: u32) -> Vec<String> {
    let time = if id.is_multiple_of(NEWER_EVERY) { "2100-01-01T00:00:00Z" } else { "2024-01-01T00:00:00Z" };
    vec![format!("({id}, {BOARD}, 'W{id}', '{time}')")]
}

fn images(id: u32) -> Vec<String> {
    vec![format!("({}, {id})", 2 * id), format!("({}, {id})", 2 * id + 1)]
}

fn booking(id: u32) -> Vec<String> {
    vec![format!("({id}, {id})")]
}

/// Holds the replica against what the listings that must be gone leave.
pub async fn assert_gone_exactly(database: &Database, listings: u32, numbers: &BTreeSet<u32>) {
    let stays = |id: &u32| !numbers.contains(id) || id.is_multiple_of(NEWER_EVERY);
    let left: Vec<u32> = (1..=listings).filter(stays).collect();
    let found = database.lines("SELECT id FROM listings ORDER BY id").await;
    assert_eq!(found, left.iter().map(u32::to_string).collect::<Vec<_>>(), "listings");
    let found = database.lines("SELECT id FROM images ORDER BY id").await;
    let images = left.iter().flat_map(|id| [(2 * id).to_string(), (2 * id + 1).to_string()]);
    assert_eq!(found, images.collect::<Vec<_>>(), "images");
    let found = database.lines("SELECT id, listing_id FROM bookings ORDER BY id").await;
    let bookings =
        (1..=listings).map(|id| if stays(&id) { format!("{id}|{id}") } else { format!("{id}|NULL") });
    assert_eq!(found, bookings.collect::<Vec<_>>(), "bookings");
}
