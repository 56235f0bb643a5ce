-- What is to be carried out lies in the order in which it is taken, and leaves when it is; what came of it is small and
-- lies in the order in which records were first heard of. Ten thousand of either are then one stretch of pages. A
-- tombstone is in at most one of the two at one target.

-- One tombstone to be carried out at one target; exists once the brake has released it.
CREATE TABLE queue (
    target    TEXT    NOT NULL,
    entity    TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    tombstone INTEGER NOT NULL,
    cause     INTEGER NOT NULL,             -- journal.seq of the notice that made the fact
    action    TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    upstream_time INTEGER NOT NULL,
    heard_at  INTEGER NOT NULL,
    attempts  INTEGER NOT NULL DEFAULT 0,   -- tries that failed
    due_at    INTEGER NOT NULL DEFAULT 0,
    removed   INTEGER NOT NULL DEFAULT 0,   -- whether we have, or may have, carried a deletion out here
    code      TEXT,                         -- why the last try failed
    message   TEXT,
    settled   INTEGER,                      -- journal.seq of that try's settlement
    PRIMARY KEY (target, entity, key)
) WITHOUT ROWID;

-- What came of a tombstone at a target. One that failed for good is parked: it waits for a person.
CREATE TABLE outcomes (
    tombstone INTEGER NOT NULL,
    target    TEXT    NOT NULL,
    cause     INTEGER NOT NULL,
    outcome   TEXT    NOT NULL,
    settled   INTEGER NOT NULL,             -- journal.seq of the settlement
    attempts  INTEGER NOT NULL,
    removed   INTEGER NOT NULL,
    code      TEXT,
    message   TEXT,
    PRIMARY KEY (tombstone, target)
) WITHOUT ROWID;
CREATE INDEX outcomes_parked ON outcomes (target) WHERE outcome = 'failed';

-- What waited for a record that is listed again had come back to the queue by a failure: it is over.
UPDATE tasks SET state = 'done', outcome = 'superseded', code = NULL, message = NULL, settled = t.cause
    FROM tombstones AS t WHERE t.id = tasks.tombstone AND t.action = 'relisted' AND tasks.state <> 'done';
INSERT INTO queue SELECT target, entity, key, tombstone, cause, action, at, upstream_time, heard_at, attempts, due_at,
    removed, code, message, settled FROM tasks WHERE state = 'due' ORDER BY target, entity, key;
INSERT INTO outcomes SELECT tombstone, target, cause, outcome, settled, attempts, removed, code, message
    FROM tasks WHERE state <> 'due' ORDER BY tombstone, target;
DROP TABLE tasks;
