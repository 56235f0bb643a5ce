//! PostgreSQL 13 and later: a connection, its transactions, and what its errors mean.
//!
//! Every transaction brings its settings along (`SET LOCAL`) and every statement is unnamed, so that a pooler
//! which hands out a connection a transaction (PgBouncer) is no obstacle. Names are qualified throughout, types
//! and operators too: the role's `search_path` is left as it is, since the triggers of the tables may need it,
//! and nothing of ours depends on it. `row_security = off` makes a row that a policy would hide an error
//! instead of an absence.
//!
//! A transaction locks the tables that it writes against changes of their schema before it looks whether they
//! are what the plans were made for: no migration comes in between.

mod arrays;
mod beside;
mod catalogue;
mod errors;
mod options;
mod watch;

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::catalogue::Catalogue;
use super::key::Arg;
use super::plan::Plan;
use super::session::{Access, Beside, Session, Sql, Strain};
use super::way::Way;
use crate::targets::TargetError;
use beside::Neighbours;
use catalogue::Reading;
use errors::classify;
pub use options::Place;
use watch::Watch;

/// How long an answer may take: longer than every statement may run (`statement_timeout`), after which the
/// network is what does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);

/// Settings of every transaction. A lock is waited for as long as a human's statement holds one; a statement
/// that has not ended after half a minute works on something else than a batch; a connection that has lost us
/// gives its locks back within a minute. A commit that the role does not wait for would be told as done and
/// could be lost.
const SETTINGS: &str = "
    SET LOCAL lock_timeout = '2s';
    SET LOCAL statement_timeout = '30s';
    SET LOCAL idle_in_transaction_session_timeout = '60s';
    SET LOCAL row_security = off;
    SET LOCAL datestyle = 'ISO, YMD';
    SET LOCAL timezone = 'UTC';
    SET LOCAL extra_float_digits = 3;
    SET LOCAL application_name = 'expunged';
    SELECT pg_catalog.set_config('synchronous_commit', 'on', true)
        WHERE pg_catalog.current_setting('synchronous_commit') = 'off';";

/// The lag is seen by members of pg_monitor alone; others are told nothing, and wait for nothing.
const STRAIN: &str = "SELECT
    (SELECT (1000 * pg_catalog.max(EXTRACT(epoch FROM r.replay_lag)))::pg_catalog.int8 FROM pg_catalog.pg_stat_replication r)::pg_catalog.text,
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks l WHERE NOT l.granted)::pg_catalog.text";

/// Sessions of others that are in a transaction: every role sees its lock on its own number, and whose it is. What
/// they do within it is told to members of pg_monitor alone, and to us of our own role; whoever is known to do
/// nothing for a second does not count. Background workers (vacuum, often our own doing) have no user.
const OTHERS: &str = "SELECT pg_catalog.count(*)::pg_catalog.text
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'virtualxid' AND l.granted AND l.mode = 'ExclusiveLock' AND a.usesysid IS NOT NULL
      AND a.pid <> pg_catalog.pg_backend_pid() AND a.application_name <> 'expunged'
      AND (a.state LIKE 'idle in transaction%' AND a.state_change < pg_catalog.now() - '1s'::pg_catalog.interval) IS NOT TRUE";

pub struct PostgresSession {
    connection: PgConnection,
    /// What the plans were made for.
    watch: Watch,
    neighbours: Neighbours,
}

impl PostgresSession {
    /// Runs several statements without arguments in one trip; the rows of the last that gave any.
    async fn say(&mut self, sql: String) -> Result<Vec<PgRow>, TargetError> {
        let answer = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut self.connection);
        in_time(answer).await
    }

    /// Begins a transaction; the fingerprint of what the plans were made for, read in it.
    async fn start(&mut self, access: Access) -> Result<Option<String>, TargetError> {
        let (mode, locks) = match access {
            Access::Read => (", READ ONLY", ""),
            // Not READ WRITE, which would override a server or a database that was made read-only.
            Access::Write => ("", self.watch.locks.as_str()),
        };
        let fingerprint = &self.watch.fingerprint;
        let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED{mode}; {SETTINGS} {locks} {fingerprint}");
        let rows = self.say(begin).await?;
        rows.last().map(|row| row.try_get(0).map_err(classify)).transpose().map(Option::flatten)
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, TargetError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(classify),
        Err(_) => Err(TargetError::Unavailable("the database does not answer".to_owned())),
    }
}

