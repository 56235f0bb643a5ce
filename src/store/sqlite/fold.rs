//! Writing the projections: one step, one transaction, together with the position that it reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Row, SqliteConnection};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::rows::{action_text, json, tombstone};
use super::{bulk, decide, requests};
use crate::domain::{
    Action, Entity, Key, Seq, Timestamp, Tombstone, TombstoneId,
    event::{Asked, Decided, Resolved, RunEnded, RunStarted, Settled, Started, Topology},
};
use crate::store::{Fold, Position, RunCounts, StoreError};

/// Begins a step and tells all that every step needs, in one trip to the connection's thread.
const BEGIN: &str = "BEGIN IMMEDIATE; SELECT name, value FROM state
    UNION ALL SELECT 'next_id', CAST(coalesce(max(id), 0) + 1 AS TEXT) FROM tombstones";
const COMMIT: &str =
    "INSERT INTO state (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
    COMMIT";
const GET: &str = "SELECT value FROM state WHERE name = ?";
const SET: &str =
    "INSERT INTO state (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const TOMBSTONES: &str = "SELECT t.* FROM json_each(?2) AS k
    CROSS JOIN tombstones AS t ON t.entity = ?1 AND t.key = k.value";
const PUT: &str =
    "INSERT INTO tombstones (id, entity, key, action, at, upstream_time, cause, heard_at, source,
    by_webhook, by_feed, last_heard_at, notices, fingerprints, decision)";
const PUT_FRESH: &str = "ON CONFLICT (id) DO UPDATE SET action = excluded.action, at = excluded.at,
    upstream_time = excluded.upstream_time, cause = excluded.cause, heard_at = excluded.heard_at,
    source = excluded.source, by_webhook = excluded.by_webhook, by_feed = excluded.by_feed,
    last_heard_at = excluded.last_heard_at, notices = excluded.notices,
    fingerprints = excluded.fingerprints, decision = excluded.decision, decided = NULL, hold = NULL";
const PUT_KNOWN: &str = "ON CONFLICT (id) DO UPDATE SET by_webhook = excluded.by_webhook,
    by_feed = excluded.by_feed, last_heard_at = excluded.last_heard_at, notices = excluded.notices,
    fingerprints = excluded.fingerprints";
const RUN_STARTED: &str =
    "INSERT INTO runs (id, source, started_at, window_from, window_to) VALUES (?, ?, ?, ?, ?)";
const RUN_READ: &str = "UPDATE runs SET pages = pages + 1, found = found + ?2 + ?3 + ?4, fresh = fresh + ?2,
    by_webhook = by_webhook + ?3, repeated = repeated + ?4 WHERE id = ?1";
const RUN_ENDED: &str =
    "UPDATE runs SET ended_at = ?, pages = ?, found = ?, checkpoint = ?, error = ? WHERE id = ?";
const CHECKPOINT: &str = "INSERT INTO checkpoints (source, at, moved) VALUES (?, ?, ?)
    ON CONFLICT (source) DO UPDATE SET at = excluded.at, moved = excluded.moved
    WHERE excluded.at > checkpoints.at";
const UNREADABLE: &str = "INSERT INTO unreadable (seq, source, at, faults) VALUES (?, ?, ?, ?)";

const POSITION: &str = "position";
const TOPOLOGY: &str = "topology";
const NEXT_ID: &str = "next_id";

/// The connection that folds, opened when it is needed.
#[derive(Debug)]
pub struct Projector {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// A step was begun and neither committed nor undone.
    unfinished: bool,
}

impl Projector {
    pub const fn new(options: SqliteConnectOptions) -> Self {
        Self { options, connection: None, unfinished: false }
    }

    async fn begin(&mut self) -> Result<Vec<SqliteRow>, StoreError> {
        if self.unfinished {
            // Closing undoes the step, whatever state it was left in.
            self.connection = None;
            self.unfinished = false;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.options.connect().await?),
        };
        self.unfinished = true;
        Ok(sqlx::query(BEGIN).fetch_all(connection).await?)
    }

    fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.connection.as_mut().ok_or_else(|| StoreError::Unavailable("no step of folding is open".into()))
    }
}

