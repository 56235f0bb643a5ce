//! What only the whole configuration can tell: whether its parts fit each other.

use std::collections::{BTreeMap, BTreeSet};

use super::super::api::{Item, ItemPiece, Records};
use super::super::fault::KeyPath;
use super::super::file;
use super::super::source::{EventFrom, Piece, Scheme};
use super::super::target::{Kind, Template, TemplatePiece};
use super::super::{Config, Source, Target};
use super::{Reader, nearest};
use crate::domain::Entity;

pub(super) fn config(reader: &Reader<'_>, config: &Config) {
    for source in &config.sources {
        feed_key(reader, source);
        feed_evidence(reader, source);
        signature(reader, source, config.server.public_url.is_some());
        pulled(reader, source);
    }
    for target in &config.targets {
        for (entity, sources) in users(&config.sources) {
            for (source, parts) in sources {
                key_fits(reader, target, entity, source, parts);
            }
        }
        templates(reader, target);
        alternates(reader, config, target);
    }
    covered(reader);
    places(reader, config);
}

/// For each entity, the sources that speak of it and the number of its key's parts there.
fn users(sources: &[Source]) -> BTreeMap<&Entity, Vec<(&str, usize)>> {
    let mut users: BTreeMap<&Entity, Vec<(&str, usize)>> = BTreeMap::new();
    for source in sources {
        if let Some(parts) = key_parts(source) {
            users.entry(&source.entity).or_default().push((&source.name, parts));
        }
    }
    users
}

fn key_parts(source: &Source) -> Option<usize> {
    let webhooks = (!source.payload.key.is_empty()).then_some(source.payload.key.len());
    webhooks.or_else(|| source.feed.as_ref().map(|feed| feed.key.len()))
}

/// A source whose entity has no place does nothing but keep a record, which a preset's may. Where the user
/// wrote the entity, or a target carries one that nobody tells of, somebody meant the two to meet.
///
/// Looks at the text rather than at what was read: a table with a fault still says its entities.
fn covered(reader: &Reader<'_>) {
    let told: Vec<_> = tables(reader, "sources").map(|(name, source)| (name, source.get("entity"))).collect();
    let carried: BTreeSet<&str> = tables(reader, "targets")
        .filter_map(|(_, target)| target.get("entities")?.node.table())
        .flat_map(|entities| entities.keys().map(String::as_str))
        .collect();
    // A source that says no entity could tell of any.
    let is_told =
        |entity: &str| told.iter().any(|(_, told)| told.and_then(text).is_none_or(|told| told == entity));
    let unused: Vec<&str> = carried.iter().copied().filter(|entity| !is_told(entity)).collect();
    for (source, entry) in told.iter().filter_map(|(source, entry)| Some((source, (*entry)?))) {
        let Some(entity) = text(entry) else { continue };
        let written = entry.node.place.origin == reader.tree.place.origin;
        if carried.contains(entity) || (!written && unused.is_empty()) {
            continue;
        }
        let mend = match nearest(entity, unused.iter().copied()).or(unused.first().copied()) {
            Some(unused) => {
                format!("a target carries {unused:?}, of which no source tells: give both one name")
            }
            None => format!("say where its copies live: [targets.NAME.entities.{entity}]"),
        };
        let what = format!("no target carries {entity:?}, so its deletions would go nowhere");
        reader.fault(&KeyPath::of(&["sources", source, "entity"]), what, mend);
    }
}

fn tables<'a>(reader: &'a Reader<'_>, key: &str) -> impl Iterator<Item = (&'a str, &'a file::Table)> {
    let table = reader.tree.table().and_then(|root| root.get(key)?.node.table());
    let entries = table.into_iter().flatten();
    entries.filter_map(|(name, entry)| Some((name.as_str(), entry.node.table()?)))
}

fn text(entry: &file::Entry) -> Option<&str> {
    match &entry.node.value {
        file::Value::Text(text) => Some(text),
        _ => None,
    }
}

fn feed_key(reader: &Reader<'_>, source: &Source) {
    let Some(feed) = &source.feed else { return };
    let webhooks = source.payload.key.len();
    if webhooks > 0 && feed.key.len() != webhooks {
        let path = KeyPath::of(&["sources", &source.name, "feed", "key"]);
        let what = format!("has {}, while payload.key has {webhooks}", counted(feed.key.len(), "part"));
        reader.fault(&path, what, "name the same parts in both, in the same order");
    }
}

