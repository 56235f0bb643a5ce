//! How the rows of one table are found and taken within an open transaction: what dialects do differently.
//!
//! A way is made once for a plan. It decides nothing about a row: it is told which of the rows that it found
//! go, and answers which of them are not as they should be afterwards.

use async_trait::async_trait;

use super::key::Arg;
#[cfg(doc)]
use super::plan::Plan;
use super::session::{Access, Session, Sql};
use crate::domain::Action;
use crate::targets::TargetError;

/// A record that is to go. Ordered by its key first: rows are locked, and pages touched, in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The parts of the key, as their columns take them.
    pub parts: Vec<Arg>,
    /// The time of the deletion as the table writes times, where it writes it.
    pub at: Arg,
    /// Its place in the batch.
    pub position: usize,
}

/// A row that a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The place of its key among those that were wanted.
    pub n: usize,
    /// Rows that it takes along, itself included.
    pub rows: u64,
    pub guard: Option<String>,
    /// Values of the columns that children refer to, where the way needs them again, or was asked to read only.
    pub references: Vec<Option<String>>,
}

#[async_trait]
pub trait Way: Send + Sync {
    /// Statements that make what the way needs of a new connection.
    fn create(&self) -> &[Sql];

    /// Statements that count what is mirrored; each answers `[rows]`.
    fn mirrored(&self) -> &[Sql];

    /// Finds the rows that the keys name; with [`Access::Write`], none of them changes afterwards but by us.
    /// A row that is marked as deleted is not found. A row may be told twice, if two keys name it or one key
    /// names two.
    async fn find(
        &self,
        session: &mut dyn Session,
        wanted: &[Wanted],
        access: Access,
    ) -> Result<Vec<Found>, TargetError>;

    /// The rows that would go with each row that `find` has just found, in the order of [`Plan::tables`].
    async fn by_table(
        &self,
        session: &mut dyn Session,
        wanted: &[Wanted],
    ) -> Result<Vec<(usize, Vec<u64>)>, TargetError>;

    /// Takes the rows in `going`, or marks them, as the action says; corrects their `rows` where it counts them
    /// on the way. `spared` were found and stay.
    ///
    /// Answers each `n` whose row, or a row of whose configured children, is still there (I12).
    async fn take(
        &self,
        session: &mut dyn Session,
        action: Action,
        wanted: &[Wanted],
        going: &mut [Found],
        spared: &[usize],
    ) -> Result<Vec<usize>, TargetError>;
}
