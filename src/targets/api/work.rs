//! One batch: which request goes out next, and what its answer means for the removals in it.

use std::collections::VecDeque;
use std::time::Duration;

use super::ApiTarget;
use super::answer::Told;
use super::quota::Plan;
use super::request::Sent;
use super::sheet::{Chunk, Sheet};
use crate::config::api::WhenUnproven;
use crate::targets::{Batch, Effect, RecordFailure, Unproven, Wait};

/// Requests of one batch that go out because another one proved nothing or was refused: one id among 500 is found
/// with 18 of them, and a vendor that refuses everything is left alone.
const DETOURS_MAX: u32 = 64;
/// When what may have been done without an answer is asked for again.
const LOST_AGAIN: Duration = Duration::from_secs(30);
/// The same for an answer that nobody understands: a person must look, and each try deletes again.
const UNREADABLE_AGAIN: Duration = Duration::from_mins(15);

const EXHAUSTED: &str = "quota_exhausted";

/// The requests that are still to go out.
struct Work<'a> {
    sheet: Sheet<'a>,
    chunks: VecDeque<Chunk>,
    detours: u32,
    /// The figures were asked for since the last one that helped.
    asked: bool,
}

impl ApiTarget {
    pub(super) async fn carry_out(&self, batch: &Batch) -> Vec<Effect> {
        let mut sheet = Sheet::new(&self.api, &self.name, batch);
        let chunks = sheet.chunks();
        let mut work = Work { sheet, chunks, detours: 0, asked: false };
        while let Some(chunk) = work.chunks.pop_front() {
            let Some(mut chunk) = self.planned(&mut work, chunk).await else { continue };
            let sent = self.send(&work.sheet, &mut chunk).await;
            self.tell(&mut work, chunk, sent).await;
        }
        work.sheet.finish()
    }

    /// The part of a chunk that may go out now; `None` if the plan has dealt with it.
    async fn planned(&self, work: &mut Work<'_>, mut chunk: Chunk) -> Option<Chunk> {
        match self.allowance.plan(chunk.places.len(), self.clock.now()) {
            Plan::Wait(until) => {
                let reason = "no requests are left of the vendor's quota".to_owned();
                self.put_off(work, chunk, &Wait { until: Some(until), reason });
                None
            }
            Plan::Spent => {
                work.chunks.push_front(chunk);
                self.park(work);
                None
            }
            Plan::Ask if !work.asked => {
                work.asked = true;
                match self.figures(&chunk.entity).await {
                    Ok(()) => work.chunks.push_front(chunk),
                    Err(wait) => self.put_off(work, chunk, &wait),
                }
                None
            }
            Plan::Send(fits) if fits < chunk.places.len() => {
                let rest = chunk.of(&chunk.places[fits..], chunk.in_doubt);
                chunk.places.truncate(fits);
                work.chunks.push_front(rest);
                Some(chunk)
            }
            Plan::Ask | Plan::Send(_) => Some(chunk),
        }
    }

    async fn tell(&self, work: &mut Work<'_>, chunk: Chunk, sent: Sent) {
        match sent {
            Sent::Told(told) => self.told(work, &chunk, told),
            Sent::Accepted => {
                let message = "the vendor took the request, and has not said that it is done".to_owned();
                let again = Some(self.soon(self.api.answer.accepted_again));
                work.all(&chunk, || {
                    Effect::Unproven(Unproven { code: "accepted", message: message.clone(), again })
                });
            }
            Sent::Refused(code) => self.refused(work, chunk, code).await,
            Sent::Quota(code) => {
                if !self.quota_says_less(work, &chunk).await {
                    tracing::error!(target = self.name, code, "the vendor lets no more go: parked");
                    work.all(&chunk, || exhausted(chunk.in_doubt));
                }
            }
            Sent::Away(wait) => {
                // Some call the end of a quota "forbidden".
                if wait.until.is_some() || !self.quota_says_less(work, &chunk).await {
                    self.put_off(work, chunk, &wait);
                }
            }
            Sent::Lost { code, wait } => {
                self.allowance.forget();
                let after = if code == "unreadable" { UNREADABLE_AGAIN } else { LOST_AGAIN };
                let again = Some(wait.until.unwrap_or_else(|| self.soon(after)));
                let message = wait.reason.clone();
                work.all(&chunk, || Effect::Unproven(Unproven { code, message: message.clone(), again }));
                self.put_off_rest(work, &wait);
            }
        }
    }