#[async_trait]
impl Session for PostgresSession {
    async fn catalogue(&mut self, names: &[&str]) -> Result<Catalogue, TargetError> {
        // One snapshot for all that is read, the fingerprint among it.
        self.say(format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {SETTINGS}")).await?;
        let read = async {
            let Reading { catalogue, oids, neighbours } =
                catalogue::read(&mut self.connection, names).await?;
            let mut watch = Watch::over(&catalogue, &oids, names);
            let row = sqlx::raw_sql(AssertSqlSafe(watch.fingerprint.clone()));
            watch.seen = row.fetch_one(&mut self.connection).await?.try_get(0)?;
            Ok((catalogue, watch, neighbours))
        };
        let (catalogue, watch, neighbours) = in_time(read).await?;
        (self.watch, self.neighbours) = (watch, neighbours);
        self.rollback().await?;
        Ok(catalogue)
    }

    fn way(&self, plan: &Plan, _: usize) -> Box<dyn Way> {
        Box::new(arrays::Arrays::write(plan))
    }

    async fn create(&mut self, sql: &Sql) -> Result<(), TargetError> {
        self.say(sql.to_string()).await.map(drop)
    }

    async fn outdated(&mut self) -> Result<bool, TargetError> {
        self.rollback().await?;
        let now = self.start(Access::Read).await?;
        self.rollback().await?;
        Ok(now != self.watch.seen)
    }

    async fn strain(&mut self) -> Result<Strain, TargetError> {
        let rows = self.say(STRAIN.to_owned()).await?;
        let number = |index: usize| -> Result<u64, TargetError> {
            let text: Option<String> =
                rows.last().map_or(Ok(None), |row| row.try_get(index)).map_err(classify)?;
            Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
        };
        Ok(Strain {
            replication_lag: Duration::from_millis(number(0)?),
            lock_waits: u32::try_from(number(1)?).unwrap_or(u32::MAX),
        })
    }

    async fn others_at_work(&mut self) -> Result<bool, TargetError> {
        let rows = self.say(OTHERS.to_owned()).await?;
        let count: Option<String> = rows.last().map(|row| row.try_get(0)).transpose().map_err(classify)?;
        Ok(count.is_some_and(|count| count != "0"))
    }

    async fn begin(&mut self, access: Access) -> Result<(), TargetError> {
        if self.start(access).await? != self.watch.seen {
            self.rollback().await?;
            return Err(TargetError::Unavailable("its schema was changed".to_owned()));
        }
        Ok(())
    }

    async fn beside(&mut self, table: &str) -> Result<Option<Vec<Beside>>, TargetError> {
        in_time(self.neighbours.of(&mut self.connection, table)).await
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
        self.say("ROLLBACK".to_owned()).await.map(drop)
    }

    async fn run(&mut self, sql: &Sql, args: Vec<Arg>) -> Result<(), TargetError> {
        let query = bound(sql, args);
        in_time(query.execute(&mut self.connection)).await.map(drop)
    }

    async fn json(&mut self, sql: &Sql, args: Vec<Arg>) -> Result<String, TargetError> {
        let query = bound(sql, args);
        let row = in_time(query.fetch_one(&mut self.connection)).await?;
        row.try_get(0).map_err(classify)
    }
}

type Query<'a> = sqlx::query::Query<'a, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn bound(sql: &Sql, args: Vec<Arg>) -> Query<'static> {
    let mut query = sqlx::query(AssertSqlSafe(Sql::clone(sql))).persistent(false);
    for arg in args {
        query = match arg {
            Arg::Null => query.bind(None::<String>),
            Arg::Integer(number) => query.bind(number.to_string()),
            Arg::Text(text) => query.bind(text),
        };
    }
    query
}

#[async_trait]
impl super::session::Place for Place {
    async fn open(&self) -> Result<Box<dyn Session>, TargetError> {
        let connection = in_time(PgConnection::connect_with(&self.0)).await?;
        Ok(Box::new(PostgresSession {
            connection,
            watch: Watch::default(),
            neighbours: Neighbours::default(),
        }))
    }

    fn shared(&self) -> bool {
        true
    }
}
