//! A replica in a SQL database: rows and what belongs to them, deleted or marked in one transaction a batch.
//!
//! `plan` joins the configuration with the catalogue, `statements` writes the texts, `apply` carries a batch
//! out, `check` says what does not fit; none of them knows a driver. A database is a `session` and its
//! `words`. Connecting is lazy, and a connection that failed is replaced, so that a database that is down
//! when the daemon starts delays its own deletions and nothing else.

mod alternates;
mod apply;
mod catalogue;
mod check;
mod coverage;
mod guard;
mod key;
mod mysql;
mod pace;
mod plan;
mod postgres;
mod session;
mod sqlite;
mod staged;
mod statements;
mod tls;
mod way;
mod words;

use std::collections::BTreeMap;
use std::ops::{Range, RangeFrom};
use std::sync::PoisonError;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::{Batch, Effect, Finding, Foreseen, Identified, Removal, Target, TargetError};
use crate::config;
use crate::config::target::{Child, Table};
use crate::domain::{Entity, Key};
use alternates::Alternates;
use apply::{Planned, Prepared};
use catalogue::Catalogue;
use pace::{Pace, Stride};
use plan::Plan;
use session::{Place, Session, TOO_SLOW};

/// How often something is done anew with plans for the schema as it is now. Whoever changes it again and again
/// gets the error.
const TRIES: Range<u8> = 0..2;

/// The dialect that an address is written for.
fn place(url: &str) -> Result<Box<dyn Place>, TargetError> {
    let parsed = Url::parse(url).ok();
    match parsed.as_ref().map(|url| (url.scheme(), url)) {
        Some(("postgres" | "postgresql", url)) => Ok(Box::new(postgres::Place::parse(url)?)),
        Some(("mysql" | "mariadb", url)) => Ok(Box::new(mysql::Place::parse(url)?)),
        _ => Ok(Box::new(sqlite::Place::parse(url)?)),
    }
}

/// A SQL replica as a target. One connection, since one writer at a time is all that SQLite has.
pub struct SqlTarget {
    name: String,
    place: Box<dyn Place>,
    entities: BTreeMap<Entity, Table>,
    open: Mutex<Option<Open>>,
    /// `None` where nobody else is kept waiting.
    pace: Option<Pace>,
    /// The last catalogue that plans were made from.
    seen: std::sync::Mutex<Option<Catalogue>>,
}

/// A connection with everything that was made for it.
struct Open {
    session: Box<dyn Session>,
    prepared: Prepared,
    alternates: Alternates,
    stride: Stride,
}

impl SqlTarget {
    /// Does not reach for the database: that it is down now is no reason not to start.
    ///
    /// # Errors
    /// The address cannot be understood.
    pub fn connect(name: &str, config: &config::target::Sql) -> Result<Self, TargetError> {
        let url = config.url.expose_str();
        let url = url.map_err(|_| TargetError::Misconfigured("the url is not UTF-8".to_owned()))?;
        let place = place(url)?;
        Ok(Self {
            name: name.to_owned(),
            pace: place.shared().then(|| Pace::new(config.limits)),
            place,
            entities: config.entities.clone(),
            open: Mutex::new(None),
            seen: std::sync::Mutex::new(None),
        })
    }

    /// Every table that the configuration names.
    fn names(&self) -> Vec<&str> {
        fn below<'a>(children: &'a [Child], names: &mut Vec<&'a str>) {
            for child in children {
                names.push(&child.table);
                below(&child.children, names);
            }
        }
        let mut names = Vec::new();
        for table in self.entities.values() {
            names.push(table.table.as_str());
            below(&table.children, &mut names);
        }
        names
    }

    /// Takes the connection out of its slot, or opens one. It is put back by [`SqlTarget::keep`]; until then,
    /// being dropped undoes what it has not committed.
    async fn take(&self, slot: &mut Option<Open>) -> Result<Open, TargetError> {
        if let Some(open) = slot.take() {
            return Ok(open);
        }
        let mut session = self.place.open().await?;
        let catalogue = session.catalogue(&self.names()).await?;
        let (mut prepared, mut alternates) = (Prepared::new(), Alternates::new());
        let mut numbers = 0..;
        for (entity, table) in &self.entities {
            let plan = Plan::make(table, &catalogue);
            for name in table.alternates.keys() {
                let by_it = match &plan {
                    Ok(plan) => plan.alternates[name].clone().map(|fields| alternates::plan(plan, &fields)),
                    Err(reason) => Err(reason.clone()),
                };
                let planned = planned(&mut *session, by_it, &mut numbers).await?;
                alternates.insert((entity.clone(), name.clone()), planned);
            }
            prepared.insert(entity.clone(), planned(&mut *session, plan, &mut numbers).await?);
        }
        let mut plans = prepared.values().flatten();
        session.foreign_keys(!plans.all(|(plan, _)| plan.covered)).await?;
        self.tell_changes(catalogue);
        Ok(Open { session, prepared, alternates, stride: Stride::default() })
    }

    /// A migration that deletions go on after is worth a line in the log: they may mean something else now.
    fn tell_changes(&self, catalogue: Catalogue) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = seen.as_ref().map_or(Vec::new(), |before| catalogue.changes(before));
        if !changes.is_empty() {
            tracing::warn!(target = self.name, changes = changes.join("; "), "the schema has changed");
        }
        *seen = Some(catalogue);
    }

    async fn paced(&self, open: &mut Open, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
        let Open { session, prepared, stride, .. } = open;
        let began = Instant::now();
        let result = apply::apply(&mut **session, prepared, &batch.removals).await;
        let effects = match &result {
            Ok(effects) => effects.as_slice(),
            // Otherwise the next one is as large.
            Err(TargetError::Refused { code: TOO_SLOW, .. }) => &[],
            Err(_) => return result,
        };
        if let Some(pace) = &self.pace {
            pace.learn(batch.removals.len(), began.elapsed(), effects, stride);
        }
        result
    }

    /// Puts a connection back unless what happened may have been its fault; `None` if it is to be done anew,
    /// since the plans did not fit the schema any more.
    async fn keep<T>(
        slot: &mut Option<Open>,
        mut open: Open,
        result: Result<T, TargetError>,
        tries: &mut Range<u8>,
    ) -> Option<Result<T, TargetError>> {
        if result.is_err() && tries.next().is_some() && open.session.outdated().await.unwrap_or(false) {
            return None;
        }
        if matches!(result, Ok(_) | Err(TargetError::Refused { .. })) {
            *slot = Some(open);
        }
        Some(result)
    }
}