/// A feed tells of deletions late, and more than once: a record that was listed again in between is not to go by that.
fn feed_evidence(reader: &Reader<'_>, source: &Source) {
    let Some(feed) = source.feed.as_ref().filter(|feed| feed.relists) else { return };
    let payload = &source.payload;
    for (part, deleted_at, updated_at) in
        [("feed", &feed.deleted_at, &feed.updated_at), ("payload", &payload.deleted_at, &payload.updated_at)]
    {
        if deleted_at.is_empty() && updated_at.is_empty() {
            let path = KeyPath::of(&["sources", &source.name, part, "updated_at"]);
            let what =
                "missing, as is deleted_at: an older deletion that the feed tells of would undo a re-listing";
            let mend = "say where an item has its time, like updated_at = \"/updatedAt\"";
            reader.fault(&path, what, mend);
        }
    }
}

/// A signature may only cover what we know, and a delivery's id proves something only if it is signed.
fn signature(reader: &Reader<'_>, source: &Source, has_public_url: bool) {
    let Some(auth) = &source.auth else { return };
    let id_is_signed = match &auth.scheme {
        Scheme::Hmac(hmac) => {
            if hmac.signed.contains(&Piece::Url) && !has_public_url {
                let what = format!("missing, while the signature of sources.{} covers the URL", source.name);
                let mend = "write the address under which upstreams call, like \"https://hooks.example.com\"";
                reader.fault(&KeyPath::of(&["server", "public_url"]), what, mend);
            }
            hmac.signed.contains(&Piece::Id)
        }
        Scheme::StandardWebhooks { .. } => true,
        Scheme::StaticSecret { .. } | Scheme::Basic | Scheme::Bearer => false,
    };
    if source.payload.event_id_from_delivery && !id_is_signed {
        let path = KeyPath::of(&["sources", &source.name, "payload", "event_id_from_delivery"]);
        let mend = "leave it out, or point event_id to an id in the body";
        reader.fault(
            &path,
            "the signature does not cover the delivery's id, which proves nothing then",
            mend,
        );
    }
}

/// What is pulled must be provable, by the upstream's signature or by a word of the operator.
fn pulled(reader: &Reader<'_>, source: &Source) {
    let Some(pull) = &source.pull else { return };
    let path = KeyPath::of(&["sources", &source.name, "pull", "verify"]);
    let mend = "write verify = false if the endpoint itself verifies what it takes, and is to be trusted";
    match &source.auth {
        _ if !pull.verify => {}
        None => reader.fault(&path, "nothing can be verified, since the source has no auth", mend),
        Some(auth) if auth.secrets.is_empty() => {
            let what = "nothing can be verified, since the source has no secret";
            reader.fault(&path, what, "give the source its secret, or see verify = false");
        }
        Some(auth) if signs_url(&auth.scheme) => {
            let what =
                "the signature covers the URL that was called, which is the endpoint's and not known here";
            reader.fault(&path, what, mend);
        }
        Some(_) => {}
    }
    let unnamed = pull.endpoints.iter().any(|endpoint| endpoint.event.is_none());
    if source.payload.event == EventFrom::Path && unnamed {
        let path = KeyPath::of(&["sources", &source.name, "pull", "endpoints"]);
        let mend = "name an endpoint for each event: endpoints = { \"listing.deleted\" = \"ID\" }";
        reader.fault(&path, "says no event, while this source has one URL an event", mend);
    }
}

fn signs_url(scheme: &Scheme) -> bool {
    matches!(scheme, Scheme::Hmac(hmac) if hmac.signed.contains(&Piece::Url))
}

fn key_fits(reader: &Reader<'_>, target: &Target, entity: &Entity, source: &str, parts: usize) {
    let base = KeyPath::of(&["targets", &target.name, "entities", entity.as_str()]);
    match &target.kind {
        Kind::Sql(sql) => {
            let Some(table) = sql.entities.get(entity) else { return };
            if table.key.len() != parts {
                let what = format!(
                    "has {}, while a key of sources.{source} has {}",
                    counted(table.key.len(), "column"),
                    counted(parts, "part")
                );
                reader.fault(&base.key("key"), what, "name one column for each part, in the same order");
            }
        }
        Kind::Tantivy(index) => {
            let Some(document) = index.entities.get(entity) else { return };
            let named = named_parts(&document.id);
            if let Some(part) = named.iter().find(|part| **part >= parts) {
                let what = format!(
                    "names part {{{part}}}, while a key of sources.{source} has {}",
                    counted(parts, "part")
                );
                reader.fault(&base.key("id"), what, format!("parts are {}", all_parts(parts)));
            } else if named.len() < parts {
                let what = format!(
                    "leaves out a part of the key of sources.{source}, so records would share a name"
                );
                reader.fault(&base.key("id"), what, format!("name all parts: {}", all_parts(parts)));
            }
        }
        Kind::Api(api) => {
            let Some(records) = api.entities.get(entity) else { return };
            if let Some(part) = record_parts(records).find(|part| *part >= parts) {
                let what = format!(
                    "names part {{{part}}}, while a key of sources.{source} has {}",
                    counted(parts, "part")
                );
                reader.fault(&base.key("id"), what, format!("parts are {}", all_parts(parts)));
            }
        }
    }
}

