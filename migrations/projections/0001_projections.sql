-- Everything here is folded from the journal and can be rebuilt from it.

-- How far the journal has been folded (`position`), and what folding goes by (`topology`).
CREATE TABLE state (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE tombstones (
    id            INTEGER PRIMARY KEY,
    entity        TEXT    NOT NULL,
    key           TEXT    NOT NULL,   -- JSON array of strings
    action        TEXT    NOT NULL CHECK (action IN ('delete', 'deactivate', 'relisted')),
    at            INTEGER NOT NULL,
    upstream_time INTEGER NOT NULL,
    cause         INTEGER NOT NULL,   -- journal.seq of the notice that made the fact
    heard_at      INTEGER NOT NULL,
    source        TEXT    NOT NULL,
    by_webhook    INTEGER NOT NULL,
    by_feed       INTEGER NOT NULL,
    last_heard_at INTEGER NOT NULL,
    notices       INTEGER NOT NULL,
    fingerprints  TEXT    NOT NULL,   -- JSON array of strings
    decision      TEXT    NOT NULL CHECK (decision IN ('awaited', 'released', 'held', 'rejected', 'none')),
    decided       INTEGER,            -- journal.seq of the decision
    hold          INTEGER,            -- holds.id
    UNIQUE (entity, key)
);
CREATE INDEX tombstones_awaiting ON tombstones (id) WHERE decision = 'awaited';
CREATE INDEX tombstones_held     ON tombstones (hold, id) WHERE decision = 'held';

-- One tombstone to be carried out at one target; exists once the brake has released it.
CREATE TABLE tasks (
    target    TEXT    NOT NULL,
    tombstone INTEGER NOT NULL,
    entity    TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    upstream_time INTEGER NOT NULL,
    cause     INTEGER NOT NULL,
    heard_at  INTEGER NOT NULL,
    state     TEXT    NOT NULL CHECK (state IN ('due', 'done', 'parked')),
    attempts  INTEGER NOT NULL DEFAULT 0,
    due_at    INTEGER NOT NULL DEFAULT 0,
    removed   INTEGER NOT NULL DEFAULT 0,   -- whether we have, or may have, carried a deletion out here
    outcome   TEXT,
    code      TEXT,
    message   TEXT,
    settled   INTEGER,                      -- journal.seq of the settlement
    PRIMARY KEY (target, tombstone)
) WITHOUT ROWID;
-- In the order of keys; with the time, so that the age of a long queue is told from the index alone.
CREATE INDEX tasks_due    ON tasks (target, entity, key, heard_at) WHERE state = 'due';
CREATE INDEX tasks_parked ON tasks (target, tombstone)   WHERE state = 'parked';

-- Batches that a target may have seen and that are not settled: the leases on their tasks.
CREATE TABLE batches (
    number       INTEGER PRIMARY KEY,
    target       TEXT    NOT NULL,
    members      TEXT    NOT NULL,          -- JSON array of [tombstone, cause]
    holder       TEXT    NOT NULL,
    leased_until INTEGER NOT NULL
);

CREATE TABLE holds (
    id       INTEGER PRIMARY KEY,           -- journal.seq of the decision that opened it
    entity   TEXT    NOT NULL,
    opened_at INTEGER NOT NULL,
    rows     INTEGER NOT NULL,
    allowed  INTEGER NOT NULL,
    gone     INTEGER NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('open', 'approved', 'rejected')),
    actor    TEXT,
    reason   TEXT,
    resolved INTEGER                        -- journal.seq
);

-- What has been released, by entity, for the brake's window.
CREATE TABLE spent (
    seq    INTEGER NOT NULL,
    entity TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    rows   INTEGER NOT NULL,
    PRIMARY KEY (entity, at, seq)
) WITHOUT ROWID;

-- What targets confirmed as gone, by target and entity, for the brake's window.
CREATE TABLE removed (
    seq    INTEGER NOT NULL,
    target TEXT    NOT NULL,
    entity TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    rows   INTEGER NOT NULL,
    PRIMARY KEY (at, seq, target, entity)
) WITHOUT ROWID;

CREATE TABLE runs (
    id          INTEGER PRIMARY KEY,        -- journal.seq of its start
    source      TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    window_from INTEGER,
    window_to   INTEGER,
    ended_at    INTEGER,
    pages       INTEGER NOT NULL DEFAULT 0,
    found       INTEGER NOT NULL DEFAULT 0,
    fresh       INTEGER NOT NULL DEFAULT 0, -- facts that no webhook had told
    by_webhook  INTEGER NOT NULL DEFAULT 0, -- facts that a webhook had told first
    repeated    INTEGER NOT NULL DEFAULT 0, -- known from an earlier run
    checkpoint  INTEGER,
    error       TEXT
);
CREATE INDEX runs_by_source ON runs (source, id);

CREATE TABLE checkpoints (
    source   TEXT    PRIMARY KEY,
    at       INTEGER NOT NULL,
    moved    INTEGER NOT NULL               -- journal.seq
) WITHOUT ROWID;

-- Authentic deliveries that could not be understood.
CREATE TABLE unreadable (
    seq    INTEGER PRIMARY KEY,
    source TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    faults TEXT    NOT NULL                 -- JSON array of strings
);

-- Requests for deletions from operators' programs.
CREATE TABLE requests (
    id          INTEGER PRIMARY KEY,        -- journal.seq of its first part: the receipt
    token       TEXT    NOT NULL,
    key         TEXT,                       -- SHA-256 of the key under which a repeat is recognised
    at          INTEGER NOT NULL,
    fingerprint TEXT,                       -- of all that was asked; NULL until it was read to its end
    received    INTEGER,
    refused     INTEGER
);
CREATE INDEX requests_by_key ON requests (token, key, id) WHERE key IS NOT NULL;

-- The ids of a request, in their order, and what they led to.
CREATE TABLE asked (
    request   INTEGER NOT NULL,
    place     INTEGER NOT NULL,
    seq       INTEGER NOT NULL,             -- journal.seq of the part
    tombstone INTEGER,                      -- NULL: it became no notice, and the rest says why
    outcome   TEXT,
    code      TEXT,
    message   TEXT,
    PRIMARY KEY (request, place)
) WITHOUT ROWID;