/// Readies the way to carry a plan out; each has a number of its own.
async fn planned(
    session: &mut dyn Session,
    plan: Result<Plan, String>,
    numbers: &mut RangeFrom<usize>,
) -> Result<Result<Planned, String>, TargetError> {
    let plan = match plan {
        Ok(plan) => plan,
        Err(reason) => return Ok(Err(reason)),
    };
    let way = session.way(&plan, numbers.next().unwrap_or_default());
    for sql in way.create() {
        session.create(sql).await?;
    }
    Ok(Ok((plan, way)))
}

#[async_trait]
impl Target for SqlTarget {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self) -> Result<Vec<Finding>, TargetError> {
        let catalogue = self.place.open().await?.catalogue(&self.names()).await?;
        Ok(check::findings(&self.name, &self.entities, &catalogue))
    }

    fn batch_max(&self) -> u32 {
        self.pace.as_ref().map_or(u32::MAX, Pace::batch_max)
    }

    async fn mirrored(&self, entity: &Entity) -> Result<u64, TargetError> {
        let (mut slot, mut tries) = (self.open.lock().await, TRIES);
        loop {
            let mut open = self.take(&mut slot).await?;
            let result = apply::mirrored(&mut *open.session, &open.prepared, entity).await;
            if let Some(result) = Self::keep(&mut slot, open, result, &mut tries).await {
                return result;
            }
        }
    }

    async fn weigh(&self, removals: &[Removal]) -> Result<Vec<u64>, TargetError> {
        let (mut slot, mut tries) = (self.open.lock().await, TRIES);
        loop {
            let mut open = self.take(&mut slot).await?;
            let result = apply::weigh(&mut *open.session, &open.prepared, removals).await;
            if let Some(result) = Self::keep(&mut slot, open, result, &mut tries).await {
                return result;
            }
        }
    }

    async fn foresee(&self, removals: &[Removal]) -> Result<Vec<Foreseen>, TargetError> {
        let (mut slot, mut tries) = (self.open.lock().await, TRIES);
        loop {
            let mut open = self.take(&mut slot).await?;
            let result = apply::foresee(&mut *open.session, &open.prepared, removals).await;
            if let Some(result) = Self::keep(&mut slot, open, result, &mut tries).await {
                return result;
            }
        }
    }

    async fn look_up(
        &self,
        entity: &Entity,
        alternate: &str,
        identifiers: &[Key],
    ) -> Result<Vec<Identified>, TargetError> {
        let (mut slot, mut tries) = (self.open.lock().await, TRIES);
        loop {
            let mut open = self.take(&mut slot).await?;
            let Open { session, alternates, .. } = &mut open;
            let result =
                alternates::look_up(&mut **session, alternates, entity, alternate, identifiers).await;
            if let Some(result) = Self::keep(&mut slot, open, result, &mut tries).await {
                return result;
            }
        }
    }

    /// Leaves the connection to others while it waits: the brake asks by it, for all targets.
    async fn ready(&self) -> Result<(), TargetError> {
        let Some(pace) = &self.pace else { return Ok(()) };
        loop {
            let mut slot = self.open.lock().await;
            let mut open = self.take(&mut slot).await?;
            let until = pace.next(&mut *open.session, &mut open.stride).await?;
            *slot = Some(open);
            drop(slot);
            let Some(until) = until else { return Ok(()) };
            tokio::time::sleep_until(until).await;
        }
    }

    async fn apply(&self, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
        let (mut slot, mut tries) = (self.open.lock().await, TRIES);
        loop {
            let mut open = self.take(&mut slot).await?;
            let result = self.paced(&mut open, batch).await;
            if let Some(result) = Self::keep(&mut slot, open, result, &mut tries).await {
                return result;
            }
        }
    }
}

#[cfg(test)]
mod tests;
