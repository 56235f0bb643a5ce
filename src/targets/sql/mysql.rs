//! MariaDB 10.6 and later, and MySQL 8: one session, READ COMMITTED, rows locked before they are judged.
//!
//! Keys go to the server as one JSON text, which `JSON_TABLE` makes a table of. Measured on MariaDB 10.11 with
//! 200,000 listings of 7 children, 5,000 random keys a transaction: 260 ms, as with keys loaded into a temporary
//! table (254 ms with InnoDB, 267 ms with MEMORY), and 77 ms for 1,000 (76, 74). So it is what needs neither a
//! right to create tables nor a state of the connection, and what replicas of the replica carry out as they are.
//! A list of 1,000 pairs, `(a, b) IN (…)`, took more than a minute: the server reads the whole table for it.
//!
//! Nothing here goes by RETURNING, which MySQL does not have: what is gone is told by what was locked before and
//! what is read again afterwards.

mod catalogue;
mod errors;
mod options;
mod watch;
mod way;

use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Executor as _, Row as _};

use super::catalogue::Catalogue;
use super::key::Arg;
use super::plan::Plan;
use super::session::{Access, Session, Sql, Strain};
use super::way::Way;
use crate::targets::TargetError;
use errors::classify;
pub use options::Place;
use watch::Watch;
use way::JsonWay;

/// How long an answer may take: longer than a statement may run, after which the network is what does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);
const LOCK_WAITS: &str = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
/// Statements that run this moment, this one among them; whose they are, only a PROCESS right would tell.
const RUNNING: &str = "SHOW GLOBAL STATUS LIKE 'Threads_running'";
/// Servers that copy from this one, each of which counts as a statement that runs. MySQL does not tell of them: there,
/// we rest beside them.
const COPYING: &str = "SHOW GLOBAL STATUS LIKE 'Slaves_connected'";
/// A server tells how far itself is behind, and not those that copy from it.
const BEHIND: &str = "SHOW REPLICA STATUS";
/// How often the catalogue is read, until nothing changed between two readings and what is watched is what was read.
const READINGS_MAX: usize = 5;
/// What a connection is told first. Whatever the server's settings: a value that does not fit is refused, rows and
/// tables that others hold are waited for 5 seconds at most (the servers' own limits are 50 seconds and a year),
/// foreign keys hold, and each statement sees what was committed before it.
const SETTINGS: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1, \
    innodb_lock_wait_timeout = 5, lock_wait_timeout = 5, foreign_key_checks = 1, sql_safe_updates = 0, \
    sql_select_limit = DEFAULT, sql_big_selects = 1; \
    SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
/// Seconds after which MariaDB stops a statement; MySQL has no such limit for what writes.
const MARIADB_SETTINGS: &str = "SET SESSION max_statement_time = 30";
/// How the rows `p` of a join with the argument are locked: MySQL refuses to lock an argument (error 3569), and
/// MariaDB cannot name what it locks.
const MARIADB_LOCK: &str = "FOR UPDATE";
const MYSQL_LOCK: &str = "FOR UPDATE OF p";

#[async_trait]
impl super::session::Place for Place {
    async fn open(&self) -> Result<Box<dyn Session>, TargetError> {
        let mut connection = in_time(self.options.connect()).await?;
        let version: String =
            sqlx::query_scalar("SELECT version()").fetch_one(&mut connection).await.map_err(classify)?;
        let mariadb = serves(&version)?;
        connection.execute(AssertSqlSafe(SETTINGS)).await.map_err(classify)?;
        if mariadb {
            connection.execute(AssertSqlSafe(MARIADB_SETTINGS)).await.map_err(classify)?;
        }
        let (database, watch) = (self.database.clone(), Watch::default());
        Ok(Box::new(MySqlSession { connection, mariadb, database, watch }))
    }

    fn shared(&self) -> bool {
        true
    }
}

/// Whether it is MariaDB.
///
/// # Errors
/// It has no `JSON_TABLE`.
fn serves(version: &str) -> Result<bool, TargetError> {
    let mariadb = version.contains("MariaDB");
    // Some servers put "5.5.5-" before their version, for clients that know no other.
    let version = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let numbers = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if numbers < if mariadb { (10, 6) } else { (8, 0) } {
        return Err(TargetError::Misconfigured(format!(
            "the server is version {}.{}: MariaDB 10.6 or MySQL 8 is needed",
            numbers.0, numbers.1
        )));
    }
    Ok(mariadb)
}

pub struct MySqlSession {
    connection: MySqlConnection,
    mariadb: bool,
    database: String,
    /// What the plans were made for.
    watch: Watch,
}

async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, TargetError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(classify),
        Err(_) => Err(TargetError::Unavailable("the database does not answer".to_owned())),
    }
}

impl MySqlSession {
    async fn say(&mut self, sql: String) -> Result<(), TargetError> {
        in_time(sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection)).await.map(drop)
    }

    /// A number that `SHOW STATUS` tells; one that the server does not know is 0.
    async fn status(&mut self, show: &'static str) -> Result<u32, TargetError> {
        let rows = in_time(sqlx::raw_sql(show).fetch_all(&mut self.connection)).await?;
        let value = rows.last().map_or(Ok(String::new()), |row| text(row, 1)).map_err(classify)?;
        Ok(value.parse().unwrap_or(0))
    }
}