/// One step.
#[derive(Debug)]
pub struct SqliteFold {
    projector: OwnedMutexGuard<Projector>,
    position: Position,
    topology: Topology,
    next_id: TombstoneId,
}

impl SqliteFold {
    pub async fn begin(projector: Arc<Mutex<Projector>>) -> Result<Self, StoreError> {
        let mut projector = projector.lock_owned().await;
        let rows = projector.begin().await?;
        let mut fold =
            Self { projector, position: Position::default(), topology: Topology::default(), next_id: 1 };
        for row in rows {
            let text: &str = row.try_get(1)?;
            match row.try_get(0)? {
                POSITION => fold.position = parse_position(text)?,
                TOPOLOGY => fold.topology = parse_topology(text)?,
                NEXT_ID => fold.next_id = text.parse().map_err(|_| corrupt("next id", text))?,
                _ => {}
            }
        }
        Ok(fold)
    }

    fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.projector.connection()
    }
}

pub async fn position(connection: &mut SqliteConnection) -> Result<Position, StoreError> {
    let text: Option<String> = sqlx::query_scalar(GET).bind(POSITION).fetch_optional(connection).await?;
    text.map_or(Ok(Position::default()), |text| parse_position(&text))
}

fn parse_position(text: &str) -> Result<Position, StoreError> {
    let parsed = text.split_once(' ').and_then(|(seq, hash)| {
        let hash: [u8; 32] = hex::decode(hash).ok()?.try_into().ok()?;
        Some(Position { seq: seq.parse().ok()?, hash })
    });
    parsed.ok_or_else(|| corrupt("position", text))
}

fn parse_topology(text: &str) -> Result<Topology, StoreError> {
    serde_json::from_str(text).map_err(|_| corrupt("topology", text))
}

fn corrupt(what: &str, text: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} of the projections: {text:?}"))
}

