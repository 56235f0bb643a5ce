//! Reads a source's deleted feed: where it is, when it is read, how it pages.

use std::str::FromStr as _;
use std::time::Duration;

use chrono::DateTime;
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};

use super::super::Secret;
use super::super::file::Value;
use super::super::source::{BoundFormat, Feed, Paging, Pointers, Schedule, Window};
use super::secrets::in_a_header;
use super::source::time_format;
use super::values::shown;
use super::{Field, Section};

const BOUND_FORMATS: [(&str, BoundFormat); 4] = [
    ("date", BoundFormat::Date),
    ("date_time", BoundFormat::DateTime),
    ("unix_seconds", BoundFormat::UnixSeconds),
    ("unix_millis", BoundFormat::UnixMillis),
];

#[derive(Clone, Copy)]
enum Kind {
    None,
    Page,
    Offset,
    Cursor,
    Link,
}

const PAGINGS: [(&str, Kind); 5] = [
    ("none", Kind::None),
    ("page", Kind::Page),
    ("offset", Kind::Offset),
    ("cursor", Kind::Cursor),
    ("link", Kind::Link),
];

/// The feed of a source, with `base_url` and `api_key` beside it; `feed = false` takes a preset's away.
pub(super) fn feed(source: &Section<'_>, payload_key: &[Pointers], relists: bool) -> Option<Feed> {
    let base = source.optional("base_url", Field::url);
    let api_key = source.get("api_key");
    let field = source.get("feed").filter(|field| !field.is_false())?;
    field.section(|section| feed_of(section, source, payload_key, base.as_deref(), api_key.as_ref(), relists))
}

fn feed_of(
    section: &Section<'_>,
    source: &Section<'_>,
    payload_key: &[Pointers],
    base: Option<&str>,
    api_key: Option<&Field<'_>>,
    relists: bool,
) -> Option<Feed> {
    let url = url(section, source, base);
    let headers = headers(section, source, api_key);
    let mend =
        "say how far back the feed goes, like retention = \"30d\"; a checkpoint older than that is a gap";
    let retention = section.required("retention", mend, Field::duration);
    let mend =
        "name the parameters that bound it, like window = { from = \"since\", format = \"date_time\" }";
    let window = section.required("window", mend, |field| field.section(window));
    let mend = "say how it pages, like paging = { kind = \"none\" }";
    let paging = section.required("paging", mend, |field| field.section(paging));
    let key = key(section, source, payload_key);
    let first = Feed::FIRST.min(retention.unwrap_or(Feed::FIRST));
    // What can be missing comes last: every key is to be looked at before the reading ends.
    let feed = Feed {
        query: section.or("query", Vec::new(), query),
        schedule: schedule(section),
        overlap: section.or("overlap", Feed::OVERLAP, Field::duration),
        first: section.or("first", first, Field::duration),
        items: section.pointers("items"),
        deleted_at: section.pointers("deleted_at"),
        updated_at: section.pointers("updated_at"),
        time_format: time_format(section),
        event_id: section.pointers("event_id"),
        relists,
        rate_per_second: section
            .or("rate_per_second", Feed::RATE_PER_SECOND, |field| field.integer(1..=10_000)),
        timeout: section.or("timeout", Feed::TIMEOUT, Field::duration),
        page_bytes_max: section
            .or("page_bytes_max", Feed::PAGE_BYTES_MAX, |field| field.bytes(1_024..=1 << 28)),
        attempts_max: section.or("attempts_max", Feed::ATTEMPTS_MAX, |field| field.integer(1..=100)),
        walks_max: section.or("walks_max", Feed::WALKS_MAX, |field| field.integer(0..=100)),
        url: url?,
        headers: headers?,
        retention: retention?,
        window: window?,
        paging: paging?,
        key: key?,
    };
    check_reach(section, &feed);
    Some(feed)
}

/// An absolute URL, or a path under the source's `base_url`.
fn url(section: &Section<'_>, source: &Section<'_>, base: Option<&str>) -> Option<String> {
    let mend = "name the feed: url = \"https://…\", or a path under base_url";
    let Some(field) = section.get("url") else { return section.fault("url", "missing", mend) };
    let text = field.text()?;
    let has_base = source.get("base_url").is_some();
    if !text.starts_with('/') {
        if has_base {
            let mend = "write the path alone (\"/deleted\"), or leave base_url out";
            return field.fault("is not a path, so base_url would be used by nothing", mend);
        }
        return field.url();
    }
    if text.contains(['?', '#']) {
        return field
            .fault("has a query or a fragment", "put the query in feed.query, and leave the rest out");
    }
    if !has_base {
        return field.fault(
            "is a path without a base",
            "give the source a base_url, like \"https://api.example.com\"",
        );
    }
    Some(format!("{}{text}", base?))
}

