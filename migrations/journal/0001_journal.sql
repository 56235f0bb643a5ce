-- The journal: the truth of the whole program. Rows are only ever appended.
CREATE TABLE journal (
    seq  INTEGER PRIMARY KEY,   -- 1, 2, 3 … without gaps
    at   INTEGER NOT NULL,      -- microseconds since 1970, UTC
    kind TEXT    NOT NULL,
    body TEXT    NOT NULL,      -- JSON
    hash BLOB    NOT NULL       -- SHA-256 over the previous entry's hash, seq, at, kind and body
);

CREATE TRIGGER journal_is_append_only_update BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TRIGGER journal_is_append_only_delete BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

-- Raw bodies beside the journal: it holds their SHA-256, they are purged on time.
CREATE TABLE bodies (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    body BLOB    NOT NULL
);

-- Who may do what only one process may do at a time.
CREATE TABLE leases (
    name   TEXT    PRIMARY KEY,
    holder TEXT    NOT NULL,
    until  INTEGER NOT NULL
) WITHOUT ROWID;

-- A row that is written to see whether there is room for a delivery, and is taken away again.
CREATE TABLE probe (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    room BLOB    NOT NULL
);
