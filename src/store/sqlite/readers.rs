//! Connections that read one of the two files, opened when they are needed and kept.
//!
//! Less than a pool: nothing is asked of a connection that is taken or given back, since each question costs a
//! trip to its thread, and a file on the same machine does not hang up.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::store::StoreError;

/// Readers of each file at once: one for the daemon's loops, one for scrapes, one for luck.
const READERS_MAX: usize = 3;

#[derive(Debug)]
pub struct Readers {
    options: SqliteConnectOptions,
    free: Semaphore,
    /// Those that nobody has; the last one is the first to be taken again.
    idle: Mutex<Vec<SqliteConnection>>,
}

/// A connection, given back when this is dropped.
pub struct Reader<'a> {
    home: &'a Readers,
    connection: Option<SqliteConnection>,
    _permit: SemaphorePermit<'a>,
}

impl Readers {
    pub const fn new(options: SqliteConnectOptions) -> Self {
        Self { options, free: Semaphore::const_new(READERS_MAX), idle: Mutex::new(Vec::new()) }
    }

    /// Waits for a free one.
    pub async fn get(&self) -> Result<Reader<'_>, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closed".into());
        let permit = self.free.acquire().await.map_err(closed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(Reader { home: self, connection: Some(connection), _permit: permit })
    }
}

impl Deref for Reader<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.connection.as_ref().expect("it is there until this is dropped")
    }
}

impl DerefMut for Reader<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("it is there until this is dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut idle = self.home.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.connection.take());
    }
}
