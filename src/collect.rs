//! Collects the deliveries that wait at a source's pull endpoints: read, verified, journaled, then acknowledged.
//!
//! A pulled delivery is a webhook that took another way: the same signature, the same parser, the same door in. An
//! event is acknowledged only when the journal has it (I1), and discarded only after that; a crash in between leaves
//! it listed, and what was journaled already is recognised as a repeat (I2). What cannot be proven is not
//! acknowledged and never acted upon; it stays with the keeper, for a person to look at.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::config;
use crate::config::source::Endpoint;
use crate::domain::Door;
use crate::intake::{Delivery, Intake};
use crate::sources::feed::FeedError;
use crate::sources::payload::Parser;
use crate::sources::pull::{Event, Keeper, LISTED_MAX, PullError, Read};
use crate::sources::signature::{AuthFault, Refused, Request, Verified, Verifier};
use crate::store::StoreError;
use crate::telemetry::metrics::{Metrics, NoticeResult};

/// Events of one commit and one acknowledgement: at ten requests a second, ten seconds of reading are what a crash
/// makes us read again.
const BATCH_EVENTS_MAX: usize = 100;
/// Bytes of one commit's bodies: as much as a page of a feed may have.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Wait before a batch is handed in again when the journal's queue is full.
const QUEUE_FULL: Duration = Duration::from_millis(50);

/// Why a source cannot be collected from at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Auth(#[from] AuthFault),
    #[error(transparent)]
    Client(#[from] FeedError),
}

/// Why a round ended early. What was acknowledged until then is in the journal.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CollectError {
    /// Whether the same round may end well later without a person.
    #[must_use]
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::Pull(error) => error.retry_can_help(),
            Self::Store(error) => error.retry_can_help(),
        }
    }
}

/// What one look at all endpoints came to, in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Taken: journaled if they meant anything, and acknowledged.
    pub taken: usize,
    /// Not authentic, and left where they are.
    pub refused: usize,
    /// Gone before they were read, or not understood; told of in the journal.
    pub lost: usize,
    pub discarded: usize,
    /// Whether there was more than one look takes.
    pub more: bool,
}

/// Collects from one source.
pub struct Collector {
    source: String,
    endpoints: Vec<Waiting>,
    keeper: Keeper,
    /// `None` where the keeper is trusted.
    verifier: Option<Verifier>,
    parser: Parser,
    intake: Intake,
    clock: SharedClock,
    metrics: Arc<Metrics>,
}

/// One endpoint, and what is known of it. Nothing here is needed after a restart.
struct Waiting {
    endpoint: Endpoint,
    /// Events that are listed, and were looked at in vain: not again before the next start.
    passed: HashSet<String>,
    /// Events that could not be read: they come behind all others, and keep none of them waiting.
    put_off: HashSet<String>,
    /// Whether something may be acknowledged and not discarded.
    leftovers: bool,
}

/// Events that were read and are on their way to the journal.
#[derive(Default)]
struct Batch {
    ids: Vec<String>,
    deliveries: Vec<Delivery>,
    bytes: usize,
}

