//! SQLite: opening a file, one writing transaction at a time, and what its result codes mean.
//!
//! The customer's journal mode, and how often it is checkpointed, are left alone.

mod catalogue;
mod errors;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::catalogue::Catalogue;
use super::key::Arg;
use super::session::{Access, Session, Sql};
use crate::targets::TargetError;
use errors::classify;

/// How long a statement waits for another process's lock before the batch is put off.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache, in KiB as the pragma wants it, negative: 64 MiB hold the pages of a batch of 10,000.
const CACHE_KIB: &str = "-65536";
/// Prepared statements kept: about 20 for each configured entity.
const STATEMENTS_KEPT: usize = 512;

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

    /// # Errors
    /// The file cannot be opened now.
    pub async fn open(&self) -> Result<SqliteSession, TargetError> {
        let connection = self.0.connect().await.map_err(classify)?;
        let file = self.0.get_filename().to_owned();
        Ok(SqliteSession { connection, schema: 0, opened: identity(&file), file })
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
}

impl SqliteSession {
    async fn schema_version(&mut self) -> Result<i64, TargetError> {
        sqlx::query_scalar("PRAGMA main.schema_version")
            .fetch_one(&mut self.connection)
            .await
            .map_err(classify)
    }

    async fn say(&mut self, sql: &'static str) -> Result<(), TargetError> {
        sqlx::query(sql).execute(&mut self.connection).await.map_err(classify)?;
        Ok(())
    }
}

#[async_trait]
impl Session for SqliteSession {
    async fn catalogue(&mut self, names: &[&str]) -> Result<Catalogue, TargetError> {
        self.schema = self.schema_version().await?;
        catalogue::read(&mut self.connection, names).await.map_err(classify)
    }

    async fn outdated(&mut self) -> Result<bool, TargetError> {
        Ok(self.opened != identity(&self.file) || self.schema_version().await? != self.schema)
    }

    async fn begin(&mut self, access: Access) -> Result<(), TargetError> {
        // A deferred transaction that read first cannot wait for the write lock: it fails at once.
        self.say(match access {
            Access::Read => "BEGIN",
            Access::Write => "BEGIN IMMEDIATE",
        })
        .await
    }

    async fn commit(&mut self) -> Result<(), TargetError> {
        self.say("COMMIT").await
    }

    async fn rollback(&mut self) -> Result<(), TargetError> {
        match self.say("ROLLBACK").await {
            // Some errors (a full disk among them) have ended the transaction already.
            Err(TargetError::Refused { code: errors::STATEMENT, .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn run(&mut self, sql: &Sql, args: Vec<Arg>) -> Result<u64, TargetError> {
        let query = sqlx::query_with(AssertSqlSafe(Sql::clone(sql)), bound(args)?);
        Ok(query.execute(&mut self.connection).await.map_err(classify)?.rows_affected())
    }

    async fn json(&mut self, sql: &Sql, args: Vec<Arg>) -> Result<String, TargetError> {
        let query = sqlx::query_with(AssertSqlSafe(Sql::clone(sql)), bound(args)?);
        let row = query.fetch_one(&mut self.connection).await.map_err(classify)?;
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
