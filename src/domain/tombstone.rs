//! The one durable fact about a record: what became of it upstream, and when.
//!
//! Many notices make one tombstone. Merging is a join: fingerprints are united, the latest fact stands, and
//! so notices may come in any order, any number of times, through any door (I2). Our own clock never decides
//! which of two facts is the later one where the upstream gave a time (I3).

use std::time::Duration;

use super::{Action, Door, Entity, Key, Notice, Seq, Timestamp};

/// Number of a tombstone, given in the order in which records were first heard of.
pub type TombstoneId = i64;

/// What is known of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub id: TombstoneId,
    pub entity: Entity,
    pub key: Key,
    /// The fact that stands.
    pub action: Action,
    /// When that happened: the upstream's time, or the time of receipt where it gave none.
    pub at: Timestamp,
    /// Whether `at` is the upstream's.
    pub upstream_time: bool,
    /// The journal entry whose notice made the fact that stands.
    pub cause: Seq,
    /// When that notice was heard.
    pub heard_at: Timestamp,
    /// The source that told of it.
    pub source: String,
    /// Whether the fact that stands was told by a webhook (posted or pulled), and by a feed.
    pub told_by: ToldBy,
    /// When the last notice of any kind was heard.
    pub last_heard_at: Timestamp,
    /// Notices heard so far, repeats included.
    pub notices: i64,
    /// Everything by which a repeat is recognised, for ever.
    pub fingerprints: Vec<String>,
}

/// The doors through which one fact was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToldBy {
    pub webhook: bool,
    pub feed: bool,
}

/// A notice with the circumstances of its arrival.
#[derive(Clone, Debug)]
pub struct Arrival<'a> {
    pub notice: &'a Notice,
    pub seq: Seq,
    pub heard_at: Timestamp,
    pub source: &'a str,
    pub door: Door,
    /// Notices without evidence are repeats within this time of the last one.
    pub retry_horizon: Duration,
}

/// What a notice was, against what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hearing {
    /// A fact that stands from here on.
    New,
    /// A fact that was known: the same event, told again. `first_by_feed` says that a webhook had told it
    /// and a feed tells it for the first time.
    Repeat { first_by_feed: bool },
    /// A fact that was not known and that a later one has already overtaken.
    Late,
}

impl Tombstone {
    /// The first that is heard of a record.
    #[must_use]
    pub fn first(id: TombstoneId, arrival: &Arrival<'_>) -> Self {
        let notice = arrival.notice;
        let mut tombstone = Self {
            id,
            entity: notice.entity.clone(),
            key: notice.key.clone(),
            action: notice.action,
            at: arrival.heard_at,
            upstream_time: false,
            cause: arrival.seq,
            heard_at: arrival.heard_at,
            source: arrival.source.to_owned(),
            told_by: ToldBy::default(),
            last_heard_at: arrival.heard_at,
            notices: 1,
            fingerprints: notice.evidence.fingerprints(notice.action),
        };
        tombstone.stand(arrival);
        tombstone
    }

    /// Merges one more notice of the same record.
    pub fn hear(&mut self, arrival: &Arrival<'_>) -> Hearing {
        let evidence = &arrival.notice.evidence;
        let prints = evidence.fingerprints(arrival.notice.action);
        let silent_for = arrival.heard_at.since(self.last_heard_at);
        self.notices += 1;
        self.last_heard_at = self.last_heard_at.max(arrival.heard_at);

        let known = if prints.is_empty() {
            self.action == arrival.notice.action && silent_for <= arrival.retry_horizon
        } else {
            prints.iter().any(|print| self.fingerprints.contains(print))
        };
        for print in prints {
            if !self.fingerprints.contains(&print) {
                self.fingerprints.push(print);
            }
        }
        if known {
            // A repeat of a deletion tells nothing about a listing that stands since.
            let stands = self.action == arrival.notice.action;
            let first_by_feed =
                stands && arrival.door == Door::Feed && self.told_by.webhook && !self.told_by.feed;
            if stands {
                self.told(arrival.door);
            }
            return Hearing::Repeat { first_by_feed };
        }
        if !self.overtaken_by(arrival) {
            return Hearing::Late;
        }
        self.stand(arrival);
        Hearing::New
    }

    /// Whether the arriving fact is later than the one that stands. Of two at the same time the deletion is.
    fn overtaken_by(&self, arrival: &Arrival<'_>) -> bool {
        match arrival.notice.evidence.time() {
            // A time of ours cannot be compared with one of the upstream's: the upstream's word wins.
            Some(_) if !self.upstream_time => true,
            Some(at) => (at, arrival.notice.action) > (self.at, self.action),
            None => true,
        }
    }

    fn stand(&mut self, arrival: &Arrival<'_>) {
        let time = arrival.notice.evidence.time();
        self.action = arrival.notice.action;
        self.at = time.unwrap_or(arrival.heard_at);
        self.upstream_time = time.is_some();
        self.cause = arrival.seq;
        self.heard_at = arrival.heard_at;
        arrival.source.clone_into(&mut self.source);
        self.told_by = ToldBy::default();
        self.told(arrival.door);
    }

    fn told(&mut self, door: Door) {
        match door {
            Door::Webhook | Door::Pull => self.told_by.webhook = true,
            Door::Feed => self.told_by.feed = true,
            Door::Operator => {}
        }
    }
}

#[cfg(test)]
mod tests;
