-- What a commit appends, entries and raw bodies, as one statement: each statement of a transaction is a trip to the
-- connection's thread. The last row brings the raw bodies of all, which begin with those of the entry `first`.
CREATE VIEW appended (seq, at, kind, body, hash, first, lengths, bytes) AS
    SELECT seq, at, kind, body, hash, NULL, NULL, NULL FROM journal;

CREATE TRIGGER appended_is_stored INSTEAD OF INSERT ON appended
BEGIN
    INSERT INTO journal (seq, at, kind, body, hash) VALUES (new.seq, new.at, new.kind, new.body, new.hash);
    INSERT INTO bodies (seq, at, lengths, bytes)
        SELECT new.first, new.at, new.lengths, new.bytes WHERE new.first IS NOT NULL;
END;
