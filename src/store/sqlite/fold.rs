//! Writing the projections: one step, one transaction, together with the position that it reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Row, SqliteConnection};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::decide::whole;
use super::rows::{action_text, json, tombstone};
use super::script::Script;
use super::{bulk, decide, requests, settle};
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
const RUN_READ: &str = "UPDATE runs SET pages = pages + 1, found = found + ?, fresh = fresh + ?,
    by_webhook = by_webhook + ?, repeated = repeated + ? WHERE id = ?";
const RUN_ENDED: &str =
    "UPDATE runs SET ended_at = ?, pages = ?, found = ?, checkpoint = ?, error = ? WHERE id = ?";
const CHECKPOINT: &str = "INSERT INTO checkpoints (source, at, moved) VALUES (?, ?, ?)
    ON CONFLICT (source) DO UPDATE SET at = excluded.at, moved = excluded.moved
    WHERE excluded.at > checkpoints.at OR ?";
const UNREADABLE: &str = "INSERT INTO unreadable (seq, source, at, faults) VALUES (?, ?, ?, ?)";

const POSITION: &str = "position";
const TOPOLOGY: &str = "topology";
const NEXT_ID: &str = "next_id";

/// The connection that folds, opened when it is needed.
#[derive(Debug)]
pub struct Projector {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// Changes of the step that have not gone to the database yet.
    script: Script,
    /// A step was begun and neither committed nor undone.
    unfinished: bool,
}

impl Projector {
    pub fn new(options: SqliteConnectOptions) -> Self {
        Self { options, connection: None, script: Script::default(), unfinished: false }
    }

