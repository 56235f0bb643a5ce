//! Reads a source: what its payloads look like, and what its events mean.

use std::collections::BTreeMap;

use super::super::Source;
use super::super::file::Value;
use super::super::presets;
use super::super::source::{EventFrom, EventRule, Meaning, Payload, Pointers};
use super::{Field, Section, auth, feed, pull, subscriptions};
use crate::domain::timestamp::TimeFormat;
use crate::domain::{Action, Entity};

pub(super) const TIME_FORMATS: [(&str, TimeFormat); 3] = [
    ("iso8601", TimeFormat::Iso8601),
    ("unix_seconds", TimeFormat::UnixSeconds),
    ("unix_millis", TimeFormat::UnixMillis),
];

const MEANINGS: [(&str, Meaning); 4] = [
    ("delete", Meaning::Notice(Action::Delete)),
    ("deactivate", Meaning::Notice(Action::Deactivate)),
    ("relisted", Meaning::Notice(Action::Relisted)),
    ("ignore", Meaning::Ignore),
];

const KEY_MEND: &str = "say where the parts of the key stand, like key = [\"/data/id\"]";

pub(super) fn source(name: &str, field: &Field<'_>) -> Option<Source> {
    field.check_own_name(name);
    field.section(|section| {
        if section.get("preset").is_some() {
            // It lies under this table already; without it, what is missing can't be told.
            let presets: Vec<_> = presets::names().map(|name| (name, ())).collect();
            section.chosen("preset", "", &presets)?;
        }
        let entity = section.required("entity", "name the kind of record, like entity = \"listing\"", entity);
        let posts = section.get("auth").is_some();
        let pulls = section.get("pull").is_some_and(|field| !field.is_false());
        let receives = posts || pulls;
        let auth = auth::auth(section);
        let pull = pull::pull(section);
        let payload = section.table("payload", |payload| Some(payload_of(payload, receives)));
        let given = section.get("events");
        let events = given.as_ref().and_then(events);
        let relisted = |rule: &EventRule| rule.may_mean(Meaning::Notice(Action::Relisted));
        let relists = events.iter().flat_map(BTreeMap::values).any(relisted);
        let feed = feed::feed(section, payload.as_ref().map_or(&[], |payload| &payload.key), relists);
        if receives && (given.is_none() || events.as_ref().is_some_and(BTreeMap::is_empty)) {
            let mend = "say what they mean, like events = { \"deal.deleted\" = \"delete\" }";
            section.fault::<()>("events", "missing, so no delivery would do anything", mend);
        }
        let subscriptions = subscriptions::subscriptions(section);
        if !receives && section.get("feed").is_none_or(|feed| feed.is_false()) {
            let mend = "say how it signs (auth, secret), or where its deleted feed is (feed.url)";
            section.fault::<()>("auth", "the source has neither webhooks nor a feed", mend);
        }
        Some(Source {
            name: name.to_owned(),
            rate_per_second: section
                .or("rate_per_second", Source::RATE_PER_SECOND, |field| field.integer(1..=1_000_000)),
            retry_horizon: section.or("retry_horizon", Source::RETRY_HORIZON, Field::duration),
            entity: entity?,
            auth,
            payload: payload?,
            events: events.unwrap_or_default(),
            feed,
            pull,
            subscriptions,
        })
    })
}

pub(super) fn entity(field: &Field<'_>) -> Option<Entity> {
    let text = field.text()?;
    field.check_own_name(text);
    Some(Entity::new(text))
}

fn payload_of(section: &Section<'_>, receives: bool) -> Payload {
    let key = section.optional("key", Field::key_parts);
    let event = section.optional("event", event_from);
    if receives && section.get("key").is_none() {
        section.fault::<()>("key", "missing", KEY_MEND);
    }
    if receives && section.get("event").is_none() {
        let mend =
            "say where the event's name stands: event = \"/event\", { header = \"x-topic\" } or \"path\"";
        section.fault::<()>("event", "missing", mend);
    }
    Payload {
        items: section.pointers("items"),
        key: key.unwrap_or_default(),
        deleted_at: section.pointers("deleted_at"),
        updated_at: section.pointers("updated_at"),
        time_format: time_format(section),
        event_id: section.pointers("event_id"),
        event_id_from_delivery: section.or("event_id_from_delivery", false, Field::boolean),
        event: event.unwrap_or(EventFrom::Path),
    }
}

pub(super) fn time_format(section: &Section<'_>) -> TimeFormat {
    section.or("time_format", TimeFormat::Iso8601, |field| field.choice(&TIME_FORMATS))
}

fn event_from(field: &Field<'_>) -> Option<EventFrom> {
    match &field.node.value {
        Value::Table(_) => field
            .section(|section| {
                section.required("header", "name the header, like { header = \"x-topic\" }", Field::header)
            })
            .map(EventFrom::Header),
        Value::Text(text) if text == "path" => Some(EventFrom::Path),
        _ => field.pointers().map(EventFrom::Body),
    }
}

fn events(field: &Field<'_>) -> Option<BTreeMap<String, EventRule>> {
    let rules = field.entries()?.into_iter().map(|(name, field)| Some((name.to_owned(), rule(&field)?)));
    let rules: Vec<_> = rules.collect();
    rules.into_iter().collect()
}

fn rule(field: &Field<'_>) -> Option<EventRule> {
    if !matches!(field.node.value, Value::Table(_)) {
        return meaning(field).map(EventRule::Means);
    }
    field.section(|section| {
        let mend = "say which value decides, like by = \"/lastStatus\"";
        let pointer: Option<Pointers> = section.required("by", mend, Field::pointers);
        let mend = "say what its values mean, like values = { Ter = \"deactivate\" }";
        let values = section.required("values", mend, |field| {
            let values: Vec<_> = field
                .entries()?
                .into_iter()
                .map(|(value, field)| Some((value.to_owned(), meaning(&field)?)))
                .collect();
            values.into_iter().collect::<Option<BTreeMap<_, _>>>()
        });
        let otherwise = section.or("otherwise", Meaning::Ignore, meaning);
        Some(EventRule::By { pointer: pointer?, values: values?, otherwise })
    })
}

fn meaning(field: &Field<'_>) -> Option<Meaning> {
    field.choice(&MEANINGS)
}
