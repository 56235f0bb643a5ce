//! Requests of one target: sent, tried again where that is safe, and read for what they say.

use std::time::Duration;

use super::ApiTarget;
use super::answer::{self, Told, find};
use super::http::{Body, Request, Response};
use super::sheet::{Chunk, Sheet};
use crate::backoff::Backoff;
use crate::config::Secret;
use crate::config::api::{ErrorMeans, Method, Records};
use crate::domain::{Entity, Timestamp};
use crate::targets::Wait;

/// Tries of one request within a batch: enough for a connection that was closed meanwhile.
const TRIES: u32 = 3;
/// Waits between them.
const BETWEEN: Backoff = Backoff { first: Duration::from_millis(500), cap: Duration::from_secs(5) };

/// What became of a request to delete.
pub(super) enum Sent {
    /// What is known of each id, in order.
    Told(Vec<Told>),
    /// The work was taken, and is not done.
    Accepted,
    /// One of the ids is at fault. Nothing was done.
    Refused(Option<String>),
    /// The vendor lets no more go. Nothing was done.
    Quota(Option<String>),
    /// Nothing was done, and nothing would be now.
    Away(Wait),
    /// It may have been done: no answer, or none that can be understood.
    Lost { code: &'static str, wait: Wait },
}

impl ApiTarget {
    /// Sends a chunk. Marks it as in doubt before it is sent again after an answer was lost.
    pub(super) async fn send(&self, sheet: &Sheet<'_>, chunk: &mut Chunk) -> Sent {
        let Some(records) = self.api.entities.get(&chunk.entity) else {
            return Sent::Refused(None);
        };
        let mut request = self.request(sheet, records, chunk, false);
        let key = self.api.idempotency.as_ref().map(|name| (name.clone(), sheet.idempotency_key(chunk)));
        request.headers.extend(key.map(|(name, key)| (name, Secret::new(key))));
        let (mut tries, mut renewed, mut lost) = (0, false, None);
        loop {
            tries += 1;
            let away = |until, reason| match lost {
                None => Sent::Away(Wait { until, reason }),
                Some(code) => Sent::Lost { code, wait: Wait { until, reason } },
            };
            let request = match self.proven(&request).await {
                Ok(request) => request,
                Err(reason) => return away(None, reason),
            };
            let trouble = match self.http.send(request).await {
                Err(none) => {
                    lost = lost.or(none.sent.then_some("unanswered"));
                    none.what
                }
                Ok(response) if self.is_good(&response) => {
                    if let Some(sent) = self.understand(&response, records, sheet, chunk) {
                        return sent;
                    }
                    lost = Some("unreadable");
                    "the answer is not the one that the configuration describes".to_owned()
                }
                Ok(response) => {
                    let (means, code) = self.error(&response);
                    let reason = said(&response, code.as_deref());
                    match means {
                        ErrorMeans::Refused => return Sent::Refused(code),
                        ErrorMeans::Quota => return Sent::Quota(code),
                        ErrorMeans::Credential if !renewed && self.credential.refused().await => {
                            (renewed, tries) = (true, tries - 1);
                            continue;
                        }
                        ErrorMeans::Credential | ErrorMeans::Misconfigured => return away(None, reason),
                        ErrorMeans::Rate => {
                            return away(self.allowance.again(&response, self.clock.now()), reason);
                        }
                        ErrorMeans::Down => {
                            lost = lost.or(Some("unanswered"));
                            reason
                        }
                    }
                }
            };
            chunk.in_doubt |= lost.is_some();
            if tries >= TRIES {
                let wait = Wait { until: None, reason: trouble };
                return lost.map_or_else(
                    || Sent::Away(wait.clone()),
                    |code| Sent::Lost { code, wait: wait.clone() },
                );
            }
            tracing::warn!(target = self.name, trouble, tries, "request not answered, trying again");
            tokio::time::sleep(BETWEEN.wait(tries, &self.dice)).await;
        }
    }

