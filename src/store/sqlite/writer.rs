//! The one writer of the journal: many requests, one transaction, one fsync, then all are answered.
//!
//! While a commit is on its way to the disk, requests gather; the next commit takes them all. Nothing is ever
//! waited for, so that a single request on an idle daemon pays for its own fsync alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::checkpoint::Checkpoint;
use super::journal;
use super::tail::Tail;
use crate::domain::{Seq, Timestamp};
use crate::store::{Draft, Entry, Health, Position, StoreError, chain};

/// Requests in one commit. Enough that the fsync is shared by all who wait; few enough that the commit stays
/// within milliseconds.
const COMMIT_REQUESTS_MAX: usize = 512;
/// How often an unwritable journal is tried: often enough that a delivery refused with `Retry-After` finds it
/// mended, seldom enough to leave a full disk alone.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Rows of one statement: as many as usually wait for one commit.
const STATEMENT_ROWS_MAX: usize = 64;
/// Texts that are kept prepared: one for each number of rows, and as many for those without all bodies.
const STATEMENTS_KEPT: usize = 2 * STATEMENT_ROWS_MAX;

/// Written to see whether there is room: the largest body that is taken by default. A smaller probe fits onto
/// a disk that is full for deliveries, and says ready where none would be acknowledged.
const PROBE_BYTES: i64 = 1 << 20;
const PROBE: &str = "INSERT INTO probe (id, room) VALUES (1, zeroblob(?))";
const PROBE_END: &str = "DELETE FROM probe";
const BEGIN: &str = "BEGIN IMMEDIATE";
const ROLLBACK: &str = "ROLLBACK";

type Answer = oneshot::Sender<Result<Vec<Seq>, StoreError>>;

/// One request's entries, and where the answer goes.
#[derive(Debug)]
pub struct Append {
    contents: Vec<Content>,
    answer: Answer,
}

/// An entry that lacks nothing but its place in the chain.
#[derive(Debug)]
struct Content {
    at: Timestamp,
    kind: &'static str,
    body: Arc<str>,
    raw: Option<Bytes>,
}

impl From<Draft> for Content {
    fn from(Draft { at, event, body: raw }: Draft) -> Self {
        Self { at, kind: event.kind(), body: event.encode().into(), raw }
    }
}

/// Writes what `append` hands in, until all stores are gone.
#[derive(Debug)]
pub struct Writer {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// The newest entry, if nobody else has appended since.
    head: Option<Position>,
    checkpoint: Arc<Checkpoint>,
    /// Bytes since the WAL was moved last.
    written: u64,
    tail: Arc<Tail>,
    requests: mpsc::Receiver<Append>,
    health: watch::Sender<Health>,
}

pub(super) fn new(
    options: SqliteConnectOptions,
    queue_max: usize,
    tail: Arc<Tail>,
) -> (mpsc::Sender<Append>, watch::Receiver<Health>, Writer) {
    let (appends, requests) = mpsc::channel(queue_max);
    let (health, told) = watch::channel(Health::Writable);
    let options = options.statement_cache_capacity(STATEMENTS_KEPT);
    (
        appends,
        told,
        Writer {
            options,
            connection: None,
            head: None,
            checkpoint: Arc::default(),
            written: 0,
            tail,
            requests,
            health,
        },
    )
}

pub(super) async fn append(
    appends: &mpsc::Sender<Append>,
    drafts: Vec<Draft>,
) -> Result<Vec<Seq>, StoreError> {
    if drafts.is_empty() {
        return Ok(vec![]);
    }
    hand_in(appends, drafts).await
}

/// Comes to its turn behind what was handed in before.
pub(super) async fn flush(appends: &mpsc::Sender<Append>) -> Result<(), StoreError> {
    hand_in(appends, vec![]).await.map(|_| ())
}

async fn hand_in(appends: &mpsc::Sender<Append>, drafts: Vec<Draft>) -> Result<Vec<Seq>, StoreError> {
    let (answer, answered) = oneshot::channel();
    // Written out here, by each request for itself: all others wait for what the writer does.
    let contents = drafts.into_iter().map(Content::from).collect();
    appends.try_send(Append { contents, answer }).map_err(|error| match error {
        TrySendError::Full(_) => StoreError::Busy,
        TrySendError::Closed(_) => stopped(),
    })?;
    answered.await.unwrap_or_else(|_| Err(stopped()))
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the journal's writer has stopped".into())
}

