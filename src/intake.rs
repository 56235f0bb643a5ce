//! The one door in: whatever heard of a deletion hands its notices to `record`.
//!
//! A webhook, a page of a feed and an operator's command all end here, and all are written the same way: as
//! one entry of the journal, on disk before the call returns (I1). Nothing is looked up and nothing decided;
//! folding does that right behind.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::clock::SharedClock;
use crate::domain::{
    Door, Event, Notice, Seq, Timestamp,
    event::{Asked, Heard},
};
use crate::store::{Draft, SharedStore, StoreError};

/// Results of a batch that is folded beside the next one: half of what a backlog's batches hold.
const LARGE_BATCH: usize = 5_000;

/// What came through a door at once.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub source: String,
    pub door: Door,
    /// The run that read it, for a page of a feed.
    pub run: Option<Seq>,
    pub notices: Vec<Notice>,
    /// What of an authentic body could not be understood.
    pub unreadable: Vec<String>,
    /// An operator's reason.
    pub reason: Option<String>,
    /// The raw bytes, kept beside the journal for a while.
    pub body: Option<Bytes>,
}

/// The door.
#[derive(Clone)]
pub struct Intake {
    store: SharedStore,
    clock: SharedClock,
    /// Rung after each entry; carries no data, since folding finds the entries by itself.
    bell: Arc<Notify>,
}

impl Intake {
    #[must_use]
    pub fn new(store: SharedStore, clock: SharedClock, bell: Arc<Notify>) -> Self {
        Self { store, clock, bell }
    }

    /// Writes the delivery as one entry, and returns its number once it is on disk.
    ///
    /// # Errors
    /// Nothing was written; see [`StoreError`].
    pub async fn record(&self, delivery: Delivery) -> Result<Seq, StoreError> {
        let seqs = self.record_with(delivery, None).await?;
        seqs.first().copied().ok_or_else(|| StoreError::Corrupt("an entry without a number".into()))
    }

    /// Writes the delivery and, in the same transaction, the event that it completes.
    pub async fn record_with(
        &self,
        delivery: Delivery,
        completes: Option<Event>,
    ) -> Result<Vec<Seq>, StoreError> {
        let at = self.clock.now();
        let mut drafts = vec![draft(at, delivery, None)];
        drafts.extend(completes.map(|event| Draft { at, event, body: None }));
        self.append(drafts).await
    }

    /// Writes the delivery together with the request that it came of.
    pub async fn record_asked(&self, delivery: Delivery, asked: Asked) -> Result<Seq, StoreError> {
        self.one(draft(self.clock.now(), delivery, Some(asked))).await
    }

    /// Writes several deliveries in one transaction, each as an entry of its own: all of them or none.
    ///
    /// # Errors
    /// Nothing was written; see [`StoreError`].
    pub async fn record_all(&self, deliveries: Vec<Delivery>) -> Result<Vec<Seq>, StoreError> {
        let at = self.clock.now();
        self.append(deliveries.into_iter().map(|delivery| draft(at, delivery, None)).collect()).await
    }

    /// Writes an event that is not a notice.
    pub async fn note(&self, event: Event) -> Result<Seq, StoreError> {
        self.one(Draft { at: self.clock.now(), event, body: None }).await
    }

    /// Writes several in one transaction: all of them or none.
    pub async fn note_all(&self, events: impl Iterator<Item = Event>) -> Result<Vec<Seq>, StoreError> {
        let at = self.clock.now();
        self.append(events.map(|event| Draft { at, event, body: None }).collect()).await
    }

    async fn one(&self, draft: Draft) -> Result<Seq, StoreError> {
        let seqs = self.append(vec![draft]).await?;
        seqs.first().copied().ok_or_else(|| StoreError::Corrupt("an entry without a number".into()))
    }

    /// Has the journal folded now.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    async fn append(&self, drafts: Vec<Draft>) -> Result<Vec<Seq>, StoreError> {
        let rings = drafts.iter().any(|draft| is_folded_at_once(&draft.event));
        let seqs = self.store.append(drafts).await?;
        if rings {
            self.ring();
        }
        Ok(seqs)
    }
}

/// Nobody waits for what is told of a batch to be folded while the next one is at work: several are folded at once,
/// which costs half as much, and whoever does wait rings. A large one is worth folding beside the next.
fn is_folded_at_once(event: &Event) -> bool {
    match event {
        Event::Started(_) => false,
        Event::Settled(settled) => settled.results.len() >= LARGE_BATCH,
        _ => true,
    }
}

fn draft(at: Timestamp, delivery: Delivery, asked: Option<Asked>) -> Draft {
    let Delivery { source, door, run, notices, unreadable, reason, body } = delivery;
    let sha256 = body.as_ref().map(|raw| hex::encode(Sha256::digest(raw)));
    let asked = asked.map(Box::new);
    let heard = Heard { source, door, run, sha256, notices, unreadable, reason, asked };
    Draft { at, event: Event::Heard(heard), body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Entity, Key, Outcome,
        event::{Fact, Settled, Settlement},
    };

    /// A batch of so many records, of which the target confirmed each.
    fn settled(results: usize) -> Event {
        let result = Settlement {
            fact: Fact(1, 1),
            entity: Entity::new("listing"),
            key: Key::new(vec!["1".into()]).unwrap(),
            outcome: Outcome::Deleted,
            rows: 1,
            failure: None,
        };
        Event::Settled(Settled { target: "replica".into(), batch: 1, results: vec![result; results] })
    }

    #[test]
    fn a_batch_is_folded_beside_the_next_one_from_its_size_on() {
        assert!(!is_folded_at_once(&settled(LARGE_BATCH - 1)));
        assert!(is_folded_at_once(&settled(LARGE_BATCH)));
    }
}
