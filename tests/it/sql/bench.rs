//! A database with a schema, its owner's connection, and the target over it.
//!
//! Schemas are written once, in words that every database reads, but for types: `{text}` holds any text byte
//! for byte, `{key}` is that in an index, `{time}` holds a moment, `{loose}` is text that ignores case.

use std::collections::BTreeMap;
use std::path::PathBuf;

use expunged::config::Secret;
use expunged::config::target::{Child, Guard, Limits, OnDelete, Sql, Table};
use expunged::domain::timestamp::TimeFormat;
use expunged::domain::{Action, Entity, Key, Timestamp};
use expunged::targets::sql::SqlTarget;
use expunged::targets::{Batch, Effect, Finding, Removal, Severity, Target as _, TargetError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _};
use tempfile::TempDir;

use crate::support::servers::{self, mariadb, postgres};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
    MariaDb,
}

impl Database {
    pub fn available(self) -> bool {
        match self {
            Self::Sqlite => true,
            Self::Postgres | Self::MariaDb => servers::available(self.kind()),
        }
    }

    /// The server.
    ///
    /// # Panics
    /// It is SQLite, which has none.
    pub fn kind(self) -> &'static dyn servers::Kind {
        match self {
            Self::Sqlite => panic!("SQLite has no server"),
            Self::Postgres => &postgres::Postgres,
            Self::MariaDb => &mariadb::MariaDb,
        }
    }

    /// An empty database of the shared server, which is there.
    pub async fn fresh(self) -> servers::Database {
        match self {
            Self::MariaDb => mariadb::database().await.unwrap(),
            _ => postgres::database().await.unwrap(),
        }
    }

    fn words(self) -> [(&'static str, &'static str); 5] {
        match self {
            Self::Sqlite => [
                ("{text}", "TEXT"),
                ("{key}", "TEXT"),
                ("{time}", "TEXT"),
                ("{loose}", "TEXT COLLATE NOCASE"),
                ("{real}", "REAL"),
            ],
            Self::Postgres => [
                ("{text}", "text"),
                ("{key}", "text"),
                ("{time}", "timestamptz"),
                ("{loose}", "text COLLATE loose"),
                ("{real}", "double precision"),
            ],
            // Its own types of times read no zone.
            Self::MariaDb => [
                ("{text}", "LONGTEXT"),
                ("{key}", "VARCHAR(255) COLLATE utf8mb4_bin"),
                ("{time}", "VARCHAR(64)"),
                ("{loose}", "VARCHAR(255) COLLATE utf8mb4_general_ci"),
                ("{real}", "DOUBLE"),
            ],
        }
    }

    /// The statements in this database's own words.
    fn say(self, sql: &str) -> String {
        self.words().iter().fold(sql.to_owned(), |sql, (word, own)| sql.replace(word, own))
    }
}

enum Owner {
    File(TempDir),
    Server(servers::Database),
}

pub struct Bench {
    pub database: Database,
    pub target: SqlTarget,
    owner: Owner,
}