impl Writer {
    /// Runs until every store that hands in is gone, and everything handed in is answered.
    pub async fn run(self) {
        let (checkpoint, options) = (Arc::clone(&self.checkpoint), self.options.clone());
        tokio::select! {
            () = self.write_all() => {}
            () = checkpoint.run(&options) => {}
        }
    }

    async fn write_all(mut self) {
        let mut requests = Vec::with_capacity(COMMIT_REQUESTS_MAX);
        loop {
            let healthy = *self.health.borrow() == Health::Writable;
            let received = if healthy {
                self.requests.recv_many(&mut requests, COMMIT_REQUESTS_MAX).await
            } else {
                let receive = self.requests.recv_many(&mut requests, COMMIT_REQUESTS_MAX);
                if let Ok(received) = tokio::time::timeout(PROBE_EVERY, receive).await {
                    received
                } else {
                    let result = self.probe().await;
                    self.note(result.as_ref().err());
                    continue;
                }
            };
            if received == 0 {
                break;
            }
            self.commit(&mut requests).await;
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "journal did not close cleanly");
        }
    }

    async fn commit(&mut self, requests: &mut Vec<Append>) {
        if requests.iter().all(|request| request.contents.is_empty()) {
            // The last row brings the commit along: without one, a transaction would stay open. That nothing was
            // to be written says nothing of whether it could be.
            if *self.health.borrow() != Health::Writable {
                let result = self.probe().await;
                self.note(result.as_ref().err());
            }
            for Append { answer, .. } in requests.drain(..) {
                answer.send(Ok(vec![])).ok();
            }
            return;
        }
        let result = self.write(requests).await;
        self.note(result.as_ref().err());
        match result {
            Ok((first, bytes)) => {
                let mut next = first;
                for Append { contents, answer } in requests.drain(..) {
                    let seqs = contents.iter().map(|_| {
                        next += 1;
                        next - 1
                    });
                    // A caller that went away has its entries all the same: they are durable.
                    answer.send(Ok(seqs.collect())).ok();
                }
                if let Some(connection) = &mut self.connection {
                    self.written = self.checkpoint.committed(self.written, bytes, connection).await;
                }
            }
            Err(error) => {
                // The connection may be in any state, a half-done transaction included.
                self.connection = None;
                self.head = None;
                for Append { answer, .. } in requests.drain(..) {
                    answer.send(Err(error.clone())).ok();
                }
            }
        }
    }

    /// Tells of a change between writable and not, once each time.
    fn note(&self, error: Option<&StoreError>) {
        let now = error.map_or(Health::Writable, |error| Health::Unavailable(error.to_string()));
        self.health.send_if_modified(|health| {
            let changed = std::mem::discriminant(health) != std::mem::discriminant(&now);
            match (&now, changed) {
                (Health::Unavailable(reason), true) => {
                    tracing::error!(%reason, "journal cannot be written: nothing is acknowledged until it can");
                }
                (Health::Writable, true) => tracing::info!("journal can be written again"),
                (_, false) => {}
            }
            *health = now;
            changed
        });
    }

    async fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        if self.connection.is_none() {
            self.connection = Some(self.options.connect().await?);
        }
        self.connection.as_mut().ok_or_else(stopped)
    }

    /// Writes all requests in one transaction; the number of the first entry, and the bytes of all.
    async fn write(&mut self, requests: &[Append]) -> Result<(Seq, u64), StoreError> {
        if let Some(head) = self.head {
            let rows = rows(head, requests);
            match insert(self.connection().await?, &rows, true).await {
                Ok(()) => return Ok(self.wrote(head, &rows)),
                // Another process has appended since: the chain goes on from there.
                Err(error) if is_taken(&error) => {}
                Err(error) => return Err(error.into()),
            }
            // A statement that is a transaction by itself has left none open.
            if rows.len() > STATEMENT_ROWS_MAX {
                sqlx::query(ROLLBACK).execute(self.connection().await?).await?;
            }
        }
        let connection = self.connection().await?;
        sqlx::query(BEGIN).execute(&mut *connection).await?;
        let head = journal::head(connection).await?;
        let rows = rows(head, requests);
        insert(connection, &rows, false).await?;
        Ok(self.wrote(head, &rows))
    }

    /// Notes what is durable now.
    fn wrote(&mut self, before: Position, rows: &[Row<'_>]) -> (Seq, u64) {
        self.head = rows.last().map(|row| Position { seq: row.seq, hash: row.hash });
        let bytes = rows.iter().map(Row::bytes).sum();
        self.tail.extend(rows.iter().map(Row::entry));
        (before.seq + 1, bytes)
    }

    /// Writes and syncs as much as the largest request would, and takes it away again: the pages that this
    /// leaves free are used by the next requests.
    async fn probe(&mut self) -> Result<(), StoreError> {
        let result = async {
            let connection = self.connection().await?;
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(PROBE_END).execute(&mut *transaction).await?;
            sqlx::query(PROBE).bind(PROBE_BYTES).execute(&mut *transaction).await?;
            transaction.commit().await?;
            sqlx::query(PROBE_END).execute(connection).await?;
            Ok(())
        }
        .await;
        if result.is_err() {
            self.connection = None;
        }
        result
    }
}

