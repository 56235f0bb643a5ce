//! `POST /api/v1/deletions`: up to 1,000 ids as JSON, or any number of them line by line.
//!
//! A list is taken as a whole or not at all. An upload is carried out as it comes: a line that is no id is told
//! of with its number, and the rest goes on.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::call::Answer;
use super::ids::{self, Item};
use super::lines::{Line, Lines};
use super::query::Query;
use super::record::{Ask, FAULTS_SHOWN, Fault, Recording, Taken};
use super::refused::{Refused, Wrong};
use super::{Api, foresee, report};
use crate::config::Token;
use crate::domain::Outcome;
use crate::store::{Only, Request as Earlier};
use crate::web::read_body;

/// Ids of a list, and of one entry of the journal.
pub const IDS_MAX: usize = 1_000;
/// Bytes of a list: 1,000 of the longest keys.
const LIST_BYTES_MAX: usize = 4 << 20;
/// How long a request is known by its key.
const KEY_GOOD_FOR: Duration = Duration::from_hours(24);
/// Bytes of a key: a UUID has 36.
const KEY_BYTES_MAX: usize = 255;

/// How ids come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    List,
    /// Parts with tabs between them.
    Text,
    /// A JSON text or array a line.
    JsonLines,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List<'a> {
    entity: String,
    by: Option<String>,
    #[serde(borrow)]
    ids: Vec<&'a RawValue>,
    reason: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// Who asks, and what of it is not about the ids.
struct Caller<'a> {
    token: &'a Token,
    request_id: &'a str,
    /// SHA-256 of the `Idempotency-Key`, hex.
    key: Option<String>,
}

/// What a request came to.
enum Done {
    /// It was a dry run.
    Told(Answer),
    /// It is in the journal.
    Taken(Taken),
    /// It had been before.
    Known(Taken),
}

pub async fn ask(
    api: &Api,
    token: &Token,
    request_id: String,
    head: &Parts,
    body: Body,
) -> Result<Answer, Refused> {
    let format = format(&head.headers)?;
    let caller = Caller { token, request_id: &request_id, key: idempotency_key(&head.headers)? };
    let known: &[&str] =
        if format == Format::List { &["wait"] } else { &["entity", "by", "reason", "dry_run", "wait"] };
    let query = Query::parse(head.uri.query(), known)?;
    let wait = query.wait()?;
    // Whoever waits for the outcomes keeps no place from others.
    match carry_out(api, &caller, format, &query, body).await? {
        Done::Told(answer) => Ok(answer),
        Done::Taken(it) => report::taken(api, it, wait, false).await,
        Done::Known(it) => report::taken(api, it, wait, true).await,
    }
}

async fn carry_out(
    api: &Api,
    caller: &Caller<'_>,
    format: Format,
    query: &Query,
    body: Body,
) -> Result<Done, Refused> {
    let place = api.at_work.try_acquire();
    let _place = place.map_err(|_| Refused::busy("too many requests for deletions at once"))?;
    if format == Format::List {
        return list(api, caller, body).await;
    }
    let entity =
        query.text("entity").ok_or_else(|| Refused::bad("bad_request", "say which entity: ?entity=NAME"))?;
    let ask = Ask::new(api, entity, query.text("by"), query.text("reason").map(ToOwned::to_owned))?;
    let head = format!("{}\0{}\0", if format == Format::Text { "text" } else { "json" }, meaning(query));
    let lines = Upload { lines: Lines::new(body, api.body_timeout, &head), format };
    if query.flag("dry_run")? {
        return foresee::foresee(api, &ask, lines.few(&ask).await?).await.map(Done::Told);
    }
    upload(api, caller, &ask, lines).await
}

fn format(headers: &HeaderMap) -> Result<Format, Refused> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "application/json" => Ok(Format::List),
        "text/plain" => Ok(Format::Text),
        "application/x-ndjson" => Ok(Format::JsonLines),
        _ => {
            let message = "send application/json, text/plain or application/x-ndjson";
            Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message))
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut all = headers.get_all("idempotency-key").iter();
    let Some(key) = all.next() else { return Ok(None) };
    let key = key.as_bytes();
    if all.next().is_some() || key.is_empty() || key.len() > KEY_BYTES_MAX {
        let message = format!("Idempotency-Key stands once, and has 1 to {KEY_BYTES_MAX} bytes");
        return Err(Refused::bad("bad_idempotency_key", message));
    }
    Ok(Some(hex::encode(Sha256::digest(key))))
}

/// What an upload's query says of its ids; how long to wait for the answer is not part of it.
fn meaning(query: &Query) -> String {
    ["entity", "by", "reason"].map(|name| query.text(name).unwrap_or_default()).join("\0")
}

