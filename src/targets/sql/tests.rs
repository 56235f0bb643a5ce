//! The target on real SQLite files: what only SQLite does, and what must be seen from inside.

mod asked;
mod checks;
mod family;
mod faults;
mod many;
mod plans;
mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row};

use super::SqlTarget;
use crate::config::Secret;
use crate::config::target::{Child, Guard, Limits, OnDelete, Sql, Table};
use crate::domain::timestamp::TimeFormat;
use crate::domain::{Action, Entity, Key, Timestamp};
use crate::targets::{Batch, Effect, Removal, Target, TargetError};

/// A database file, a connection of its owner, and the target.
struct Bench {
    path: PathBuf,
    owner: SqliteConnection,
    target: SqlTarget,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new(schema: &str, table: Table) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("replica.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true).foreign_keys(false);
        let owner = options.connect().await.unwrap();
        let target = target(&path, table);
        let mut bench = Self { path, owner, target, _dir: dir };
        bench.sql(schema).await;
        bench
    }

    async fn sql(&mut self, sql: &str) {
        self.owner.execute(AssertSqlSafe(sql)).await.unwrap();
    }

    /// One line a row, columns joined by `|`.
    async fn lines(&mut self, sql: &str) -> Vec<String> {
        let rows = self.owner.fetch_all(AssertSqlSafe(sql)).await.unwrap();
        let text = |row: &sqlx::sqlite::SqliteRow, index| {
            row.try_get_unchecked::<Option<String>, usize>(index).unwrap().unwrap_or("NULL".to_owned())
        };
        rows.iter().map(|row| (0..row.len()).map(|i| text(row, i)).collect::<Vec<_>>().join("|")).collect()
    }

    async fn apply(&self, removals: Vec<Removal>) -> Result<Vec<Effect>, TargetError> {
        self.target.apply(&Batch { number: 1, removals }).await
    }

    async fn delete(&self, keys: &[&[&str]]) -> Vec<Effect> {
        self.apply(keys.iter().map(|key| delete(key)).collect()).await.unwrap()
    }
}

fn target(path: &std::path::Path, table: Table) -> SqlTarget {
    let url = Secret::new(format!("sqlite://{}", path.display()));
    let entities = BTreeMap::from([(Entity::new("listing"), table)]);
    SqlTarget::connect("replica", &Sql { url, limits: Limits::default(), entities }).unwrap()
}

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn removal(action: Action, key: &[&str], at: Timestamp) -> Removal {
    let key = Key::new(key.iter().map(ToString::to_string).collect()).unwrap();
    Removal { entity: Entity::new("listing"), key, action, at }
}

fn delete(key: &[&str]) -> Removal {
    removal(Action::Delete, key, NOW)
}

fn table(key: &[&str]) -> Table {
    Table {
        table: "listings".to_owned(),
        key: key.iter().map(ToString::to_string).collect(),
        alternates: BTreeMap::new(),
        guard: None,
        deleted_at: None,
        deactivate: Vec::new(),
        children: Vec::new(),
    }
}

fn guarded(key: &[&str], format: Option<TimeFormat>) -> Table {
    Table { guard: Some(Guard { column: "updated_at".to_owned(), format }), ..table(key) }
}

fn child(table: &str, column: &str, on_delete: OnDelete) -> Child {
    Child {
        table: table.to_owned(),
        column: column.to_owned(),
        references: "id".to_owned(),
        on_delete,
        children: Vec::new(),
    }
}

fn with_children(children: Vec<Child>) -> Table {
    Table { children, ..table(&["id"]) }
}

fn removed(rows: u64) -> Effect {
    Effect::Removed { rows }
}

fn code(effect: &Effect) -> &'static str {
    match effect {
        Effect::Failed(failure) => failure.code,
        _ => "",
    }
}
