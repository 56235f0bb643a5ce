//! A folder with everything a daemon needs: a replica with children and guard, an index, a configuration.

#![allow(clippy::unwrap_used, reason = "support of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tantivy::collector::DocSetCollector;
use tantivy::query::AllQuery;
use tantivy::schema::{STORED, STRING, Schema, Value};
use tempfile::TempDir;

use super::{Daemon, Journal, replica};
use crate::support::logs;
pub use crate::support::secrets::BOARD_SECRET as SECRET;
use crate::support::servers::Database;

pub const BOARD: u32 = 2;
pub const DELETED_AT: &str = "2024-06-01T00:00:00Z";
/// Every listing of this many is newer than any deletion: its row must stay.
pub const NEWER_EVERY: u32 = 50;

const SCHEMA: &str = "
CREATE TABLE listings (
    id INTEGER PRIMARY KEY, board_id INTEGER NOT NULL, mls_number TEXT NOT NULL, address TEXT NOT NULL,
    updated_at TEXT NOT NULL, UNIQUE (board_id, mls_number));
CREATE TABLE images (
    id INTEGER PRIMARY KEY, listing_id INTEGER NOT NULL REFERENCES listings (id), url TEXT NOT NULL);
CREATE INDEX images_of ON images (listing_id);
CREATE TABLE bookings (
    id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings (id), visitor TEXT NOT NULL);
CREATE INDEX bookings_of ON bookings (listing_id);
";
const SEED: &str = "
INSERT INTO listings (id, board_id, mls_number, address, updated_at)
  SELECT value, {board}, 'W' || value, value || ' Elm Street',
    CASE WHEN value % {newer} = 0 THEN '2100-01-01T00:00:00Z' ELSE '2024-01-01T00:00:00Z' END FROM {numbers};
INSERT INTO images (listing_id, url)
  SELECT n.value, n.value || '/' || i.value FROM {numbers} AS n, (SELECT 1 AS value UNION SELECT 2) AS i;
INSERT INTO bookings (listing_id, visitor) SELECT value, 'visitor ' || value FROM {numbers};
";

/// What differs from one test's home to another's.
pub struct Setup {
    pub listings: u32,
    /// Rows that the brake lets go.
    pub brake_rows: u64,
    /// Where the state lies; within the home if relative.
    pub state: PathBuf,
    /// More of the configuration; `{folder}` is the home's.
    pub more: String,
    pub hooks_port: u16,
    /// The database of a server that holds the replica; without one, it is a file of the home's.
    pub replica: Option<Database>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            listings: 500,
            brake_rows: 1_000_000,
            state: "state".into(),
            more: String::new(),
            hooks_port: 0,
            replica: None,
        }
    }
}

pub struct Home {
    folder: TempDir,
    setup: Setup,
}

impl Home {
    pub async fn new(setup: Setup) -> Self {
        let home = Self { folder: TempDir::new().unwrap(), setup };
        match &home.setup.replica {
            Some(database) => replica::seed(database, home.setup.listings).await,
            None => home.seed_replica().await,
        }
        home.seed_index();
        std::fs::write(home.path("board.secret"), SECRET).unwrap();
        std::fs::write(home.path("expunged.toml"), home.config()).unwrap();
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The journal's file.
    pub fn journal_file(&self) -> PathBuf {
        self.folder.path().join(&self.setup.state).join("expunged.db")
    }

    /// The file of what is folded.
    pub fn projections_file(&self) -> PathBuf {
        self.folder.path().join(&self.setup.state).join("expunged.projections.db")
    }

    /// The program on this home's configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_expunged"));
        command.arg("--config").arg(self.path("expunged.toml")).args(arguments);
        command
    }

    pub fn serve(&self) -> Daemon {
        Daemon::spawn(self.command(&["serve"]))
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        logs::file().write_all(&output.stderr).unwrap();
        output
    }

    /// Runs a command that must succeed; what it printed.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The journal, as the program exports it.
    pub fn journal(&self) -> Journal {
        Journal::parse(&self.succeed(&["journal", "export"]))
    }

    fn config(&self) -> String {
        let Setup { brake_rows, hooks_port, more, replica, .. } = &self.setup;
        let (folder, journal) = (self.folder.path().display(), self.journal_file());
        let file = || format!("sqlite://{folder}/replica.db");
        let replica = replica.as_ref().map_or_else(file, |database| database.url.clone());
        let more = more.replace("{folder}", &folder.to_string());
        format!(
            r#"
server.hooks = "127.0.0.1:{hooks_port}"
server.admin = "127.0.0.1:0"
state = {{ url = "sqlite://{journal}" }}
brake = {{ rows = {brake_rows} }}
log = {{ format = "json", level = "debug" }}

[sources.board]
entity = "listing"
rate_per_second = 1000000
secret = {{ file = "{folder}/board.secret" }}
auth = {{ scheme = "static_secret", headers = ["x-hook-secret"] }}
payload = {{ event = "path", items = ["/data"], key = ["/board", "/number"], deleted_at = "/deleted_at" }}
events = {{ "listing.deleted" = "delete" }}

[targets.replica]
kind = "sql"
url = "{replica}"

[targets.replica.entities.listing]
table = "listings"
key = ["board_id", "mls_number"]
guard = "updated_at"
children = [
  {{ table = "images", column = "listing_id", references = "id", on_delete = "delete" }},
  {{ table = "bookings", column = "listing_id", references = "id", on_delete = "nullify" }},
]

[targets.search]
kind = "tantivy"
path = "{folder}/search"
entities.listing = {{ field = "id", id = "{{0}}:{{1}}" }}
{more}"#,
            journal = journal.display()
        )
    }

