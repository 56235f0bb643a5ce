//! Reads what goes out: the body and what stands in it for a record.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::super::api::{Api, DryRun, Item, ItemPiece};
use super::super::super::file::Value as Toml;
use super::super::super::source::Pointers;
use super::super::super::template;
use super::super::values::shown;
use super::super::{Field, Section};

/// A kind of identifier.
#[derive(Clone)]
pub(super) struct Kind {
    pub(super) item: Item,
    pub(super) told_as: Pointers,
}

impl Kind {
    /// The id itself, as text.
    pub(super) fn plain() -> Self {
        Self { item: Item::Text(vec![ItemPiece::Id]), told_as: Pointers::new() }
    }
}

pub(super) fn kinds(field: &Field<'_>) -> Option<BTreeMap<String, Kind>> {
    let kinds: Vec<_> = field
        .entries()?
        .into_iter()
        .map(|(name, field)| {
            field.check_own_name(name);
            Some((name.to_owned(), field.section(|section| Some(kind(section)))?))
        })
        .collect();
    kinds.into_iter().collect()
}

fn kind(section: &Section<'_>) -> Kind {
    let item = section.or("item", Kind::plain().item, item);
    Kind { item, told_as: section.pointers("told_as") }
}

/// One text, or a table of texts.
fn item(field: &Field<'_>) -> Option<Item> {
    let pieces = |field: &Field<'_>| {
        let text = field.text()?;
        template::item(text).map_or_else(
            |fault| {
                let mend = "write \"{id}\" for the vendor's id, \"{0}\" for a part of the key";
                field.fault(format!("{} {fault}", shown(text)), mend)
            },
            Some,
        )
    };
    if !matches!(field.node.value, Toml::Table(_)) {
        return pieces(field).map(Item::Text);
    }
    let members: Vec<_> =
        field.entries()?.iter().map(|(name, field)| Some(((*name).to_owned(), pieces(field)?))).collect();
    let members: Vec<_> = members.into_iter().collect::<Option<_>>()?;
    if members.is_empty() {
        return field.fault("is empty", "say what names a record, like { id = \"{id}\" }");
    }
    Some(Item::Object(members))
}

/// The body, in which the ids have one place.
pub(super) fn body(field: &Field<'_>) -> Option<Value> {
    let body = json(field)?;
    match places(&body) {
        1 => Some(body),
        _ => field.fault(
            format!("has not one place for the ids ({:?})", Api::IDS),
            "write it like { ids = \"{ids}\" }, or \"{ids}\" for a body that is the list itself",
        ),
    }
}

pub(super) fn dry_run(section: &Section<'_>) -> Option<DryRun> {
    let mend = "say what makes a request a rehearsal, like body = { dry_run = true }";
    let body = section.required("body", mend, object);
    let weigh = section.or("weigh", false, Field::boolean);
    Some(DryRun { body: body?, weigh })
}

fn object(field: &Field<'_>) -> Option<Map<String, Value>> {
    match json(field)? {
        Value::Object(body) if !body.is_empty() => Some(body),
        _ => field.fault("is not a table with keys", "write it like { dry_run = true }"),
    }
}

fn places(value: &Value) -> usize {
    match value {
        Value::String(text) => usize::from(text == Api::IDS),
        Value::Array(items) => items.iter().map(places).sum(),
        Value::Object(members) => members.values().map(places).sum(),
        _ => 0,
    }
}

fn json(field: &Field<'_>) -> Option<Value> {
    match &field.node.value {
        Toml::Text(text) => Some(Value::String(text.clone())),
        Toml::Integer(number) => Some(Value::from(*number)),
        Toml::Bool(on) => Some(Value::Bool(*on)),
        Toml::List(_) => {
            let items: Vec<_> = field.items()?.iter().map(json).collect();
            items.into_iter().collect::<Option<_>>().map(Value::Array)
        }
        Toml::Table(_) => {
            let members: Vec<_> = field
                .entries()?
                .iter()
                .map(|(name, field)| Some(((*name).to_owned(), json(field)?)))
                .collect();
            members.into_iter().collect::<Option<_>>().map(Value::Object)
        }
        Toml::Float(_) | Toml::Date => {
            field.unexpected("a string, an integer, a boolean, a list or a table", "write it as JSON has it")
        }
    }
}
