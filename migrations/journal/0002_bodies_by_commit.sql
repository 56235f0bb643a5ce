-- Raw bodies beside the journal: it holds their SHA-256, they are purged on time. Those that were written at once
-- lie end to end in one row, since a row each costs the writer as much as their entries.
CREATE TABLE packed (
    seq     INTEGER PRIMARY KEY,   -- journal.seq of the first entry
    at      INTEGER NOT NULL,      -- of the newest
    lengths TEXT    NOT NULL,      -- JSON array: bytes of each entry's body, from the first on; null where there is none
    bytes   BLOB    NOT NULL
);
INSERT INTO packed (seq, at, lengths, bytes) SELECT seq, at, json_array(octet_length(body)), body FROM bodies;
DROP TABLE bodies;
ALTER TABLE packed RENAME TO bodies;