/// The parts of the key that name a record at an API. It may leave some out: what we add to a vendor's id to
/// make it unique is ours alone.
fn record_parts(records: &Records) -> impl Iterator<Item = usize> {
    let mut parts: Vec<usize> = records.id.iter().flat_map(named_parts).collect();
    let mut add = |pieces: &[ItemPiece]| {
        parts.extend(pieces.iter().filter_map(|piece| match piece {
            ItemPiece::Part(index) => Some(*index),
            ItemPiece::Text(_) | ItemPiece::Id => None,
        }));
    };
    match &records.item {
        Item::Text(pieces) => add(pieces),
        Item::Object(members) => members.iter().for_each(|(_, pieces)| add(pieces)),
    }
    parts.into_iter()
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn named_parts(template: &Template) -> BTreeSet<usize> {
    let part = |piece: &TemplatePiece| match piece {
        TemplatePiece::Part(index) => Some(*index),
        TemplatePiece::Text(_) => None,
    };
    template.0.iter().filter_map(part).collect()
}

fn all_parts(parts: usize) -> String {
    let parts: Vec<String> = (0..parts).map(|part| format!("{{{part}}}")).collect();
    format!("{:?}", parts.join(":"))
}

/// An identifier that two targets can look up could lead to two records.
fn alternates(reader: &Reader<'_>, config: &Config, target: &Target) {
    let Kind::Sql(sql) = &target.kind else { return };
    for (entity, table) in &sql.entities {
        for name in table.alternates.keys() {
            let before = config.targets.iter().take_while(|other| other.name != target.name);
            let mut before = before.filter(|other| other.alternates(entity).contains_key(name));
            if let Some(first) = before.next() {
                let base = KeyPath::of(&["targets", &target.name, "entities", entity.as_str()]);
                let what = format!("is looked up in targets.{} already", first.name);
                reader.fault(&base.key("alternates").key(name), what, "leave it out in one of the two");
            }
        }
    }
}

/// `{0}{1}` gives ("1", "23") and ("12", "3") one name.
fn templates(reader: &Reader<'_>, target: &Target) {
    let ids: Vec<(&Entity, &Template)> = match &target.kind {
        Kind::Sql(_) => return,
        Kind::Tantivy(index) => index.entities.iter().map(|(entity, it)| (entity, &it.id)).collect(),
        Kind::Api(api) => {
            api.entities.iter().filter_map(|(entity, it)| Some((entity, it.id.as_ref()?))).collect()
        }
    };
    for (entity, id) in ids {
        let parts = |pair: &[TemplatePiece]| pair.iter().all(|piece| matches!(piece, TemplatePiece::Part(_)));
        if id.0.windows(2).any(parts) {
            let path = KeyPath::of(&["targets", &target.name, "entities", entity.as_str(), "id"]);
            let what = "has two parts with nothing between them, so records would share a name";
            reader.fault(&path, what, "put something between them, like \"{0}:{1}\"");
        }
    }
}

/// Nothing may be held by two: not a table by two entities, not an index by two writers, not our own state
/// by a target.
fn places(reader: &Reader<'_>, config: &Config) {
    let mut tables = BTreeMap::new();
    let mut folders = BTreeMap::new();
    for target in &config.targets {
        let base = KeyPath::of(&["targets", &target.name]);
        match &target.kind {
            Kind::Sql(sql) => {
                let url = sql.url.expose_str().unwrap_or_default();
                if url.strip_prefix("sqlite://").is_some_and(|path| config.state.path.as_os_str() == path) {
                    let mend = "give one of them another file";
                    reader.fault(&base.key("url"), "is the database of state.url, our own journal", mend);
                }
                for (entity, table) in &sql.entities {
                    let path = base.key("entities").key(entity.as_str()).key("table");
                    if let Some(first) = tables.insert((url, &table.table), path.to_string()) {
                        let mend = "carry one entity in one table, and each table in one target";
                        reader.fault(&path, format!("{:?} is the table of {first} too", table.table), mend);
                    }
                }
            }
            Kind::Tantivy(index) => {
                if let Some(first) = folders.insert(&index.path, &target.name) {
                    let mend = "put both entities in one target: an index has one writer";
                    reader.fault(&base.key("path"), format!("is the index of targets.{first} too"), mend);
                }
            }
            Kind::Api(_) => {}
        }
    }
}