impl Bench {
    pub async fn new(database: Database, schema: &str, table: Table) -> Self {
        let owner = match database {
            Database::Sqlite => Owner::File(tempfile::tempdir().unwrap()),
            Database::Postgres | Database::MariaDb => Owner::Server(database.fresh().await),
        };
        let target = target(&owner.url(), table);
        let bench = Self { database, target, owner };
        if database == Database::Postgres && schema.contains("{loose}") {
            bench
                .sql("CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
                .await;
        }
        bench.sql(schema).await;
        bench
    }

    pub async fn sql(&self, sql: &str) {
        let sql = self.database.say(sql);
        match &self.owner {
            Owner::Server(database) => database.sql(&sql).await,
            Owner::File(folder) => {
                open(&file(folder)).await.execute(AssertSqlSafe(sql)).await.unwrap();
            }
        }
    }

    /// One line a row, columns joined by `|`.
    pub async fn lines(&self, sql: &str) -> Vec<String> {
        match &self.owner {
            Owner::Server(database) => database.lines(sql).await,
            Owner::File(folder) => {
                let rows = open(&file(folder)).await.fetch_all(AssertSqlSafe(sql)).await.unwrap();
                let text = |row: &sqlx::sqlite::SqliteRow, index| {
                    row.try_get_unchecked::<Option<String>, usize>(index)
                        .unwrap()
                        .unwrap_or("NULL".to_owned())
                };
                let line = |row| (0..sqlx::Row::len(row)).map(|i| text(row, i)).collect::<Vec<_>>().join("|");
                rows.iter().map(line).collect()
            }
        }
    }

    pub async fn apply(&self, removals: Vec<Removal>) -> Result<Vec<Effect>, TargetError> {
        self.target.apply(&Batch { number: 1, removals }).await
    }

    pub async fn delete(&self, keys: &[&[&str]]) -> Vec<Effect> {
        self.apply(keys.iter().map(|key| delete(key)).collect()).await.unwrap()
    }

    pub async fn check(&self) -> Vec<Finding> {
        self.target.check().await.unwrap()
    }

    /// Another target over the same database.
    pub fn other(&self, table: Table) -> SqlTarget {
        target(&self.owner.url(), table)
    }

    /// Where the owner connects to.
    pub fn url(&self) -> String {
        self.owner.url()
    }
}

impl Owner {
    fn url(&self) -> String {
        match self {
            Self::File(folder) => format!("sqlite://{}", file(folder).display()),
            Self::Server(database) => database.url.clone(),
        }
    }
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("replica.db")
}

async fn open(path: &std::path::Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).foreign_keys(false);
    options.connect().await.unwrap()
}

/// The name of the database at this address.
pub fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// A target over the database at this address that keeps listings.
pub fn target(url: &str, table: Table) -> SqlTarget {
    let entities = BTreeMap::from([(Entity::new("listing"), table)]);
    SqlTarget::connect("replica", &Sql { url: Secret::new(url), limits: Limits::default(), entities })
        .unwrap()
}

pub const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

pub fn removal(action: Action, key: &[&str], at: Timestamp) -> Removal {
    let key = Key::new(key.iter().map(ToString::to_string).collect()).unwrap();
    Removal { entity: Entity::new("listing"), key, action, at }
}

pub fn delete(key: &[&str]) -> Removal {
    removal(Action::Delete, key, NOW)
}

pub fn table(key: &[&str]) -> Table {
    Table {
        alternates: BTreeMap::new(),
        table: "listings".to_owned(),
        key: key.iter().map(ToString::to_string).collect(),
        guard: None,
        deleted_at: None,
        deactivate: Vec::new(),
        children: Vec::new(),
    }
}

pub fn guarded(key: &[&str], format: Option<TimeFormat>) -> Table {
    Table { guard: Some(Guard { column: "updated_at".to_owned(), format }), ..table(key) }
}

pub fn child(table: &str, column: &str, on_delete: OnDelete) -> Child {
    Child {
        table: table.to_owned(),
        column: column.to_owned(),
        references: "id".to_owned(),
        on_delete,
        children: Vec::new(),
    }
}

pub fn with_children(children: Vec<Child>) -> Table {
    Table { children, ..table(&["id"]) }
}

pub fn removed(rows: u64) -> Effect {
    Effect::Removed { rows }
}

pub fn code(effect: &Effect) -> &'static str {
    match effect {
        Effect::Failed(failure) => failure.code,
        Effect::Unfit(_) => "schema",
        _ => "",
    }
}

/// Whether a finding of this severity says this, in its text or its mend.
pub fn says(findings: &[Finding], severity: Severity, words: &str) -> bool {
    findings.iter().any(|finding| {
        finding.severity == severity && (finding.what.contains(words) || finding.mend.contains(words))
    })
}
