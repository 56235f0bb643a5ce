//! The demo's folder: a replica with rows, an index with documents, secrets and a configuration.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tantivy::DateTime;
use tantivy::schema::{DateOptions, DateTimePrecision, FAST, STORED, STRING, Schema, TEXT};

/// Listings in the replica, and documents in the index.
pub const LISTINGS: u32 = 1_000;
/// Deals in the replica.
pub const DEALS: u32 = 100;
/// When the listings were last modified, as `SEED` has it: 2024-01-01T00:00:00Z.
const SEEDED_AT: i64 = 1_704_067_200;
/// Shows that a folder is a demo's and may be made anew.
const MARK: &str = ".expunged-demo";

const SCHEMA: &str = "
CREATE TABLE listings (
    id INTEGER PRIMARY KEY, board_id INTEGER NOT NULL, mls_number TEXT NOT NULL, address TEXT NOT NULL,
    updated_at TEXT NOT NULL, active INTEGER NOT NULL DEFAULT 1, UNIQUE (board_id, mls_number));
CREATE TABLE images (
    id INTEGER PRIMARY KEY, listing_id INTEGER NOT NULL REFERENCES listings (id), url TEXT NOT NULL);
CREATE INDEX images_of ON images (listing_id);
CREATE TABLE bookings (
    id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings (id), visitor TEXT NOT NULL);
CREATE INDEX bookings_of ON bookings (listing_id);
CREATE TABLE deals (id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
";
const SEED: [&str; 4] = [
    "INSERT INTO listings (id, board_id, mls_number, address, updated_at)
     SELECT value, 2, 'W' || value, value || ' Elm Street', '2024-01-01T00:00:00Z' FROM generate",
    "INSERT INTO images (listing_id, url) SELECT l.value, '/images/' || l.value || '/' || n.value || '.jpg'
     FROM generate AS l, generate AS n WHERE n.value <= 3",
    "INSERT INTO bookings (listing_id, visitor) SELECT value, 'visitor ' || value FROM generate",
    "INSERT INTO deals (id, name) SELECT 'deal-' || value, 'deal ' || value FROM generate WHERE value <= 100",
];

/// The folder, and the addresses that its configuration names.
#[derive(Clone, Debug)]
pub struct Folder {
    pub path: PathBuf,
    pub hooks: u16,
    pub admin: u16,
    pub upstream: u16,
}

impl Folder {
    /// Makes the folder, and seeds what is in it.
    pub async fn make(path: &Path) -> anyhow::Result<Self> {
        if path.exists() && std::fs::read_dir(path)?.next().is_some() {
            anyhow::ensure!(
                path.join(MARK).exists(),
                "{} holds something that is not a demo's: name another folder with --dir",
                path.display()
            );
            std::fs::remove_dir_all(path).with_context(|| path.display().to_string())?;
        }
        std::fs::create_dir_all(path).with_context(|| path.display().to_string())?;
        let path = path.canonicalize()?;
        std::fs::write(path.join(MARK), "made by `expunged demo`\n")?;
        let [hooks, admin, upstream] = free_ports()?;
        let folder = Self { path, hooks, admin, upstream };
        folder.seed_replica().await?;
        folder.seed_index()?;
        folder.write_config()?;
        Ok(folder)
    }

    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("expunged.toml")
    }

    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.path.join("search")
    }

    /// A connection to the replica.
    pub async fn replica(&self) -> anyhow::Result<SqliteConnection> {
        let options =
            SqliteConnectOptions::new().filename(self.path.join("replica.db")).create_if_missing(true);
        Ok(options.disable_statement_logging().connect().await?)
    }

    async fn seed_replica(&self) -> anyhow::Result<()> {
        let mut replica = self.replica().await?;
        sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&mut replica).await?;
        let mut transaction = replica.begin().await?;
        sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
        for statement in SEED {
            let numbers = format!(
                "WITH RECURSIVE generate (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM generate
                 WHERE value < {LISTINGS}) {statement}"
            );
            sqlx::query(sqlx::AssertSqlSafe(numbers)).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        replica.close().await?;
        Ok(())
    }

    fn seed_index(&self) -> anyhow::Result<()> {
        let mut schema = Schema::builder();
        let id = schema.add_text_field("id", STRING | STORED);
        let address = schema.add_text_field("address", TEXT | STORED);
        let precise = DateOptions::from(FAST).set_precision(DateTimePrecision::Microseconds);
        let updated_at = schema.add_date_field("updated_at", precise.set_stored());
        std::fs::create_dir_all(self.index())?;
        let index = tantivy::Index::create_in_dir(self.index(), schema.build())?;
        let mut writer = index.writer_with_num_threads::<tantivy::TantivyDocument>(1, 15_000_000)?;
        for number in 1..=LISTINGS {
            writer.add_document(tantivy::doc!(
                id => format!("2:W{number}"),
                address => format!("{number} Elm Street"),
                updated_at => DateTime::from_timestamp_secs(SEEDED_AT)
            ))?;
        }
        writer.commit()?;
        writer.wait_merging_threads()?;
        Ok(())
    }

    fn write_config(&self) -> anyhow::Result<()> {
        for (name, secret) in [
            ("repliers.secret", "demo-hook-secret"),
            ("repliers.api-key", "demo-api-key"),
            ("leadlex.secret", "demo-leadlex-secret"),
        ] {
            std::fs::write(self.path.join(name), secret)?;
        }
        let Self { path, hooks, admin, upstream } = self;
        let path = path.display();
        let text = format!(
            r#"# Written by `expunged demo`; `expunged serve --config` goes on with it.

[server]
hooks = "127.0.0.1:{hooks}"
admin = "127.0.0.1:{admin}"

[state]
url = "sqlite://{path}/expunged.db"

[sources.repliers]
preset = "repliers"
base_url = "http://127.0.0.1:{upstream}"
secret = {{ file = "{path}/repliers.secret" }}
api_key = {{ file = "{path}/repliers.api-key" }}

[sources.leadlex]
preset = "leadlex"
secret = {{ file = "{path}/leadlex.secret" }}

[targets.replica]
kind = "sql"
url = "sqlite://{path}/replica.db"
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
path = "{path}/search"
entities.listing = {{ field = "id", id = "{{0}}:{{1}}", guard = "updated_at" }}
"#
        );
        std::fs::write(self.config(), text)?;
        Ok(())
    }
}

/// Three ports that are free at this moment.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let held: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let ports: Vec<u16> =
        held.iter().map(|held| Ok(held.local_addr()?.port())).collect::<std::io::Result<_>>()?;
    ports.try_into().map_err(|_| anyhow::anyhow!("three ports were asked for"))
}
