//! Statements that change rows, gathered until they are worth a trip to the connection's thread.
//!
//! A trip costs as much as changing dozens of rows, and a step of folding has a handful of statements. They go
//! as one text, whose places are filled in order: no statement here numbers its places.

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, SqliteConnection, Type};

use crate::store::StoreError;

/// Arguments that go along with others; a statement with more of them goes by itself, so that the connection
/// keeps few texts prepared.
const ARGUMENTS_MAX: usize = 64;

#[derive(Debug, Default)]
pub struct Script {
    text: String,
    arguments: SqliteArguments,
    /// Why an argument could not be bound.
    fault: Option<String>,
}

impl Script {
    /// Adds a statement; its arguments are bound next, in the order of their places.
    pub fn push(&mut self, sql: &str) -> &mut Self {
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
        self.text.push_str(sql);
        self
    }

    pub fn bind<'q, T: Encode<'q, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.fault = Some(error.to_string());
        }
        self
    }

    /// Whether it is worth a trip by now.
    pub fn is_long(&self) -> bool {
        self.arguments.len() > ARGUMENTS_MAX
    }

    /// Runs what was gathered, in its order; the rows that it changed.
    pub async fn run(&mut self, connection: &mut SqliteConnection) -> Result<u64, StoreError> {
        let Self { text, arguments, fault } = std::mem::take(self);
        if let Some(fault) = fault {
            return Err(StoreError::Corrupt(fault));
        }
        if text.is_empty() {
            return Ok(0);
        }
        let done = sqlx::query_with(AssertSqlSafe(text), arguments).execute(connection).await?;
        Ok(done.rows_affected())
    }
}