struct Row<'r> {
    seq: Seq,
    hash: [u8; 32],
    content: &'r Content,
}

impl Row<'_> {
    fn bytes(&self) -> u64 {
        (self.content.body.len() + self.content.raw.as_ref().map_or(0, Bytes::len)) as u64
    }

    fn entry(&self) -> Entry {
        let Content { at, kind, body, .. } = self.content;
        Entry { seq: self.seq, at: *at, kind: (*kind).to_owned(), body: Arc::clone(body), hash: self.hash }
    }
}

fn rows(head: Position, requests: &[Append]) -> Vec<Row<'_>> {
    let Position { mut seq, mut hash } = head;
    let contents = requests.iter().flat_map(|request| &request.contents);
    contents
        .map(|content| {
            seq += 1;
            hash = chain::hash(&hash, seq, content.at, content.kind, &content.body);
            Row { seq, hash, content }
        })
        .collect()
}

/// Writes the rows in one transaction, with as few trips to the connection's thread as their number allows:
/// each costs as much as the rows of several requests. `begins` says that none is open yet.
async fn insert(
    connection: &mut SqliteConnection,
    rows: &[Row<'_>],
    begins: bool,
) -> Result<(), sqlx::Error> {
    let mut groups = rows.chunks(STATEMENT_ROWS_MAX).peekable();
    // What fits into one statement is a transaction by itself.
    let bare = begins && rows.len() <= STATEMENT_ROWS_MAX;
    let mut begins = begins && !bare;
    while let Some(group) = groups.next() {
        let packed = pack(group);
        let commits = !bare && groups.peek().is_none();
        let text = insert_text(group.len(), packed.is_some(), begins, commits);
        begins = false;
        let mut query = sqlx::query(AssertSqlSafe(text));
        for Row { seq, hash, content } in group {
            query = query.bind(seq).bind(content.at.micros()).bind(content.kind);
            query = query.bind(Arc::clone(&content.body)).bind(hash.to_vec());
        }
        if let (Some((lengths, bytes)), Some(first)) = (packed, group.first()) {
            query = query.bind(first.seq).bind(lengths).bind(bytes);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The raw bodies of a group, end to end, and how long each is; `None` if there are none.
fn pack(group: &[Row<'_>]) -> Option<(String, Vec<u8>)> {
    let raws = || group.iter().map(|row| row.content.raw.as_ref());
    raws().flatten().next()?;
    let lengths: serde_json::Value = raws().map(|raw| raw.map(Bytes::len)).collect();
    let mut bytes = Vec::with_capacity(raws().flatten().map(Bytes::len).sum());
    for raw in raws().flatten() {
        bytes.extend_from_slice(raw);
    }
    Some((lengths.to_string(), bytes))
}

/// Whether an entry of the same number is there already.
fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// One text for all rows of a group and the raw bodies that they have. There are as many texts as sizes, and
/// the connection keeps them prepared.
fn insert_text(rows: usize, packed: bool, begins: bool, commits: bool) -> String {
    const ENTRY: &str = "(?, ?, ?, ?, ?, NULL, NULL, NULL)";
    const LAST: &str = "(?, ?, ?, ?, ?, ?, ?, ?)";
    let mut entries = vec![ENTRY; rows];
    if let (Some(last), true) = (entries.last_mut(), packed) {
        *last = LAST;
    }
    let (begin, commit) =
        (if begins { "BEGIN IMMEDIATE; " } else { "" }, if commits { "; COMMIT" } else { "" });
    let columns = "seq, at, kind, body, hash, first, lengths, bytes";
    format!("{begin}INSERT INTO appended ({columns}) VALUES {}{commit}", entries.join(", "))
}