async fn list(api: &Api, caller: &Caller<'_>, body: Body) -> Result<Done, Refused> {
    let body = read_body(body, LIST_BYTES_MAX, api.body_timeout).await?;
    let list: List<'_> = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    if list.ids.len() > IDS_MAX {
        return Err(too_many());
    }
    let ask = Ask::new(api, &list.entity, list.by.as_deref(), list.reason)?;
    let items: Vec<Item> =
        (1..).zip(&list.ids).map(|(place, id)| ask.item(place, ids::of_json(id.get()))).collect();
    let wrong =
        items.iter().filter_map(|it| Some(Wrong { n: it.place, message: it.id.as_ref().err()?.to_string() }));
    let wrong: Vec<Wrong> = wrong.collect();
    if items.is_empty() {
        return Err(nothing());
    }
    if !wrong.is_empty() {
        let refused = Refused::bad("bad_ids", "some of the ids are none, and nothing was done");
        return Err(Refused { faults: wrong, ..refused });
    }
    if list.dry_run {
        return foresee::foresee(api, &ask, items).await.map(Done::Told);
    }
    let fingerprint = hex::encode(Sha256::digest(&body));
    let key = caller.key.as_deref();
    let _claim = key.map(|key| api.claim(&caller.token.name, key)).transpose()?;
    if let Some(earlier) = earlier(api, caller).await? {
        return again(api, earlier, &fingerprint).await;
    }
    let mut recording = Recording::begin(api, caller.token, &ask, key);
    recording.part(items, Some(body), Some(fingerprint)).await?;
    Ok(Done::Taken(recording.taken(caller.request_id)))
}

/// Says where, and nothing of what stands there.
fn unreadable(error: &serde_json::Error) -> Refused {
    let (line, column) = (error.line(), error.column());
    let message = if error.is_data() {
        format!(
            "not what belongs here, at line {line}, column {column}: an object with entity, by, ids, reason, dry_run"
        )
    } else {
        format!("not JSON, from line {line}, column {column} on")
    };
    Refused::bad("bad_request", message)
}

fn nothing() -> Refused {
    Refused::bad("no_ids", "there is no id in it")
}

fn too_many() -> Refused {
    let message =
        format!("more than {IDS_MAX} ids: upload them line by line, as text/plain or application/x-ndjson");
    Refused::bad("too_many_ids", message)
}

/// Lines that are ids.
struct Upload {
    lines: Lines,
    format: Format,
}

impl Upload {
    async fn next(&mut self, ask: &Ask) -> Result<Option<Item>, Refused> {
        let Some(Line { number, text }) = self.lines.next().await? else { return Ok(None) };
        let parts = text.and_then(|text| match self.format {
            Format::Text => Ok(ids::of_text(&text)),
            Format::List | Format::JsonLines => ids::of_json(&text),
        });
        Ok(Some(ask.item(number, parts)))
    }

    /// All of them, if they are no more than a list may have.
    async fn few(mut self, ask: &Ask) -> Result<Vec<Item>, Refused> {
        let mut items = Vec::new();
        while let Some(item) = self.next(ask).await? {
            if items.len() == IDS_MAX {
                return Err(Refused {
                    message: format!("a dry run takes {IDS_MAX} ids at most"),
                    ..too_many()
                });
            }
            items.push(item);
        }
        if items.is_empty() { Err(nothing()) } else { Ok(items) }
    }
}

async fn upload(api: &Api, caller: &Caller<'_>, ask: &Ask, mut upload: Upload) -> Result<Done, Refused> {
    let key = caller.key.as_deref();
    let _claim = key.map(|key| api.claim(&caller.token.name, key)).transpose()?;
    if let Some(earlier) = earlier(api, caller).await? {
        upload.lines.skip().await?;
        return again(api, earlier, &upload.lines.fingerprint()).await;
    }
    let mut recording = Recording::begin(api, caller.token, ask, key);
    match record(&mut recording, ask, upload).await {
        Ok(()) => Ok(Done::Taken(recording.taken(caller.request_id))),
        Err(refused) => Err(recording.broken_off(refused, caller.request_id)),
    }
}

async fn record(recording: &mut Recording<'_>, ask: &Ask, mut upload: Upload) -> Result<(), Refused> {
    let mut items = Vec::with_capacity(IDS_MAX);
    while let Some(item) = upload.next(ask).await? {
        // Not before there is one more: the last part says that it is the last.
        if items.len() == IDS_MAX {
            recording.part(std::mem::take(&mut items), None, None).await?;
        }
        items.push(item);
    }
    if recording.received() == 0 && items.is_empty() {
        return Err(nothing());
    }
    recording.part(items, None, Some(upload.lines.fingerprint())).await
}

/// The request that this may be a repeat of.
async fn earlier(api: &Api, caller: &Caller<'_>) -> Result<Option<Earlier>, Refused> {
    let Some(key) = &caller.key else { return Ok(None) };
    api.caught_up().await?;
    let since = api.now().minus(KEY_GOOD_FOR);
    Ok(api.store.request_again(&caller.token.name, key, since).await?)
}

async fn again(api: &Api, earlier: Earlier, fingerprint: &str) -> Result<Done, Refused> {
    let receipt = earlier.receipt;
    let end = earlier.end.filter(|end| end.fingerprint == fingerprint).ok_or_else(|| {
        let message = "this Idempotency-Key was used for another request within 24 hours";
        Refused::new(StatusCode::CONFLICT, "idempotency_key_reused", message)
    })?;
    let faults = api.store.request_results(receipt, 0, FAULTS_SHOWN, Only::Refused).await?;
    let faults = faults.into_iter().map(|it| Fault {
        n: it.n,
        outcome: it.outcome.unwrap_or(Outcome::Failed),
        code: it.code.unwrap_or_default(),
        message: it.message.unwrap_or_default(),
    });
    let (received, refused) = (end.received, end.refused);
    let taken = Taken { receipt, received, accepted: received - refused, refused, faults: faults.collect() };
    Ok(Done::Known(taken))
}