impl Collector {
    /// `None` for a source without pull endpoints.
    ///
    /// # Errors
    /// A secret is no key for its scheme, or the client cannot be made.
    pub fn new(
        source: &config::Source,
        intake: Intake,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Self>, SetupError> {
        let Some(pull) = &source.pull else { return Ok(None) };
        let verifier = match &source.auth {
            Some(auth) if pull.verify => Some(Verifier::new(auth)?),
            _ => None,
        };
        let waiting = |endpoint: &Endpoint| Waiting {
            endpoint: endpoint.clone(),
            passed: HashSet::new(),
            put_off: HashSet::new(),
            leftovers: true,
        };
        Ok(Some(Self {
            source: source.name.clone(),
            endpoints: pull.endpoints.iter().map(waiting).collect(),
            keeper: Keeper::new(pull, clock.clone())?,
            verifier,
            parser: Parser::new(source),
            intake,
            clock,
            metrics,
        }))
    }

    /// Looks at every endpoint once. Nothing is lost by dropping the future.
    ///
    /// # Errors
    /// The keeper or the journal could not be used, which is told of the first endpoint where that was so; what was not
    /// acknowledged is listed again.
    pub async fn round(&mut self) -> Result<Round, CollectError> {
        let mut round = Round::default();
        let mut endpoints = std::mem::take(&mut self.endpoints);
        let mut result = Ok(());
        for waiting in &mut endpoints {
            let looked = self.look(waiting, &mut round).await;
            let unusable = matches!(looked, Err(CollectError::Store(_)));
            result = result.and(looked);
            if unusable {
                break;
            }
        }
        self.endpoints = endpoints;
        result.map(|()| round)
    }

    async fn look(&self, waiting: &mut Waiting, round: &mut Round) -> Result<(), CollectError> {
        let id = &waiting.endpoint.id.clone();
        if waiting.leftovers && self.keeper.discards() {
            self.tidy(waiting, round).await;
        }
        let mut events = self.keeper.waiting(id, &mut waiting.passed).await?;
        round.more |= events.len() >= LISTED_MAX;
        events.sort_by_key(|event| waiting.put_off.contains(event));
        let mut batch = Batch::default();
        let (mut refused, mut failed) = (None, Ok(()));
        for event in events {
            let read = match self.keeper.read(id, &event).await {
                Ok(read) => read,
                Err(error) => {
                    waiting.put_off.insert(event);
                    failed = Err(error.into());
                    break;
                }
            };
            waiting.put_off.remove(&event);
            match read {
                Read::Event(read) => match self.judge(&waiting.endpoint, &read) {
                    Ok(delivery) => batch.take(event, delivery),
                    Err(reason) => {
                        self.metrics.refused(&self.source, reason.as_str());
                        round.refused += 1;
                        refused = Some(reason);
                        waiting.passed.insert(event);
                    }
                },
                Read::Gone => self.lose(waiting, event, "gone at the pull endpoint, unread", round).await?,
                Read::Unreadable(fault) => self.lose(waiting, event, &fault, round).await?,
            }
            if batch.is_full() {
                self.settle(waiting, std::mem::take(&mut batch), round).await?;
            }
        }
        if let Some(reason) = refused {
            let (source, endpoint) = (&self.source, &waiting.endpoint.id);
            tracing::warn!(source, endpoint, refused = round.refused, last = %reason, "pulled events are not authentic: left where they are");
        }
        self.settle(waiting, batch, round).await?;
        failed
    }

    /// Discards what earlier looks left. It keeps no event waiting: that there is less to list is all it is for.
    async fn tidy(&self, waiting: &mut Waiting, round: &mut Round) {
        let endpoint = &waiting.endpoint.id;
        match self.keeper.done(endpoint).await {
            Ok(done) => {
                waiting.leftovers = self.discard(endpoint, &done, round).await || done.len() >= LISTED_MAX;
            }
            Err(error) => {
                tracing::warn!(source = self.source, endpoint, %error, "what was acknowledged could not be listed, and is not discarded");
            }
        }
    }

    /// What an event says, if it is its upstream's; nothing if it means nothing here.
    fn judge(&self, endpoint: &Endpoint, event: &Event) -> Result<Option<Delivery>, Refused> {
        // A time that was signed is compared with the time of receipt: how long it was kept makes it no older.
        let received_at = event.received_at.unwrap_or_else(|| self.clock.now());
        let verified = match &self.verifier {
            Some(verifier) => {
                let asked = Request { method: "POST", url: None, headers: &event.headers, body: &event.body };
                let proof = verifier.verify(&asked, received_at)?;
                self.metrics.secret_used(&self.source, proof.secret, self.clock.now());
                proof
            }
            // The keeper's word; an id that nobody verified is no evidence.
            None => Verified { secret: 0, delivery_id: None },
        };
        let path_event = endpoint.event.as_deref();
        let (parsed, unreadable) = self.parser.understand(&event.body, &event.headers, path_event, &verified);
        let ignored = u64::from(parsed.ignored);
        self.metrics.notices(&self.source, Door::Pull, NoticeResult::Ignored, ignored);
        if parsed.notices.is_empty() && unreadable.is_empty() {
            return Ok(None);
        }
        for fault in &unreadable {
            tracing::error!(source = self.source, %fault, "authentic event cannot be understood: kept, see `expunged status`");
        }
        Ok(Some(Delivery {
            source: self.source.clone(),
            door: Door::Pull,
            run: None,
            notices: parsed.notices,
            unreadable,
            reason: None,
            body: Some(event.body.clone()),
        }))
    }

    /// An event that can't be had is told of in the journal, since it may have been a deletion (I6).
    async fn lose(
        &self,
        waiting: &mut Waiting,
        event: String,
        fault: &str,
        round: &mut Round,
    ) -> Result<(), CollectError> {
        tracing::error!(
            source = self.source,
            event,
            fault,
            "pulled event is lost: the next reconciliation may find what it told"
        );
        let delivery = Delivery {
            source: self.source.clone(),
            door: Door::Pull,
            run: None,
            notices: vec![],
            unreadable: vec![format!("event {event}: {fault}")],
            reason: None,
            body: None,
        };
        self.record(vec![delivery]).await?;
        waiting.passed.insert(event);
        round.lost += 1;
        Ok(())
    }

    /// Journals a batch, then acknowledges it, then discards it: never in another order.
    async fn settle(
        &self,
        waiting: &mut Waiting,
        batch: Batch,
        round: &mut Round,
    ) -> Result<(), CollectError> {
        if batch.ids.is_empty() {
            return Ok(());
        }
        if !batch.deliveries.is_empty() {
            self.record(batch.deliveries).await?;
        }
        let id = &waiting.endpoint.id.clone();
        // From here on until they are discarded, there is something to discard.
        let before = std::mem::replace(&mut waiting.leftovers, true);
        self.keeper.acknowledge(id, &batch.ids).await?;
        round.taken += batch.ids.len();
        waiting.leftovers = self.discard(id, &batch.ids, round).await || before;
        Ok(())
    }

    /// Whether something was left.
    async fn discard(&self, endpoint: &str, ids: &[String], round: &mut Round) -> bool {
        let source = &self.source;
        match self.keeper.discard(endpoint, ids).await {
            Ok(discarded) => {
                round.discarded += discarded.gone;
                let left = discarded.left.len();
                if left > 0 {
                    tracing::warn!(source, endpoint, left, "events were not discarded: tried again later");
                }
                left > 0
            }
            Err(error) => {
                tracing::warn!(source, endpoint, %error, "events were not discarded: tried again later");
                true
            }
        }
    }

    async fn record(&self, deliveries: Vec<Delivery>) -> Result<(), StoreError> {
        loop {
            match self.intake.record_all(deliveries.clone()).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Busy) => tokio::time::sleep(QUEUE_FULL).await,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Batch {
    fn take(&mut self, event: String, delivery: Option<Delivery>) {
        self.ids.push(event);
        if let Some(delivery) = delivery {
            self.bytes += delivery.body.as_ref().map_or(0, bytes::Bytes::len);
            self.deliveries.push(delivery);
        }
    }

    fn is_full(&self) -> bool {
        self.ids.len() >= BATCH_EVENTS_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}
