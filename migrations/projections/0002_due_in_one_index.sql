-- All that is read of a due task lies in its index: ten thousand of them are one stretch of it, where each would else
-- lead to a page of its own.
DROP INDEX tasks_due;
CREATE INDEX tasks_due ON tasks (target, entity, key, heard_at, state, cause, action, at, upstream_time, attempts,
    due_at, removed) WHERE state = 'due';