    /// What a rehearsal says of each id of a chunk.
    pub(super) async fn dry_run(&self, sheet: &Sheet<'_>, chunk: &Chunk) -> Result<Vec<Told>, Wait> {
        let away = |reason: String| Wait { until: None, reason };
        let records = self.api.entities.get(&chunk.entity).ok_or_else(|| away("no such entity".into()))?;
        let response = self.asked(&self.request(sheet, records, chunk, true)).await?;
        match self.understand(&response, records, sheet, chunk).filter(|_| self.is_good(&response)) {
            Some(Sent::Told(told)) => Ok(told),
            _ => Err(away("the answer to the rehearsal cannot be understood".into())),
        }
    }

    /// Asks the vendor for its figures: what it holds, and what of the quota is left.
    pub(super) async fn figures(&self, entity: &Entity) -> Result<(), Wait> {
        let Some(path) = self.api.entities.get(entity).and_then(|records| records.stats.as_ref()) else {
            return Ok(());
        };
        let url = format!("{}{path}", self.api.base_url);
        let headers = self.api.headers.clone();
        let request = Request { method: reqwest::Method::GET, url, headers, body: None };
        let response = self.asked(&request).await?;
        let body = response.json();
        if !self.api.quota.total.is_empty() {
            let total = find(&body, &body, &self.api.quota.total).and_then(serde_json::Value::as_u64);
            self.counted(entity, total);
        }
        Ok(())
    }

    /// An answer of 200 to a request that changes nothing.
    async fn asked(&self, request: &Request) -> Result<Response, Wait> {
        let mut renewed = false;
        loop {
            let away = |reason| Wait { until: None, reason };
            let proven = self.proven(request).await.map_err(away)?;
            let response = self.http.send(proven).await.map_err(|none| away(none.what))?;
            let now = self.clock.now();
            self.allowance.learn(&response, now);
            if response.status == 200 {
                return Ok(response);
            }
            let (means, code) = self.error(&response);
            if means == ErrorMeans::Credential && !renewed && self.credential.refused().await {
                renewed = true;
                continue;
            }
            let until = self.allowance.again(&response, now);
            return Err(Wait { until, reason: said(&response, code.as_deref()) });
        }
    }

    /// The request for a chunk, without a credential.
    fn request(&self, sheet: &Sheet<'_>, records: &Records, chunk: &Chunk, dry_run: bool) -> Request {
        Request {
            method: match self.api.method {
                Method::Post => reqwest::Method::POST,
                Method::Put => reqwest::Method::PUT,
                Method::Patch => reqwest::Method::PATCH,
                Method::Delete => reqwest::Method::DELETE,
            },
            url: format!("{}{}", self.api.base_url, records.path),
            headers: self.api.headers.clone(),
            body: Some(Body::Json(sheet.body(records, chunk, dry_run))),
        }
    }

    /// The request with a credential that is good now.
    async fn proven(&self, request: &Request) -> Result<Request, String> {
        let mut proven = request.clone();
        proven.headers.extend(self.credential.header().await?);
        Ok(proven)
    }

    fn is_good(&self, response: &Response) -> bool {
        (200..300).contains(&response.status) && !answer::denies(&self.api.answer, &response.json())
    }

    fn understand(
        &self,
        response: &Response,
        records: &Records,
        sheet: &Sheet<'_>,
        chunk: &Chunk,
    ) -> Option<Sent> {
        self.allowance.learn(response, self.clock.now());
        if self.api.answer.accepted.contains(&response.status) {
            return Some(Sent::Accepted);
        }
        answer::judge(&self.api.answer, &response.json(), &records.told_as, &sheet.ids(chunk)).map(Sent::Told)
    }

    fn error(&self, response: &Response) -> (ErrorMeans, Option<String>) {
        self.allowance.learn(response, self.clock.now());
        answer::error(&self.api.errors, &self.api.error_code, response)
    }

    pub(super) fn soon(&self, wait: Duration) -> Timestamp {
        self.clock.now().plus(wait)
    }
}

/// An error for people: the status and the vendor's own word for it, nothing else of the answer.
fn said(response: &Response, code: Option<&str>) -> String {
    match code {
        Some(code) => format!("answered {} ({code})", response.status),
        None => format!("answered {}", response.status),
    }
}
