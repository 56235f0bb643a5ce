//! Reads a batch-deletion API: where it is, what goes out, what comes back.

mod answer;
mod proof;
mod shape;

use std::collections::BTreeMap;

use super::super::api::{Api, Method, Quota, Records};
use super::super::template;
use super::values::shown;
use super::{Field, Section, feed, target};
use shape::Kind;

const METHODS: [(&str, Method); 4] =
    [("POST", Method::Post), ("PUT", Method::Put), ("PATCH", Method::Patch), ("DELETE", Method::Delete)];

/// Ids of one request: ten times the largest documented limit (1,000).
const LIMIT_MAX: i64 = 10_000;

pub(super) fn api(section: &Section<'_>) -> Option<Api> {
    let mend = "name its address, like base_url = \"https://api.example.com\"";
    let base_url = section.required("base_url", mend, Field::url);
    let mend = "name the path of the request below base_url, like path = \"/v1/deals/bulk-delete\"";
    let path = section.required("path", mend, path);
    let mend = "say how many ids one request may have, like limit = 100";
    let limit = section.required("limit", mend, |field| field.integer(1..=LIMIT_MAX));
    let mend = "say what is sent, like body = { ids = \"{ids}\" }";
    let body = section.required("body", mend, shape::body);
    let auth = proof::auth(section, base_url.as_deref());
    let headers = feed::fixed(section);
    let answer = section.table("answer", answer::answer);
    let quota = section.table("quota", |section| Some(quota(section)));
    let kinds = section.optional("kinds", shape::kinds).unwrap_or_default();
    let stats = quota.as_ref().and_then(|quota| quota.stats.clone());
    let entities =
        target::entities(section, |entity| records(entity, path.as_deref(), stats.as_deref(), &kinds));
    let mend = "write \"POST\", \"PUT\", \"PATCH\" or \"DELETE\"";
    let method = section.required("method", mend, |field| field.choice(&METHODS));
    Some(Api {
        dry_run: section.optional("dry_run", |field| field.section(shape::dry_run)),
        idempotency: section.optional("idempotency", Field::header),
        errors: section.or("errors", BTreeMap::new(), answer::errors),
        error_code: section.pointers("error_code"),
        rate_per_second: section
            .or("rate_per_second", Api::RATE_PER_SECOND, |field| field.integer(1..=10_000)),
        timeout: section.or("timeout", Api::TIMEOUT, Field::duration),
        method: method?,
        base_url: base_url?,
        limit: limit?,
        auth: auth?,
        headers: headers?,
        body: body?,
        answer: answer?,
        quota: quota?,
        entities: entities?,
    })
}

fn path(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if !text.starts_with('/') || text.contains(['#', ' ']) || text.chars().any(char::is_control) {
        return field
            .fault(format!("{} is not a path", shown(text)), "write it like \"/v1/deals/bulk-delete\"");
    }
    Some(text.to_owned())
}

fn quota(section: &Section<'_>) -> Quota {
    let quota = Quota {
        remaining_header: section.optional("remaining_header", Field::header),
        reset_header: section.optional("reset_header", Field::header),
        stats: section.optional("stats", path),
        total: section.pointers("total"),
        left: section.pointers("left"),
        used: section.pointers("used"),
        max: section.pointers("max"),
    };
    if quota.stats.is_none() && !quota.total.is_empty() {
        let mend = "name the request, like stats = \"/v1/stats\"";
        section.fault::<()>("total", "is read from the answer to stats, which is missing", mend);
    }
    quota
}

/// An entity of the API, its paths filled in.
fn records(
    section: &Section<'_>,
    path: Option<&str>,
    stats: Option<&str>,
    kinds: &BTreeMap<String, Kind>,
) -> Option<Records> {
    let params = section.get("params").map_or_else(|| Some(BTreeMap::new()), |field| params(&field));
    let id = section.optional("id", Field::template);
    let kind = kind(section, kinds);
    let delete_on_deactivate = section.or("delete_on_deactivate", false, Field::boolean);
    let params = params?;
    let fill = |text: &str| {
        template::filled(text, |name| params.get(name).cloned()).map_or_else(
            |fault| {
                let mend = "say what stands there, like params = { list_id = \"…\" }";
                section.fault("params", format!("leaves a path open: {} {fault}", shown(text)), mend)
            },
            Some,
        )
    };
    // What is missing or faulty itself is told where it stands.
    let (path, stats) = (path.and_then(fill), stats.map(fill));
    let Kind { item, told_as } = kind?;
    let stats = match stats {
        Some(filled) => Some(filled?),
        None => None,
    };
    Some(Records { path: path?, stats, id, item, told_as, delete_on_deactivate })
}

/// The kind of identifier that an entity goes by: requests never mix them.
fn kind(section: &Section<'_>, kinds: &BTreeMap<String, Kind>) -> Option<Kind> {
    let Some(field) = section.get("kind") else {
        let only = kinds.get("id").cloned();
        return only.or_else(|| kinds.is_empty().then(Kind::plain)).or_else(|| {
            let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
            section.fault("kind", "missing", format!("write one of {}", names.join(", ")))
        });
    };
    let text = field.text()?;
    kinds.get(text).cloned().or_else(|| {
        let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
        let mend = format!("kinds are {}", if names.is_empty() { "none".into() } else { names.join(", ") });
        field.fault(format!("{} is no kind of identifier here", shown(text)), mend)
    })
}

/// Values of a path's places, made fit for a path.
fn params(field: &Field<'_>) -> Option<BTreeMap<String, String>> {
    let params: Vec<_> = field
        .entries()?
        .into_iter()
        .map(|(name, field)| {
            let text = field.text()?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if text.is_empty() || !text.bytes().all(plain) || text.bytes().all(|byte| byte == b'.') {
                let mend = "write letters, digits, \"-\", \".\", \"_\" and \"~\" alone";
                return field.fault(format!("{} can't stand in a path", shown(text)), mend);
            }
            Some((name.to_owned(), text.to_owned()))
        })
        .collect();
    params.into_iter().collect()
}
