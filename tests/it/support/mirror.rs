//! A replica and a search index in a folder, the configuration that names them, and simulated upstreams.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use expunged::clock::{ManualClock, SharedClock};
use expunged::config::{Config, Environment, Secret};
use expunged::domain::{Timestamp, timestamp::TimeFormat};
use expunged::sandbox::repliers::RepliersSettings;
use expunged::sandbox::{Repliers, Sandbox, Simulator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tantivy::TantivyDocument;
use tantivy::collector::DocSetCollector;
use tantivy::query::AllQuery;
use tantivy::schema::{STORED, STRING, Schema, Value};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::logs;
pub use super::secrets::{API_KEY, HOOK_SECRET, LEADLEX_SECRET, OLD_HOOK_SECRET};

const SCHEMA: &str = "
CREATE TABLE listings (
    id INTEGER PRIMARY KEY, board_id INTEGER NOT NULL, mls_number TEXT NOT NULL, updated_at TEXT NOT NULL,
    active INTEGER NOT NULL DEFAULT 1, UNIQUE (board_id, mls_number));
CREATE TABLE images (id INTEGER PRIMARY KEY, listing_id INTEGER NOT NULL REFERENCES listings (id));
CREATE INDEX images_of ON images (listing_id);
CREATE TABLE bookings (id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings (id));
CREATE INDEX bookings_of ON bookings (listing_id);
CREATE TABLE deals (id TEXT PRIMARY KEY) WITHOUT ROWID;";

/// Secrets and addresses without a process's environment or a file.
pub struct Given(pub String);

impl Environment for Given {
    fn var(&self, name: &str) -> Option<String> {
        Some(match name {
            "REPLIERS_SECRET" => HOOK_SECRET.into(),
            "REPLIERS_OLD_SECRET" => OLD_HOOK_SECRET.into(),
            "REPLIERS_API_KEY" => API_KEY.into(),
            "LEADLEX_SECRET" => LEADLEX_SECRET.into(),
            "REPLICA_URL" => self.0.clone(),
            _ => return None,
        })
    }

    fn read(&self, path: &Path, _: u64) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/run/credentials/repliers") => Ok(HOOK_SECRET.into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// A configuration over `folder`; `top` goes to the root, `repliers` into the source.
pub fn config(folder: &Path, upstream: &str, top: &str, repliers: &str) -> Config {
    let folder = folder.display();
    // What begins with a table's head is one of its own, and everything else is the state's.
    let (state, top) = if top.starts_with('[') { ("", top) } else { (top, "") };
    let text = format!(
        r#"
[server]
hooks = "127.0.0.1:0"
admin = "127.0.0.1:0"
[state]
url = "sqlite://{folder}/state.db"
{state}
{top}
[sources.leadlex]
preset = "leadlex"
secret = {{ env = "LEADLEX_SECRET" }}
[sources.repliers]
preset = "repliers"
base_url = "{upstream}"
secret = [{{ env = "REPLIERS_SECRET" }}, {{ env = "REPLIERS_OLD_SECRET" }}]
api_key = {{ env = "REPLIERS_API_KEY" }}
feed.schedule = false
feed.rate_per_second = 1000
{repliers}
[targets.replica]
kind = "sql"
url = {{ env = "REPLICA_URL" }}
entities.deal = {{ table = "deals", key = ["id"] }}
[targets.replica.entities.listing]
table = "listings"
key = ["board_id", "mls_number"]
guard = "updated_at"
deactivate = {{ active = 0 }}
children = [
  {{ table = "images", column = "listing_id", references = "id", on_delete = "delete" }},
  {{ table = "bookings", column = "listing_id", references = "id", on_delete = "nullify" }},
]
[targets.search]
kind = "tantivy"
path = "{folder}/search"
entities.listing = {{ field = "id", id = "{{0}}:{{1}}" }}
"#
    );
    parsed(&text, &format!("sqlite://{folder}/replica.db"))
}

/// A configuration for parts in this process, which log from now on.
pub fn parsed(text: &str, replica: &str) -> Config {
    logs::of_parts();
    Config::parse(text, "test.toml", &Given(replica.to_owned())).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A listing of the replica: its number, and its guard.
pub type Row = (String, Timestamp);

/// Makes replica and index; each listing has two images and a booking.
pub async fn seed(folder: &Path, listings: &[Row], deals: &[String]) {
    let mut replica = replica(folder).await;
    sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&mut replica).await.unwrap();
    sqlx::raw_sql(SCHEMA).execute(&mut replica).await.unwrap();
    let rows: Vec<_> = listings.iter().map(|(mls, guard)| (mls, guard.to_string())).collect();
    let rows = serde_json::to_string(&rows).unwrap();
    for statement in [
        "INSERT INTO listings (board_id, mls_number, updated_at)
         SELECT 2, value ->> 0, value ->> 1 FROM json_each(?1)",
        "INSERT INTO images (listing_id) SELECT id FROM listings, (VALUES (1), (2)) WHERE ?1 > ''",
        "INSERT INTO bookings (listing_id) SELECT id FROM listings WHERE ?1 > ''",
    ] {
        sqlx::query(statement).bind(&rows).execute(&mut replica).await.unwrap();
    }
    let deals = serde_json::to_string(deals).unwrap();
    let insert = "INSERT INTO deals (id) SELECT value FROM json_each(?)";
    sqlx::query(insert).bind(deals).execute(&mut replica).await.unwrap();
    index(folder, listings);
}

fn index(folder: &Path, listings: &[Row]) {
    let mut schema = Schema::builder();
    let id = schema.add_text_field("id", STRING | STORED);
    let folder = folder.join("search");
    std::fs::create_dir_all(&folder).unwrap();
    let index = tantivy::Index::create_in_dir(folder, schema.build()).unwrap();
    let mut writer = index.writer_with_num_threads::<TantivyDocument>(1, 15_000_000).unwrap();
    for (mls, _) in listings {
        writer.add_document(tantivy::doc!(id => format!("2:{mls}"))).unwrap();
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
}

pub async fn replica(folder: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(folder.join("replica.db")).create_if_missing(true);
    options.disable_statement_logging().connect().await.unwrap()
}

/// Texts that a query over a database gives.
pub async fn texts(database: &mut SqliteConnection, query: impl Into<String>) -> Vec<String> {
    sqlx::query_scalar(sqlx::AssertSqlSafe(query.into())).fetch_all(database).await.unwrap()
}

/// The ids of the documents that the index holds.
pub fn documents(folder: &Path) -> BTreeSet<String> {
    let index = tantivy::Index::open_in_dir(folder.join("search")).unwrap();
    let id = index.schema().get_field("id").unwrap();
    let searcher = index.reader().unwrap().searcher();
    let found = searcher.search(&AllQuery, &DocSetCollector).unwrap();
    let text = |address| {
        let document: TantivyDocument = searcher.doc(address).unwrap();
        document.get_first(id).unwrap().as_str().unwrap().to_owned()
    };
    found.into_iter().map(text).collect()
}

pub fn time(text: &str) -> Timestamp {
    Timestamp::parse(text, TimeFormat::Iso8601).unwrap()
}

/// 2024-05-16T10:00:00Z, and still.
pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(time("2024-05-16T10:00:00Z")))
}

/// A simulated Repliers without a limit on requests, and its address.
pub async fn repliers(clock: SharedClock) -> (Arc<Repliers>, String) {
    let documented = RepliersSettings::documented(Secret::new(API_KEY), Secret::new(HOOK_SECRET));
    let settings = RepliersSettings { requests_per_second: None, ..documented };
    let upstream = Repliers::new(settings, clock).unwrap();
    let address = serve(vec![upstream.clone()]).await;
    (upstream, address)
}

/// Serves simulators until the test's runtime ends.
pub async fn serve(simulators: Vec<Arc<dyn Simulator>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Sandbox::new(simulators).serve(listener, CancellationToken::new()));
    format!("http://{address}")
}