    fn told(&self, work: &mut Work<'_>, chunk: &Chunk, told: Vec<Told>) {
        let mut unproven = Vec::new();
        for (place, told) in chunk.places.iter().zip(told) {
            let effect = match told {
                Told::Deleted => Effect::Removed { rows: 1 },
                Told::Absent if !chunk.in_doubt => Effect::Absent,
                Told::Absent | Told::Gone => Effect::Gone,
                Told::Failed { code, retry } => {
                    let message = match code {
                        Some(code) => format!("the vendor says {code}"),
                        None => "the vendor did not delete it, and does not say why".to_owned(),
                    };
                    Effect::Failed(RecordFailure { code: "record_failed", message, retry })
                }
                Told::Unproven => {
                    unproven.push(*place);
                    continue;
                }
            };
            work.sheet.tell(*place, effect);
        }
        if unproven.is_empty() {
            return;
        }
        let again = self.api.answer.unproven == WhenUnproven::Halve && work.detours < DETOURS_MAX;
        work.detours += 1;
        match unproven.len() {
            1 if again && chunk.places.len() > 1 => work.chunks.push_front(chunk.of(&unproven, true)),
            2.. if again => work.halve(chunk, &unproven, true),
            count => {
                tracing::warn!(
                    target = self.name,
                    count,
                    "the answer does not prove which records went: parked"
                );
                let message = "the vendor's answer does not say whether it went".to_owned();
                let unconfirmed = Unproven { code: "unconfirmed", message, again: None };
                let effect = || Effect::Unproven(unconfirmed.clone());
                work.all(&chunk.of(&unproven, true), effect);
            }
        }
    }

    async fn refused(&self, work: &mut Work<'_>, chunk: Chunk, code: Option<String>) {
        if self.quota_says_less(work, &chunk).await {
            return;
        }
        work.detours += 1;
        if chunk.places.len() == 1 {
            let message = match code {
                Some(code) => format!("the vendor refuses it: {code}"),
                None => "the vendor refuses it".to_owned(),
            };
            let failure = RecordFailure { code: "refused", message, retry: false };
            work.all(&chunk, || Effect::Failed(failure.clone()));
        } else if work.detours < DETOURS_MAX {
            let places = chunk.places.clone();
            work.halve(&chunk, &places, chunk.in_doubt);
        } else {
            let reason = "request after request is refused".to_owned();
            self.put_off(work, chunk, &Wait { until: None, reason });
        }
    }

    /// A refusal may be the quota's, under whatever name. Where the vendor's figures say so, the chunk is planned
    /// again by them.
    async fn quota_says_less(&self, work: &mut Work<'_>, chunk: &Chunk) -> bool {
        if !self.api.quota.counts_deletions() || self.figures(&chunk.entity).await.is_err() {
            return false;
        }
        let less = match self.allowance.plan(chunk.places.len(), self.clock.now()) {
            Plan::Send(fits) => fits < chunk.places.len(),
            Plan::Spent => true,
            Plan::Wait(_) | Plan::Ask => false,
        };
        if less {
            work.chunks.push_front(chunk.clone());
        }
        less
    }

    /// Nothing is sent against a quota that is used up for good: a person must raise it.
    fn park(&self, work: &mut Work<'_>) {
        let records: usize = work.chunks.iter().map(|chunk| chunk.places.len()).sum();
        tracing::error!(target = self.name, records, "the vendor's quota of deletions is used up: parked");
        while let Some(chunk) = work.chunks.pop_front() {
            work.all(&chunk, || exhausted(chunk.in_doubt));
        }
    }

    fn put_off(&self, work: &mut Work<'_>, chunk: Chunk, wait: &Wait) {
        work.chunks.push_front(chunk);
        self.put_off_rest(work, wait);
    }

    /// What may have been done is told so; everything else goes back to the queue.
    fn put_off_rest(&self, work: &mut Work<'_>, wait: &Wait) {
        let again = Some(wait.until.unwrap_or_else(|| self.soon(LOST_AGAIN)));
        while let Some(chunk) = work.chunks.pop_front() {
            let message = wait.reason.clone();
            let unanswered = Unproven { code: "unanswered", message, again };
            work.all(&chunk, || {
                if chunk.in_doubt {
                    Effect::Unproven(unanswered.clone())
                } else {
                    Effect::Waits(wait.clone())
                }
            });
        }
    }
}

impl Work<'_> {
    fn all(&mut self, chunk: &Chunk, effect: impl Fn() -> Effect) {
        for place in &chunk.places {
            self.sheet.tell(*place, effect());
        }
    }

    fn halve(&mut self, chunk: &Chunk, places: &[usize], in_doubt: bool) {
        let [left, right] = chunk.halves(places, in_doubt);
        self.chunks.push_front(right);
        self.chunks.push_front(left);
    }
}

fn exhausted(in_doubt: bool) -> Effect {
    let message = "the vendor's quota of deletions is used up".to_owned();
    if in_doubt {
        return Effect::Unproven(Unproven { code: EXHAUSTED, message, again: None });
    }
    Effect::Failed(RecordFailure { code: EXHAUSTED, message, retry: false })
}