    async fn begin(&mut self) -> Result<Vec<SqliteRow>, StoreError> {
        if self.unfinished {
            // Closing undoes the step, whatever state it was left in.
            self.connection = None;
            self.script = Script::default();
            self.unfinished = false;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.options.connect().await?),
        };
        self.unfinished = true;
        Ok(sqlx::query(BEGIN).fetch_all(connection).await?)
    }

    fn open(&mut self) -> Result<(&mut SqliteConnection, &mut Script), StoreError> {
        let none = || StoreError::Unavailable("no step of folding is open".into());
        Ok((self.connection.as_mut().ok_or_else(none)?, &mut self.script))
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

    /// For reading: what the step has changed so far has gone to the database.
    async fn reading(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        let (connection, script) = self.projector.open()?;
        script.run(connection).await?;
        Ok(connection)
    }

    /// For changing: has room for one more statement.
    async fn changing(&mut self) -> Result<&mut Script, StoreError> {
        let (connection, script) = self.projector.open()?;
        if script.is_long() {
            script.run(connection).await?;
        }
        Ok(script)
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

fn bind_tombstone(script: &mut Script, stone: &Tombstone) {
    let decision = if stone.action == Action::Relisted { "none" } else { "awaited" };
    let fingerprints = serde_json::Value::from(stone.fingerprints.clone()).to_string();
    script.bind(stone.id).bind(stone.entity.as_str()).bind(stone.key.canonical());
    script.bind(action_text(stone.action)).bind(stone.at.micros()).bind(stone.upstream_time);
    script.bind(stone.cause).bind(stone.heard_at.micros()).bind(stone.source.as_str());
    script.bind(stone.told_by.webhook).bind(stone.told_by.feed).bind(stone.last_heard_at.micros());
    script.bind(stone.notices).bind(fingerprints).bind(decision);
}

#[async_trait]
impl Fold for SqliteFold {
    fn position(&self) -> Position {
        self.position
    }

    async fn topology(&mut self) -> Result<Topology, StoreError> {
        Ok(self.topology.clone())
    }

    async fn set_topology(&mut self, topology: &Topology, seq: Seq) -> Result<(), StoreError> {
        let text = json(topology)?;
        let script = self.changing().await?;
        script.push(SET).bind(TOPOLOGY).bind(text);
        decide::supersede_stale(script, seq);
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
            for row in query.fetch_all(self.reading().await?).await? {
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
            let (connection, script) = self.projector.open()?;
            bulk::insert(connection, script, (PUT, 15, suffix), &rows, |script, stone| {
                bind_tombstone(script, stone);
            })
            .await?;
        }
        let ids = tombstones.iter().map(|(stone, _)| stone.id + 1);
        self.next_id = ids.fold(self.next_id, TombstoneId::max);
        Ok(())
    }

    async fn supersede(&mut self, records: &[TombstoneId], seq: Seq) -> Result<(), StoreError> {
        decide::supersede(self.changing().await?, records, seq)
    }

    async fn decided(
        &mut self,
        seq: Seq,
        at: Timestamp,
        decided: &Decided,
        topology: &Topology,
    ) -> Result<(), StoreError> {
        decide::decided(self.changing().await?, seq, at, decided, topology)
    }

    async fn batch_started(&mut self, seq: Seq, started: &Started) -> Result<(), StoreError> {
        settle::batch_started(self.changing().await?, seq, started)
    }

    async fn settled(&mut self, seq: Seq, at: Timestamp, settled: &Settled) -> Result<(), StoreError> {
        let (connection, script) = self.projector.open()?;
        settle::settled(connection, script, (seq, at), settled).await
    }

    async fn resolved(
        &mut self,
        seq: Seq,
        resolved: &Resolved,
        topology: &Topology,
    ) -> Result<(), StoreError> {
        let members = decide::members(self.reading().await?, resolved).await?;
        decide::resolved(self.changing().await?, seq, resolved, &members, topology)
    }

    async fn run_started(&mut self, seq: Seq, at: Timestamp, run: &RunStarted) -> Result<(), StoreError> {
        let script = self.changing().await?.push(RUN_STARTED);
        script.bind(seq).bind(run.source.as_str()).bind(at.micros());
        script.bind(run.from.map(Timestamp::micros)).bind(run.to.map(Timestamp::micros));
        Ok(())
    }

    async fn run_read(&mut self, run: Seq, counts: RunCounts) -> Result<(), StoreError> {
        let RunCounts { fresh, by_webhook, repeated } = counts;
        let script = self.changing().await?.push(RUN_READ);
        script.bind(whole(fresh.saturating_add(by_webhook).saturating_add(repeated)));
        script.bind(whole(fresh)).bind(whole(by_webhook)).bind(whole(repeated)).bind(run);
        Ok(())
    }

    async fn run_ended(&mut self, seq: Seq, at: Timestamp, run: &RunEnded) -> Result<(), StoreError> {
        let script = self.changing().await?.push(RUN_ENDED);
        script.bind(at.micros()).bind(whole(run.pages)).bind(whole(run.found));
        script.bind(run.checkpoint.map(Timestamp::micros)).bind(run.error.as_deref()).bind(run.run);
        if let Some(checkpoint) = run.checkpoint {
            let script = script.push(CHECKPOINT).bind(run.source.as_str()).bind(checkpoint.micros());
            script.bind(seq).bind(run.back);
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
        self.changing().await?.push(UNREADABLE).bind(seq).bind(source).bind(at.micros()).bind(faults);
        Ok(())
    }

    async fn asked(
        &mut self,
        seq: Seq,
        at: Timestamp,
        asked: &Asked,
        tombstones: &[TombstoneId],
    ) -> Result<(), StoreError> {
        let (connection, script) = self.projector.open()?;
        requests::asked(connection, script, (seq, at), asked, tombstones).await
    }

    async fn commit(mut self: Box<Self>, position: Position) -> Result<(), StoreError> {
        let text = format!("{} {}", position.seq, hex::encode(position.hash));
        self.changing().await?.push(COMMIT).bind(POSITION).bind(text);
        self.reading().await?;
        self.projector.unfinished = false;
        Ok(())
    }
}
