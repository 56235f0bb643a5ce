//! Reads where a source's deliveries wait to be fetched, and how that place is asked.

use super::super::Secret;
use super::super::file::Value;
use super::super::presets;
use super::super::source::{Access, Acknowledge, Discard, Endpoint, EventBody, Feed, Listing, Pull, Reading};
use super::feed::{carried, credential, paging, query};
use super::source::time_format;
use super::{Field, Section};

const TEXTS: [(&str, EventBody); 2] = [("base64", EventBody::Base64), ("plain", EventBody::Plain)];

/// Ids of one request, where nothing else is said: what the strictest keeper takes.
const IDS_MAX: usize = 100;
/// Statuses by which a keeper says that an event is gone: not found, and gone.
const GONE: [u16; 2] = [404, 410];

/// The pull endpoint of a source; `pull = false` takes a preset's away.
pub(super) fn pull(source: &Section<'_>) -> Option<Pull> {
    source.get("pull").filter(|field| !field.is_false())?.section(|section| {
        if section.get("preset").is_some() {
            let presets: Vec<_> = presets::pull_names().map(|name| (name, ())).collect();
            section.chosen("preset", "", &presets)?;
        }
        pull_of(section)
    })
}

fn pull_of(section: &Section<'_>) -> Option<Pull> {
    let base =
        Base { given: section.get("base_url").is_some(), url: section.optional("base_url", Field::url) };
    let headers = headers(section);
    let mend = "name the endpoints, like endpoints = [\"ID\"], or { \"deal.deleted\" = \"ID\" }";
    let endpoints = section.required("endpoints", mend, endpoints);
    let mend = "say how it lists what waits: listing = { url = \"/endpoints/{endpoint}/events\", … }";
    let listing = section.required("listing", mend, |field| field.section(|table| listing(table, &base)));
    let mend = "say how an event is read: reading = { url = \"/events/{event}\", body = \"/payload\", … }";
    let reading = section.required("reading", mend, |field| field.section(|table| reading(table, &base)));
    let mend = "say how events are acknowledged: acknowledge = { url = \"/ack\", ids = \"event_ids\" }";
    let acknowledge =
        section.required("acknowledge", mend, |field| field.section(|table| acknowledge(table, &base)));
    let discard = section.get("discard").filter(|field| !field.is_false());
    let discards = discard.is_some();
    let discard = discard.and_then(|field| field.section(|table| discard_of(table, &base)));
    let access = access(section, headers);
    let every = section.or("every", Pull::EVERY, Field::duration);
    let verify = section.or("verify", true, Field::boolean);
    if discards && discard.is_none() {
        return None;
    }
    Some(Pull {
        access: access?,
        endpoints: endpoints?,
        every,
        verify,
        listing: listing?,
        reading: reading?,
        acknowledge: acknowledge?,
        discard,
    })
}

/// The keys by which any upstream is asked politely; those that are missing have the feed's defaults.
pub(super) fn access(section: &Section<'_>, headers: Option<Vec<(String, Secret)>>) -> Option<Access> {
    let access = Access {
        rate_per_second: section
            .or("rate_per_second", Feed::RATE_PER_SECOND, |field| field.integer(1..=10_000)),
        timeout: section.or("timeout", Feed::TIMEOUT, Field::duration),
        page_bytes_max: section
            .or("page_bytes_max", Feed::PAGE_BYTES_MAX, |field| field.bytes(1_024..=1 << 28)),
        attempts_max: section.or("attempts_max", Feed::ATTEMPTS_MAX, |field| field.integer(1..=100)),
        headers: Vec::new(),
    };
    Some(Access { headers: headers?, ..access })
}

/// The header that takes the keeper's API key, which is not the upstream's.
fn headers(section: &Section<'_>) -> Option<Vec<(String, Secret)>> {
    let credential = section.get("credential").map(|field| field.section(credential));
    let key = section.get("api_key");
    match (credential, key) {
        (None, None) => Some(Vec::new()),
        (None, Some(_)) => {
            let mend = "say where it goes: credential = { header = \"authorization\", prefix = \"Bearer \" }";
            section.fault("api_key", "is used by nothing, since there is no credential", mend)
        }
        (Some(_), None) => {
            let mend = "write api_key = { env = \"NAME\" } or { file = \"…\" }";
            section.fault("api_key", "missing, while the endpoint needs it", mend)
        }
        (Some(credential), Some(key)) => {
            let key = carried(&key);
            let ((name, prefix), key) = (credential?, key?);
            Some(vec![(name, Secret::new([prefix.as_bytes(), key.expose()].concat()))])
        }
    }
}

