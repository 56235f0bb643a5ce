//! One connection to a customer's database, as the shared parts of a SQL target use it.
//!
//! A dialect is an implementation of this trait and the words of its statements (`words`). Everything that
//! decides about a row (plan, guard, outcome) is shared and knows no driver.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::catalogue::Catalogue;
use super::key::Arg;
use super::plan::Plan;
use super::way::Way;
use crate::targets::TargetError;

/// The text of a statement; the same text is prepared once for a connection.
pub type Sql = Arc<str>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    /// Takes the locks that keep what was judged from changing before it is deleted.
    Write,
}

/// Where a database is.
#[async_trait]
pub trait Place: Send + Sync {
    /// Connects.
    ///
    /// # Errors
    /// The database cannot be reached now, or refuses us.
    async fn open(&self) -> Result<Box<dyn Session>, TargetError>;

    /// Whether there are others who would notice a long transaction.
    fn shared(&self) -> bool {
        false
    }
}

/// What others may suffer from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    /// How far the standby is behind that is furthest.
    pub replication_lag: Duration,
    /// Requests that wait for a lock, anyone's.
    pub lock_waits: u32,
}

/// A table that may hold records which the one beside it does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// As SQL writes it.
    pub table: String,
    /// Whether we may look into it.
    pub readable: bool,
}

/// The code of a batch that takes longer than a statement may: it is for fewer records at once.
pub const TOO_SLOW: &str = "too_slow";

/// A connection. Dropping it undoes what is not committed.
#[async_trait]
pub trait Session: Send {
    /// All tables, and the views among `names`: another view may be broken, which is not our concern.
    ///
    /// # Errors
    /// The database cannot be asked. The errors of every function are classified by the dialect.
    async fn catalogue(&mut self, names: &[&str]) -> Result<Catalogue, TargetError>;

    /// How a plan is carried out here. `number` tells several plans of a connection apart.
    fn way(&self, plan: &Plan, number: usize) -> Box<dyn Way>;

    /// Makes a table of this connection's own.
    async fn create(&mut self, sql: &Sql) -> Result<(), TargetError>;

    /// Whether the database is to look after foreign keys; without, the statements themselves do.
    /// A server is not asked to look away.
    async fn foreign_keys(&mut self, _needed: bool) -> Result<(), TargetError> {
        Ok(())
    }

    /// Whether the database, or its schema, is another one than when the catalogue was read. Asked after an
    /// error; that nothing is deleted by an old plan is seen to by [`Session::begin`].
    async fn outdated(&mut self) -> Result<bool, TargetError>;

    /// Begins a transaction. If the database, or its schema, is another one than when the catalogue was read,
    /// this or the next answer is an error.
    async fn begin(&mut self, access: Access) -> Result<(), TargetError>;

    /// How the server bears it; nothing to tell where a database has no server.
    async fn strain(&mut self) -> Result<Strain, TargetError> {
        Ok(Strain::default())
    }

    /// Tables that look like parts of `table` which were taken out of it with their rows; `None` where it has no
    /// parts that could be.
    async fn beside(&mut self, _table: &str) -> Result<Option<Vec<Beside>>, TargetError> {
        Ok(None)
    }

    /// Whether others are at work on the server this moment.
    async fn others_at_work(&mut self) -> Result<bool, TargetError> {
        Ok(false)
    }

    async fn commit(&mut self) -> Result<(), TargetError>;

    async fn rollback(&mut self) -> Result<(), TargetError>;

    /// Runs a statement, at the latest with the next one that answers: a trip to the database costs as much
    /// as many rows. Its error may come only then.
    async fn run(&mut self, sql: &Sql, args: Vec<Arg>) -> Result<(), TargetError>;

    /// Fetches the one value of a statement that answers with JSON. One large value instead of many rows:
    /// a row costs a hop between two threads. Bytes that are not UTF-8 are replaced.
    async fn json(&mut self, sql: &Sql, args: Vec<Arg>) -> Result<String, TargetError>;
}