    async fn seed_replica(&self) {
        let file = self.path("replica.db");
        let mut replica = open(&file).await;
        sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&mut replica).await.unwrap();
        let numbers = format!(
            "(WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {})
              SELECT value FROM n)",
            self.setup.listings
        );
        let seed = SEED
            .replace("{numbers}", &numbers)
            .replace("{board}", &BOARD.to_string())
            .replace("{newer}", &NEWER_EVERY.to_string());
        let script = format!("BEGIN; {SCHEMA} {seed} COMMIT; PRAGMA wal_checkpoint (TRUNCATE)");
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut replica).await.unwrap();
        replica.close().await.unwrap();
        std::fs::copy(file, self.path("pristine.db")).unwrap();
    }

    fn seed_index(&self) {
        let mut schema = Schema::builder();
        let id = schema.add_text_field("id", STRING | STORED);
        std::fs::create_dir(self.path("search")).unwrap();
        let index = tantivy::Index::create_in_dir(self.path("search"), schema.build()).unwrap();
        let mut writer = index.writer_with_num_threads::<tantivy::TantivyDocument>(1, 15_000_000).unwrap();
        for number in 1..=self.setup.listings {
            writer.add_document(tantivy::doc!(id => document(number))).unwrap();
        }
        writer.commit().unwrap();
        writer.wait_merging_threads().unwrap();
    }

    /// Holds the replica against the simplest program that could have deleted these listings, row by row, and
    /// the index against the list of what is left. Says nothing about documents of rows that are newer.
    pub async fn assert_gone_exactly(&self, numbers: &BTreeSet<u32>) {
        match &self.setup.replica {
            Some(database) => replica::assert_gone_exactly(database, self.setup.listings, numbers).await,
            None => self.assert_gone_from_file(numbers).await,
        }
        let newer = |id: &String| id.rsplit('W').next().unwrap().parse::<u32>().unwrap() % NEWER_EVERY == 0;
        let mut left: BTreeSet<String> =
            (1..=self.setup.listings).filter(|number| !numbers.contains(number)).map(document).collect();
        let mut documents = self.documents();
        left.retain(|id| !newer(id));
        documents.retain(|id| !newer(id));
        assert!(documents == left, "too many or too few: {:?}", documents.symmetric_difference(&left));
    }

    async fn assert_gone_from_file(&self, numbers: &BTreeSet<u32>) {
        let mut expected = open(&self.path("pristine.db")).await;
        let mut transaction = expected.begin().await.unwrap();
        for number in numbers.iter().filter(|number| *number % NEWER_EVERY != 0) {
            for statement in [
                "DELETE FROM images WHERE listing_id = ?",
                "UPDATE bookings SET listing_id = NULL WHERE listing_id = ?",
                "DELETE FROM listings WHERE id = ?",
            ] {
                sqlx::query(statement).bind(number).execute(&mut *transaction).await.unwrap();
            }
        }
        let expected = dump(&mut transaction).await;
        transaction.rollback().await.unwrap();
        assert_same(&dump(&mut open(&self.path("replica.db")).await).await, &expected);
    }

    fn documents(&self) -> BTreeSet<String> {
        let index = tantivy::Index::open_in_dir(self.path("search")).unwrap();
        let id = index.schema().get_field("id").unwrap();
        let searcher = index.reader().unwrap().searcher();
        let found = searcher.search(&AllQuery, &DocSetCollector).unwrap();
        let name = |address| {
            let document: tantivy::TantivyDocument = searcher.doc(address).unwrap();
            document.get_first(id).unwrap().as_str().unwrap().to_owned()
        };
        found.into_iter().map(name).collect()
    }
}

fn document(number: u32) -> String {
    format!("{BOARD}:W{number}")
}

/// A connection to any of the databases.
pub async fn open(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    options.disable_statement_logging().connect().await.unwrap()
}

/// All rows of all tables as text, whatever the schema; that of the migrations aside, which holds times.
pub async fn dump(database: &mut SqliteConnection) -> BTreeMap<String, Vec<String>> {
    let tables = "SELECT m.name, group_concat('quote(\"' || c.name || '\")', ' || '','' || ') AS columns
        FROM sqlite_schema AS m, pragma_table_info(m.name) AS c
        WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> '_sqlx_migrations' GROUP BY m.name";
    let tables: Vec<(String, String)> = sqlx::query_as(tables).fetch_all(&mut *database).await.unwrap();
    let mut dump = BTreeMap::new();
    for (table, columns) in tables {
        let rows = AssertSqlSafe(format!("SELECT {columns} AS text FROM \"{table}\" ORDER BY text"));
        dump.insert(table, sqlx::query_scalar(rows).fetch_all(&mut *database).await.unwrap());
    }
    dump
}

/// Names the first row that differs, instead of printing both databases.
pub fn assert_same(found: &BTreeMap<String, Vec<String>>, expected: &BTreeMap<String, Vec<String>>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (table, rows) in found {
        let differs = rows.iter().zip(&expected[table]).find(|(found, expected)| found != expected);
        assert_eq!(differs, None, "{table}: found and expected");
        assert_eq!(rows.len(), expected[table].len(), "{table}: number of rows");
    }
}