fn endpoints(field: &Field<'_>) -> Option<Vec<Endpoint>> {
    if let Value::Table(_) = field.node.value {
        let entries = field.entries()?;
        if entries.is_empty() {
            return field.fault("is empty", "name at least one endpoint");
        }
        let one = |(event, field): &(&str, Field<'_>)| {
            Some(Endpoint { id: field.name()?, event: Some((*event).to_owned()) })
        };
        let read: Vec<Option<Endpoint>> = entries.iter().map(one).collect();
        return read.into_iter().collect();
    }
    field.all(|field| Some(Endpoint { id: field.name()?, event: None }))
}

fn listing(section: &Section<'_>, base: &Base) -> Option<Listing> {
    let url = base.address(section, &["{endpoint}"]);
    let queries = section.get("queries").map_or(Some(vec![Vec::new()]), |field| field.all(query));
    let done = section.get("done").map(|field| query(&field));
    let items = section.pointers("items");
    let mend = "say where an item has its id, like id = \"/id\"";
    let id = section.required("id", mend, Field::pointers);
    let discarded = section.pointers("discarded");
    let mend = "say how it pages, like paging = { kind = \"none\" }";
    let paging = section.required("paging", mend, |field| field.section(paging));
    if done == Some(None) {
        return None;
    }
    Some(Listing {
        url: url?,
        queries: queries?,
        done: done.flatten(),
        items,
        id: id?,
        discarded,
        paging: paging?,
    })
}

fn reading(section: &Section<'_>, base: &Base) -> Option<Reading> {
    let url = base.address(section, &["{endpoint}", "{event}"]);
    let mend = "say where the original body stands, like body = \"/payload\"";
    let body = section.required("body", mend, Field::pointers);
    let text = section.or("text", EventBody::Base64, |field| field.choice(&TEXTS));
    let mend = "say where the original headers stand, like headers = \"/headers\"";
    let headers = section.required("headers", mend, Field::pointers);
    let received_at = section.pointers("received_at");
    let time_format = time_format(section);
    let gone = section
        .get("gone")
        .map_or(Some(GONE.to_vec()), |field| field.all(|status| status.integer(400..=499)));
    Some(Reading { url: url?, body: body?, text, headers: headers?, received_at, time_format, gone: gone? })
}

fn acknowledge(section: &Section<'_>, base: &Base) -> Option<Acknowledge> {
    let url = base.address(section, &["{endpoint}"]);
    let (ids, max) = ids(section);
    Some(Acknowledge { url: url?, ids: ids?, max })
}

fn discard_of(section: &Section<'_>, base: &Base) -> Option<Discard> {
    let url = base.address(section, &["{endpoint}"]);
    let (ids, max) = ids(section);
    let results = section.pointers("results");
    let mend = "say where a result names its event, like id = \"/event_id\"";
    let id = section.required("id", mend, Field::pointers);
    let mend = "say where a result has its outcome, like outcome = \"/outcome\"";
    let outcome = section.required("outcome", mend, Field::pointers);
    let mend = "name the outcomes that say that it is gone, like gone = [\"deleted\"]";
    let gone = section.required("gone", mend, |field| field.all(Field::name));
    let error = section.pointers("error");
    Some(Discard { url: url?, ids: ids?, max, results, id: id?, outcome: outcome?, gone: gone?, error })
}

fn ids(section: &Section<'_>) -> (Option<String>, usize) {
    let mend = "name the array of ids in the request, like ids = \"event_ids\"";
    let name = section.required("ids", mend, Field::name);
    (name, section.or("max", IDS_MAX, |field| field.integer(1..=10_000)))
}

/// The address that paths begin at.
struct Base {
    given: bool,
    url: Option<String>,
}

impl Base {
    /// An absolute URL, or a path under the base, with all of `places` in it, the last of which must be there.
    fn address(&self, section: &Section<'_>, places: &[&str]) -> Option<String> {
        let needed = places.last().copied().unwrap_or_default();
        let mend = format!("write a path under base_url, or an absolute URL, with {needed} in it");
        let Some(field) = section.get("url") else { return section.fault("url", "missing", mend) };
        let text = field.text()?;
        let filled = places.iter().fold(text.to_owned(), |text, place| text.replace(place, "x"));
        if !text.contains(needed) || filled.contains(['{', '}']) {
            let places = places.join(" and ");
            return field.fault(format!("has not the places {places} alone"), mend);
        }
        if !text.starts_with('/') {
            return field.url_like(&filled).map(|_| text.to_owned());
        }
        if text.contains(['?', '#']) {
            return field
                .fault("has a query or a fragment", "leave them out; queries have keys of their own");
        }
        if !self.given {
            return field
                .fault("is a path without a base", "give base_url, like \"https://api.example.com\"");
        }
        Some(format!("{}{text}", self.url.as_deref()?))
    }
}