/// Fixed headers.
pub(super) fn fixed(section: &Section<'_>) -> Option<Vec<(String, Secret)>> {
    section.get("headers").map_or(Some(Vec::new()), |field| {
        let headers: Vec<_> = field.entries()?.iter().map(|(name, field)| header(name, field)).collect();
        headers.into_iter().collect()
    })
}

/// Fixed headers, and the one that takes the API key.
fn headers(
    section: &Section<'_>,
    source: &Section<'_>,
    api_key: Option<&Field<'_>>,
) -> Option<Vec<(String, Secret)>> {
    let fixed = fixed(section);
    let credential = section.optional("credential", |field| field.section(credential));
    let wanted = section.get("credential").is_some();
    let key = match (wanted, api_key) {
        (false, None) => return fixed,
        (false, Some(_)) => {
            let mend =
                "say where it goes: feed.credential = { header = \"authorization\", prefix = \"Bearer \" }";
            return source.fault("api_key", "is used by nothing, since the feed has no credential", mend);
        }
        (true, None) => {
            let mend =
                "write api_key = { env = \"NAME\" } or { file = \"…\" }; feed = false goes without the feed";
            return source.fault("api_key", "missing, while the feed needs it", mend);
        }
        (true, Some(field)) => carried(field),
    };
    let (mut headers, (name, prefix), key) = (fixed?, credential?, key?);
    headers.push((name, Secret::new([prefix.as_bytes(), key.expose()].concat())));
    Some(headers)
}

pub(super) fn credential(section: &Section<'_>) -> Option<(String, String)> {
    let header = section.required("header", "name the header that takes the API key", Field::header);
    let prefix = section.or("prefix", String::new(), |field| field.text().map(ToOwned::to_owned));
    Some((header?, prefix))
}

/// A fixed header's value: text, or a secret.
fn header(name: &str, field: &Field<'_>) -> Option<(String, Secret)> {
    let is_name = reqwest::header::HeaderName::try_from(name).is_ok();
    if !is_name {
        return field.fault("is not a header's name", "write it like \"accept\"");
    }
    let value = match &field.node.value {
        Value::Text(text) => {
            let value = Secret::new(text.as_str());
            if let Err((what, mend)) = in_a_header(&value) {
                return field.fault(what, mend);
            }
            value
        }
        _ => carried(field)?,
    };
    Some((name.to_ascii_lowercase(), value))
}

/// A secret that a header can carry.
pub(super) fn carried(field: &Field<'_>) -> Option<Secret> {
    let secret = field.secret()?;
    match in_a_header(&secret) {
        Ok(()) => Some(secret),
        Err((what, mend)) => field.fault(what, mend),
    }
}

/// Pairs of a query; a list repeats its name.
pub(super) fn query(field: &Field<'_>) -> Option<Vec<(String, String)>> {
    let named = |(name, field): (&str, Field<'_>)| {
        field.all(|value| Some((name.to_owned(), value.text()?.to_owned())))
    };
    let pairs: Vec<_> = field.entries()?.into_iter().map(named).collect();
    pairs.into_iter().collect::<Option<Vec<_>>>().map(|pairs| pairs.concat())
}

/// The feed's own key, or that of the webhooks, unless that one looks at the whole body: a feed has another.
fn key(section: &Section<'_>, source: &Section<'_>, payload_key: &[Pointers]) -> Option<Vec<Pointers>> {
    if let Some(field) = section.get("key") {
        return field.key_parts();
    }
    let usable = !payload_key.is_empty() && payload_key.iter().flatten().all(|pointer| !pointer.whole);
    if usable {
        return Some(payload_key.to_vec());
    }
    if payload_key.is_empty() && source.get("auth").is_some() {
        // The payload's own key is missing, which is said there.
        return None;
    }
    section.fault("key", "missing", "say where the parts of the key stand in an item, like key = [\"/id\"]")
}

