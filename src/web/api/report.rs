//! How a request stands: in one page of results, and in counts over all of it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Serialize, Serializer};
use tokio::time::{Instant, sleep, timeout_at};

use super::Api;
use super::call::Answer;
use super::query::Query;
use super::record::Taken;
use super::refused::Refused;
use crate::domain::{Outcome, Seq};
use crate::store::{Only, PENDING, Request, RequestResult, standing};

/// Results of one page.
const PAGE_MAX: u32 = 1_000;
/// Least time between two looks while an answer waits: each counts all of the request.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

#[derive(Serialize)]
struct Report {
    #[serde(serialize_with = "as_text")]
    receipt: Seq,
    /// Whether the request was read to its end.
    complete: bool,
    /// Whether nothing of it will change by itself.
    settled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<u64>,
    /// Records by how they stand, each counted once.
    counts: BTreeMap<&'static str, u64>,
    results: Vec<RequestResult>,
    /// Where the next page begins: `after`.
    next: Option<u64>,
}

/// Which results are wanted.
struct Page {
    after: u64,
    limit: u32,
    only: Only,
}

const FIRST: Page = Page { after: 0, limit: PAGE_MAX, only: Only::All };

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub fn as_text<S: Serializer>(seq: &Seq, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(seq)
}

/// `GET /api/v1/deletions/{receipt}`
pub async fn told(api: &Api, receipt: &str, query: Option<&str>) -> Result<Answer, Refused> {
    let query = Query::parse(query, &["after", "limit", "outcome", "wait"])?;
    let page = Page {
        after: query.number("after", 0..=u64::MAX, 0)?,
        limit: query.number("limit", 1..=PAGE_MAX, PAGE_MAX)?,
        only: query.text("outcome").map_or(Ok(Only::All), only)?,
    };
    let wait = query.wait()?;
    let unknown = || Refused::new(StatusCode::NOT_FOUND, "unknown_receipt", "there is no such receipt");
    let receipt: Seq = receipt.parse().map_err(|_| unknown())?;
    if api.store.request(receipt).await?.is_none() {
        api.caught_up().await?;
        api.store.request(receipt).await?.ok_or_else(unknown)?;
    }
    if let Some(wait) = wait {
        settled(api, receipt, wait).await?;
    }
    let report = report(api, receipt, &page).await?.ok_or_else(unknown)?;
    Ok(Answer::new(StatusCode::OK, &report))
}

fn only(word: &str) -> Result<Only, Refused> {
    if word == PENDING {
        return Ok(Only::Standing(None));
    }
    Outcome::parse(word).map(|outcome| Only::Standing(Some(outcome))).ok_or_else(|| {
        let known: Vec<&str> = std::iter::once(PENDING).chain(Outcome::ALL.map(Outcome::as_str)).collect();
        Refused::bad("bad_parameter", format!("outcome is one of {}", known.join(", ")))
    })
}

/// What the sender of a request gets: that it was taken, or what became of it while the sender waits.
pub async fn taken(
    api: &Api,
    taken: Taken,
    wait: Option<Duration>,
    replayed: bool,
) -> Result<Answer, Refused> {
    let receipt = taken.receipt;
    if let Some(wait) = wait {
        settled(api, receipt, wait).await?;
        if let Some(report) = report(api, receipt, &FIRST).await? {
            let status = if report.settled { StatusCode::OK } else { StatusCode::ACCEPTED };
            return Ok(Answer::new(status, &report).with_receipt(receipt, replayed));
        }
    }
    Ok(Answer::new(StatusCode::ACCEPTED, &taken).with_receipt(receipt, replayed))
}

/// Waits until nothing of the request will change by itself, or the time is over, or the daemon stops.
async fn settled(api: &Api, receipt: Seq, wait: Duration) -> Result<(), Refused> {
    let deadline = Instant::now() + wait;
    let mut folded = api.folded.clone();
    loop {
        folded.borrow_and_update();
        if let Some(request) = api.store.request(receipt).await?
            && standings(api, &request).await?.1
        {
            return Ok(());
        }
        tokio::select! {
            changed = timeout_at(deadline, folded.changed()) => {
                if !matches!(changed, Ok(Ok(()))) {
                    return Ok(());
                }
            }
            () = api.drain.cancelled() => return Ok(()),
        }
        sleep(LOOK_PAUSE).await;
    }
}

/// The counts, and whether they are final.
async fn standings(api: &Api, request: &Request) -> Result<(BTreeMap<&'static str, u64>, bool), Refused> {
    let counts = api.store.request_counts(request.receipt).await?;
    let settled = request.end.is_some() && counts.iter().all(|(outcome, _)| outcome.is_some());
    Ok((counts.into_iter().map(|(outcome, count)| (standing(outcome), count)).collect(), settled))
}

/// `None` while the request is not folded.
async fn report(api: &Api, receipt: Seq, page: &Page) -> Result<Option<Report>, Refused> {
    let Some(request) = api.store.request(receipt).await? else { return Ok(None) };
    let (counts, settled) = standings(api, &request).await?;
    let results = api.store.request_results(receipt, page.after, page.limit, page.only).await?;
    let full = results.len() == page.limit as usize;
    Ok(Some(Report {
        receipt,
        complete: request.end.is_some(),
        settled,
        received: request.end.as_ref().map(|end| end.received),
        refused: request.end.as_ref().map(|end| end.refused),
        counts,
        next: results.last().filter(|_| full).map(|last| last.n),
        results,
    }))
}