fn bind_tombstone(query: bulk::Bound<'static>, stone: &Tombstone) -> bulk::Bound<'static> {
    let decision = if stone.action == Action::Relisted { "none" } else { "awaited" };
    let fingerprints = serde_json::Value::from(stone.fingerprints.clone()).to_string();
    query
        .bind(stone.id)
        .bind(stone.entity.as_str().to_owned())
        .bind(stone.key.canonical())
        .bind(action_text(stone.action))
        .bind(stone.at.micros())
        .bind(stone.upstream_time)
        .bind(stone.cause)
        .bind(stone.heard_at.micros())
        .bind(stone.source.clone())
        .bind(stone.told_by.webhook)
        .bind(stone.told_by.feed)
        .bind(stone.last_heard_at.micros())
        .bind(stone.notices)
        .bind(fingerprints)
        .bind(decision)
}

#[async_trait]
impl Fold for SqliteFold {
    fn position(&self) -> Position {
        self.position
    }

    async fn topology(&mut self) -> Result<Topology, StoreError> {
        Ok(self.topology.clone())
    }

    async fn set_topology(&mut self, topology: &Topology) -> Result<(), StoreError> {
        let text = json(topology)?;
        sqlx::query(SET).bind(TOPOLOGY).bind(text).execute(self.connection()?).await?;
        self.topology = topology.clone();
        Ok(())
    }

    async fn tombstones(&mut self, records: &[(&Entity, &Key)]) -> Result<Vec<Tombstone>, StoreError> {
        let mut by_entity: BTreeMap<&Entity, BTreeSet<String>> = BTreeMap::new();
        for (entity, key) in records {
            by_entity.entry(entity).or_default().insert(key.canonical());
        }
        let mut found = Vec::new();
        for (entity, keys) in by_entity {
            let keys = json(&keys)?;
            let query = sqlx::query(TOMBSTONES).bind(entity.as_str()).bind(keys);
            for row in query.fetch_all(self.connection()?).await? {
                found.push(tombstone(&row)?);
            }
        }
        Ok(found)
    }

    async fn next_id(&mut self) -> Result<TombstoneId, StoreError> {
        Ok(self.next_id)
    }

    async fn put_tombstones(&mut self, tombstones: &[(Tombstone, bool)]) -> Result<(), StoreError> {
        for (fresh, suffix) in [(true, PUT_FRESH), (false, PUT_KNOWN)] {
            let mut rows: Vec<&Tombstone> =
                tombstones.iter().filter(|(_, it)| *it == fresh).map(|(stone, _)| stone).collect();
            // In the order of the index that is touched at random otherwise.
            rows.sort_by(|a, b| (&a.entity, &a.key).cmp(&(&b.entity, &b.key)));
            bulk::insert(self.connection()?, PUT, 15, suffix, &rows, |query, stone| {
                bind_tombstone(query, stone)
            })
            .await?;
        }
        let ids = tombstones.iter().map(|(stone, _)| stone.id + 1);
        self.next_id = ids.fold(self.next_id, TombstoneId::max);
        Ok(())
    }

    async fn supersede(&mut self, records: &[TombstoneId], seq: Seq) -> Result<(), StoreError> {
        decide::supersede(self.connection()?, records, seq).await
    }

    async fn decided(
        &mut self,
        seq: Seq,
        at: Timestamp,
        decided: &Decided,
        topology: &Topology,
    ) -> Result<(), StoreError> {
        decide::decided(self.connection()?, seq, at, decided, topology).await
    }

    async fn batch_started(&mut self, seq: Seq, started: &Started) -> Result<(), StoreError> {
        decide::batch_started(self.connection()?, seq, started).await
    }

    async fn settled(&mut self, seq: Seq, at: Timestamp, settled: &Settled) -> Result<(), StoreError> {
        decide::settled(self.connection()?, seq, at, settled).await
    }

    async fn resolved(
        &mut self,
        seq: Seq,
        resolved: &Resolved,
        topology: &Topology,
    ) -> Result<(), StoreError> {
        decide::resolved(self.connection()?, seq, resolved, topology).await
    }

    async fn run_started(&mut self, seq: Seq, at: Timestamp, run: &RunStarted) -> Result<(), StoreError> {
        let query = sqlx::query(RUN_STARTED).bind(seq).bind(run.source.clone()).bind(at.micros());
        let query = query.bind(run.from.map(Timestamp::micros)).bind(run.to.map(Timestamp::micros));
        query.execute(self.connection()?).await?;
        Ok(())
    }

    async fn run_read(&mut self, run: Seq, counts: RunCounts) -> Result<(), StoreError> {
        let RunCounts { fresh, by_webhook, repeated } = counts;
        let count = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
        let query = sqlx::query(RUN_READ).bind(run).bind(count(fresh)).bind(count(by_webhook));
        query.bind(count(repeated)).execute(self.connection()?).await?;
        Ok(())
    }

    async fn run_ended(&mut self, seq: Seq, at: Timestamp, run: &RunEnded) -> Result<(), StoreError> {
        let count = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
        let query = sqlx::query(RUN_ENDED).bind(at.micros()).bind(count(run.pages)).bind(count(run.found));
        let query = query.bind(run.checkpoint.map(Timestamp::micros)).bind(run.error.clone()).bind(run.run);
        query.execute(self.connection()?).await?;
        if let Some(checkpoint) = run.checkpoint {
            let query = sqlx::query(CHECKPOINT).bind(run.source.clone()).bind(checkpoint.micros()).bind(seq);
            query.execute(self.connection()?).await?;
        }
        Ok(())
    }

    async fn unreadable(
        &mut self,
        seq: Seq,
        source: &str,
        at: Timestamp,
        faults: &[String],
    ) -> Result<(), StoreError> {
        let faults = json(faults)?;
        let query = sqlx::query(UNREADABLE).bind(seq).bind(source.to_owned()).bind(at.micros()).bind(faults);
        query.execute(self.connection()?).await?;
        Ok(())
    }

    async fn asked(
        &mut self,
        seq: Seq,
        at: Timestamp,
        asked: &Asked,
        tombstones: &[TombstoneId],
    ) -> Result<(), StoreError> {
        requests::asked(self.connection()?, seq, at, asked, tombstones).await
    }

    async fn commit(mut self: Box<Self>, position: Position) -> Result<(), StoreError> {
        let text = format!("{} {}", position.seq, hex::encode(position.hash));
        sqlx::query(COMMIT).bind(POSITION).bind(text).execute(self.connection()?).await?;
        self.projector.unfinished = false;
        Ok(())
    }
}