/// Six fields, seconds first; `false` for a feed that is read by command alone.
fn schedule(section: &Section<'_>) -> Option<Schedule> {
    let zone = section.or("zone", "UTC".to_owned(), |field| {
        let text = field.text()?;
        if chrono_tz::Tz::from_str(text).is_ok() {
            return Some(text.to_owned());
        }
        let mend = "write an IANA name like \"Europe/Berlin\" or \"UTC\"";
        field.fault(format!("{} is not a time zone", shown(text)), mend)
    });
    let field = section.get("schedule").filter(|field| !field.is_false())?;
    let expression = field.text()?.trim();
    let mend = "write six fields, seconds first, like \"0 15 3 * * *\" for 03:15 every day";
    let fields = expression.split_whitespace().count();
    if fields != 6 {
        return field.fault(format!("{} has {fields} fields", shown(expression)), mend);
    }
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).build();
    // Any start will do: a day that never comes (31 February) does not come after that one either.
    let first = |cron: Cron| cron.find_next_occurrence(&DateTime::UNIX_EPOCH, true);
    match parser.parse(expression).and_then(first) {
        Ok(_) => Some(Schedule { expression: expression.to_owned(), zone }),
        Err(CronError::TimeSearchLimitExceeded) => {
            field.fault(format!("{} never comes", shown(expression)), "name a day that there is")
        }
        Err(error) => {
            let why = error.to_string().to_lowercase();
            let what = format!("{} is not a schedule ({})", shown(expression), why.trim_end_matches('.'));
            field.fault(what, mend)
        }
    }
}

fn window(section: &Section<'_>) -> Option<Window> {
    let from = section.optional("from", Field::name);
    let to = section.optional("to", Field::name);
    let mend = "write one of \"date\", \"date_time\", \"unix_seconds\", \"unix_millis\"";
    let format = section.required("format", mend, |field| field.choice(&BOUND_FORMATS));
    Some(Window { from, to, format: format? })
}

pub(super) fn paging(section: &Section<'_>) -> Option<Paging> {
    let mend = "write one of \"none\", \"page\", \"offset\", \"cursor\", \"link\"";
    let kind = section.chosen("kind", mend, &PAGINGS)?;
    if matches!(kind, Kind::None) {
        return Some(Paging::None);
    }
    let size_param = section.optional("size_param", Field::name);
    let size = section.or("size", Paging::SIZE, |field| field.integer(1..=10_000));
    if matches!(kind, Kind::Link) {
        return Some(Paging::Link { size_param, size });
    }
    let mend = "name the parameter that asks for the next part, like param = \"page\"";
    let param = section.required("param", mend, Field::name);
    match kind {
        Kind::Page => {
            let first = section.or("first", 1, |field| field.integer(0..=1));
            let [page, pages, total] = ["page", "pages", "total"].map(|key| section.pointers(key));
            Some(Paging::Page { param: param?, size_param, size, first, page, pages, total })
        }
        Kind::Offset => {
            let total = section.pointers("total");
            Some(Paging::Offset { param: param?, size_param, size, total })
        }
        Kind::Cursor | Kind::None | Kind::Link => {
            let mend = "say where the answer names the next part, like next = \"/next_cursor\"";
            let next = section.required("next", mend, Field::pointers);
            let more = section.pointers("more");
            Some(Paging::Cursor { param: param?, size_param, size, next: next?, more })
        }
    }
}

/// A run must reach behind the checkpoint by what the feed can't tell apart, and not behind the feed itself.
fn check_reach(section: &Section<'_>, feed: &Feed) {
    let granularity = match feed.window.format {
        BoundFormat::Date => Duration::from_hours(24),
        BoundFormat::DateTime | BoundFormat::UnixSeconds => Duration::from_secs(1),
        BoundFormat::UnixMillis => Duration::from_millis(1),
    };
    if feed.overlap < granularity {
        let what = "is shorter than what the feed's bounds can tell apart, so deletions would be missed";
        let mend = match feed.window.format {
            BoundFormat::Date => "write at least \"24h\" for a feed whose bounds are dates",
            _ => "write at least \"1s\"",
        };
        section.fault::<()>("overlap", what, mend);
    }
    if feed.overlap >= feed.retention {
        let mend = "write less than retention; each run reads the overlap again";
        section.fault::<()>("overlap", "reaches as far back as the feed itself", mend);
    }
    if feed.first > feed.retention {
        let mend = "write at most retention; what is older needs a census";
        section.fault::<()>("first", "reaches further back than the feed itself", mend);
    }
}
