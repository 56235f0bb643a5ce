//! A replica and a search index to delete from, seeded once and copied for each measurement.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tantivy::schema::{STORED, STRING, Schema};

use crate::setting;

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE listings (
    id INTEGER PRIMARY KEY, board_id INTEGER NOT NULL, mls_number TEXT NOT NULL, address TEXT NOT NULL,
    updated_at TEXT NOT NULL, UNIQUE (board_id, mls_number));
CREATE TABLE images (
    id INTEGER PRIMARY KEY, listing_id INTEGER NOT NULL REFERENCES listings (id), url TEXT NOT NULL);
CREATE TABLE reviews (
    id INTEGER PRIMARY KEY, listing_id INTEGER NOT NULL REFERENCES listings (id), text TEXT NOT NULL);
";
/// Images of a listing lie together, since they come with it.
const SEED: &str = "
INSERT INTO listings (id, board_id, mls_number, address, updated_at)
  SELECT value, 2, printf('W%09d', value - 1), value || ' Elm Street', '2026-01-01T00:00:00Z' FROM generate_rows;
INSERT INTO images (listing_id, url)
  SELECT l.value, '/images/' || l.value || '/' || n.column1 || '.jpg'
  FROM generate_rows AS l, (VALUES (1), (2), (3), (4), (5)) AS n;
INSERT INTO reviews (listing_id, text)
  SELECT l.value, 'review ' || n.column1 || ' of ' || l.value FROM generate_rows AS l, (VALUES (1), (2)) AS n;
CREATE INDEX images_of ON images (listing_id);
CREATE INDEX reviews_of ON reviews (listing_id);
PRAGMA wal_checkpoint(TRUNCATE);
";

/// A connection with nothing set but what is asked for by `pragmas`.
pub async fn connect(file: &Path, pragmas: &str) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(file).foreign_keys(false);
    let mut connection = options.create_if_missing(true).disable_statement_logging().connect().await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(pragmas.to_owned())).execute(&mut connection).await?;
    Ok(connection)
}

/// `replica.db` in `folder`: listings `W000000000` and so on of board 2, each with 5 images and 2 reviews.
pub async fn replica(folder: &Path, listings: u64) -> anyhow::Result<PathBuf> {
    let seeded = setting::base().join(format!("replica-{listings}.db"));
    if !seeded.exists() {
        let growing = seeded.with_extension("growing");
        std::fs::remove_file(&growing).ok();
        let mut replica = connect(&growing, SCHEMA).await?;
        let rows = format!(
            "CREATE TEMP VIEW generate_rows AS WITH RECURSIVE g (value) AS (SELECT 1 UNION ALL
             SELECT value + 1 FROM g WHERE value < {listings}) SELECT value FROM g; {SEED}"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&mut replica).await?;
        replica.close().await?;
        std::fs::rename(growing, &seeded)?;
    }
    let copy = folder.join("replica.db");
    copy_file(&seeded, &copy)?;
    Ok(copy)
}

/// `search` in `folder`: a document for each listing.
pub fn search(folder: &Path, listings: u64) -> anyhow::Result<PathBuf> {
    let seeded = setting::base().join(format!("search-{listings}"));
    if !seeded.exists() {
        let growing = seeded.with_extension("growing");
        std::fs::remove_dir_all(&growing).ok();
        std::fs::create_dir_all(&growing)?;
        let mut schema = Schema::builder();
        let id = schema.add_text_field("id", STRING | STORED);
        let address = schema.add_text_field("address", STRING | STORED);
        let index = tantivy::Index::create_in_dir(&growing, schema.build())?;
        let mut writer = index.writer_with_num_threads(1, 200_000_000)?;
        for number in 0..listings {
            writer.add_document(
                tantivy::doc!(id => format!("2:W{number:09}"), address => format!("{number} Elm Street")),
            )?;
        }
        writer.commit()?;
        writer.wait_merging_threads()?;
        std::fs::rename(growing, &seeded)?;
    }
    let copy = folder.join("search");
    std::fs::create_dir_all(&copy)?;
    for entry in std::fs::read_dir(&seeded)? {
        let entry = entry?;
        copy_file(&entry.path(), &copy.join(entry.file_name()))?;
    }
    Ok(copy)
}

/// Synced, so that no measurement pays for the copy.
fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::copy(from, to).with_context(|| from.display().to_string())?;
    Ok(std::fs::File::open(to)?.sync_all()?)
}
