//! SQLite: opening a file, one writing transaction at a time, and what its result codes mean.
//!
//! The customer's journal mode, and how often it is checkpointed, are left alone.

mod catalogue;
mod errors;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::catalogue::Catalogue;
use super::key::Arg;
use super::plan::Plan;
use super::session::{Access, Session, Sql};
use super::statements::Statements;
use super::way::Way;
use crate::targets::TargetError;
use errors::classify;

/// How long a statement waits for another process's lock before the batch is put off.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache, in KiB as the pragma wants it, negative: 64 MiB hold the pages of a batch of 10,000.
const CACHE_KIB: &str = "-65536";
/// Prepared texts kept: about 40 for each configured entity.
const STATEMENTS_KEPT: usize = 512;
/// Arguments after which queued statements are sent: the keys of a few deletions go along with what finds them,
/// and many keys go by themselves, so that there are few different texts to prepare.
const QUEUED_ARGS_MAX: usize = 64;

/// Where the database is, and how it is opened.
#[derive(Clone, Debug)]
pub struct Place(SqliteConnectOptions);

impl Place {
    /// # Errors
    /// The address cannot be understood. Nothing is opened.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let options = SqliteConnectOptions::from_str(url).map_err(|_| {
            TargetError::Misconfigured(
                "the url is no address of a SQLite file: write sqlite://path".to_owned(),
            )
        })?;
        let options = options
            // A replica that is not there is a fault, not an empty replica.
            .create_if_missing(false)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(STATEMENTS_KEPT)
            .pragma("temp_store", "MEMORY")
            .pragma("cache_size", CACHE_KIB)
            .disable_statement_logging();
        Ok(Self(options))
    }
}

#[async_trait]
impl super::session::Place for Place {
    async fn open(&self) -> Result<Box<dyn Session>, TargetError> {
        let connection = self.0.connect().await.map_err(classify)?;
        let file = self.0.get_filename().to_owned();
        let (opened, queued) = (identity(&file), Queued::default());
        Ok(Box::new(SqliteSession { connection, schema: 0, opened, file, queued }))
    }
}

/// Tells one file from another of the same name: a replica may be replaced as a whole, and an open
/// connection would go on deleting from the file that is no longer there.
#[cfg(unix)]
fn identity(file: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(file).ok().map(|data| (data.dev(), data.ino()))
}

/// Where an open file cannot be replaced.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<(u64, u64)> {
    None
}

pub struct SqliteSession {
    connection: SqliteConnection,
    /// The schema's version when the catalogue was read.
    schema: i64,
    file: PathBuf,
    opened: Option<(u64, u64)>,
    /// What has not gone to the database yet.
    queued: Queued,
}

/// Statements that go to the connection's thread in one trip, and so far nowhere.
#[derive(Default)]
struct Queued {
    text: String,
    args: Vec<Arg>,
    /// It begins the transaction, and answers with the schema's version first.
    begins: bool,
}

impl Queued {
    fn push(&mut self, sql: &str, args: Vec<Arg>) {
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
        self.text.push_str(sql);
        self.args.extend(args);
    }
}

impl SqliteSession {
    async fn schema_version(&mut self) -> Result<i64, TargetError> {
        sqlx::query_scalar("PRAGMA main.schema_version")
            .fetch_one(&mut self.connection)
            .await
            .map_err(classify)
    }

    /// Sends what is queued; the last answer, if there is one.
    async fn send(&mut self) -> Result<Option<SqliteRow>, TargetError> {
        let Queued { text, args, begins } = std::mem::take(&mut self.queued);
        let query = sqlx::query_with(AssertSqlSafe(text), bound(args)?);
        let mut rows = query.fetch_all(&mut self.connection).await.map_err(classify)?.into_iter();
        if begins {
            let version: Option<i64> = rows.next().map(|row| row.try_get(0).map_err(classify)).transpose()?;
            if version != Some(self.schema) || self.opened != identity(&self.file) {
                return Err(TargetError::Unavailable(
                    "its schema, or the file itself, was changed".to_owned(),
                ));
            }
        }
        Ok(rows.next_back())
    }
}

#[async_trait]
impl Session for SqliteSession {
    async fn catalogue(&mut self, names: &[&str]) -> Result<Catalogue, TargetError> {
        self.schema = self.schema_version().await?;
        catalogue::read(&mut self.connection, names).await.map_err(classify)
    }

    fn way(&self, plan: &Plan, number: usize) -> Box<dyn Way> {
        Box::new(Statements::write(plan, number))
    }

    async fn create(&mut self, sql: &Sql) -> Result<(), TargetError> {
        self.queued.push(sql, Vec::new());
        self.send().await.map(drop)
    }

    async fn foreign_keys(&mut self, needed: bool) -> Result<(), TargetError> {
        let pragma = if needed { "PRAGMA foreign_keys = ON" } else { "PRAGMA foreign_keys = OFF" };
        self.queued.push(pragma, Vec::new());
        self.send().await.map(drop)
    }

    async fn outdated(&mut self) -> Result<bool, TargetError> {
        Ok(self.opened != identity(&self.file) || self.schema_version().await? != self.schema)
    }

    async fn begin(&mut self, access: Access) -> Result<(), TargetError> {
        // A deferred transaction that read first cannot wait for the write lock: it fails at once.
        let begin = match access {
            Access::Read => "BEGIN",
            Access::Write => "BEGIN IMMEDIATE",
        };
        self.queued = Queued { begins: true, ..Queued::default() };
        self.queued.push(begin, Vec::new());
        self.queued.push("PRAGMA main.schema_version", Vec::new());
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), TargetError> {
        self.queued.push("COMMIT", Vec::new());
        self.send().await.map(drop)
    }

    async fn rollback(&mut self) -> Result<(), TargetError> {
        self.queued = Queued::default();
        self.queued.push("ROLLBACK", Vec::new());
        match self.send().await {
            // Some errors (a full disk among them) have ended the transaction already.
            Err(TargetError::Refused { code: errors::STATEMENT, .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn run(&mut self, sql: &Sql, args: Vec<Arg>) -> Result<(), TargetError> {
        self.queued.push(sql, args);
        if self.queued.args.len() > QUEUED_ARGS_MAX {
            self.send().await?;
        }
        Ok(())
    }

    async fn json(&mut self, sql: &Sql, args: Vec<Arg>) -> Result<String, TargetError> {
        self.queued.push(sql, args);
        let row = self.send().await?.ok_or_else(|| classify(sqlx::Error::RowNotFound))?;
        let bytes: Vec<u8> = row.try_get(0).map_err(classify)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }
}

fn bound(args: Vec<Arg>) -> Result<SqliteArguments, TargetError> {
    use sqlx::Arguments;
    let mut bound = SqliteArguments::default();
    bound.reserve(args.len(), 0);
    for arg in args {
        match arg {
            Arg::Null => bound.add(None::<i64>),
            Arg::Integer(number) => bound.add(number),
            Arg::Text(text) => bound.add(text),
        }
        .map_err(|error| classify(sqlx::Error::Encode(error)))?;
    }
    Ok(bound)
}