#[async_trait]
impl Session for MySqlSession {
    async fn catalogue(&mut self, names: &[&str]) -> Result<Catalogue, TargetError> {
        let mut catalogue = in_time(catalogue::read(&mut self.connection, &self.database)).await?;
        for _ in 0..READINGS_MAX {
            let mut watch = Watch::over(&self.database, &catalogue, names);
            watch.seen = in_time(watch.look(&mut self.connection)).await?;
            self.watch = watch;
            let before = catalogue;
            catalogue = in_time(catalogue::read(&mut self.connection, &self.database)).await?;
            if catalogue.relations == before.relations {
                return Ok(catalogue);
            }
        }
        Err(TargetError::Unavailable("its schema changes again and again while it is read".to_owned()))
    }

    fn way(&self, plan: &Plan, _: usize) -> Box<dyn Way> {
        Box::new(JsonWay::write(plan, if self.mariadb { MARIADB_LOCK } else { MYSQL_LOCK }))
    }

    async fn create(&mut self, sql: &Sql) -> Result<(), TargetError> {
        self.run(sql, Vec::new()).await
    }

    async fn outdated(&mut self) -> Result<bool, TargetError> {
        self.rollback().await?;
        Ok(in_time(self.watch.look(&mut self.connection)).await? != self.watch.seen)
    }

    async fn begin(&mut self, access: Access) -> Result<(), TargetError> {
        let begin = match access {
            Access::Read => "START TRANSACTION READ ONLY",
            Access::Write => "START TRANSACTION",
        };
        self.say(format!("{begin}{}", self.watch.holding)).await?;
        if in_time(self.watch.look(&mut self.connection)).await? != self.watch.seen {
            self.rollback().await?;
            return Err(TargetError::Unavailable("the schema of its tables was changed".to_owned()));
        }
        Ok(())
    }

    async fn strain(&mut self) -> Result<Strain, TargetError> {
        let lock_waits = self.status(LOCK_WAITS).await?;
        let behind = match in_time(sqlx::raw_sql(BEHIND).fetch_all(&mut self.connection)).await {
            Ok(rows) => rows.iter().filter_map(behind).max().unwrap_or(0),
            // Whoever may not ask, waits for nothing.
            Err(TargetError::Misconfigured(_)) => 0,
            Err(error) => return Err(error),
        };
        Ok(Strain { replication_lag: Duration::from_secs(behind), lock_waits })
    }

    async fn others_at_work(&mut self) -> Result<bool, TargetError> {
        let others = self.status(RUNNING).await?.saturating_sub(1);
        Ok(others > 0 && others > self.status(COPYING).await?)
    }

    async fn commit(&mut self) -> Result<(), TargetError> {
        let answer = sqlx::raw_sql("COMMIT").execute(&mut self.connection);
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(errors::of_commit(error)),
            Err(_) => Err(TargetError::Unknown("no answer to the commit".to_owned())),
        }
    }

    async fn rollback(&mut self) -> Result<(), TargetError> {
        self.say("ROLLBACK".to_owned()).await
    }

    async fn run(&mut self, sql: &Sql, args: Vec<Arg>) -> Result<(), TargetError> {
        let query = sqlx::query_with(AssertSqlSafe(Sql::clone(sql)), bound(args)?);
        in_time(query.execute(&mut self.connection)).await.map(drop)
    }

    /// Each row answers with one JSON value; the server's own way to gather them ends at a megabyte.
    async fn json(&mut self, sql: &Sql, args: Vec<Arg>) -> Result<String, TargetError> {
        let query = sqlx::query_with(AssertSqlSafe(Sql::clone(sql)), bound(args)?);
        let rows = in_time(query.fetch_all(&mut self.connection)).await?;
        let values = rows.iter().map(|row| text(row, 0)).collect::<Result<Vec<_>, _>>();
        Ok(format!("[{}]", values.map_err(classify)?.join(",")))
    }
}

/// Seconds that the server is behind the one that it copies from; its name depends on the server.
fn behind(row: &MySqlRow) -> Option<u64> {
    let column = row.columns().iter().find(|column| column.name().starts_with("Seconds_Behind_"))?;
    text(row, column.ordinal()).ok()?.parse().ok()
}

/// A text, whatever type the server gives it: what one calls a string, another calls bytes. NULL is empty.
fn text(row: &MySqlRow, column: usize) -> Result<String, sqlx::Error> {
    let bytes = row.try_get_unchecked::<Option<Vec<u8>>, _>(column)?.unwrap_or_default();
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn bound(args: Vec<Arg>) -> Result<MySqlArguments, TargetError> {
    use sqlx::Arguments;
    let mut bound = MySqlArguments::default();
    for arg in args {
        match arg {
            Arg::Null => bound.add(None::<String>),
            Arg::Integer(number) => bound.add(number),
            Arg::Text(text) => bound.add(text),
        }
        .map_err(|error| classify(sqlx::Error::Encode(error)))?;
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_too_old_are_named_by_their_version() {
        for (version, mariadb) in [
            ("10.11.19-MariaDB-0+deb12u1", true),
            ("5.5.5-10.6.1-MariaDB-log", true),
            ("11.4.2-MariaDB", true),
            ("8.0.36", false),
            ("9.1.0-commercial", false),
        ] {
            assert_eq!(serves(version), Ok(mariadb), "{version}");
        }
        for version in ["10.5.23-MariaDB", "5.7.44-log", "what"] {
            assert!(serves(version).is_err(), "{version}");
        }
    }
}
