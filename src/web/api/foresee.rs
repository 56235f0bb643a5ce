//! What a request would do now, id by id and table by table, without doing it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::{Serialize, Serializer};

use super::Api;
use super::call::Answer;
use super::ids::Item;
use super::record::Ask;
use super::refused::Refused;
use crate::domain::{Action, Key, Outcome, event::Refusal};
use crate::targets::{Foreseen, Removal};

#[derive(Serialize)]
struct Preview<'a> {
    dry_run: bool,
    entity: &'a str,
    received: usize,
    /// Rows that would go, by target and table; a record that was named twice counts once.
    rows: BTreeMap<&'a str, BTreeMap<&'a str, u64>>,
    results: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    /// Stands where there is no record to ask the targets for.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<AtTarget<'a>>,
}

/// What would happen at one target.
#[derive(Serialize)]
struct AtTarget<'a> {
    target: &'a str,
    outcome: Outcome,
    #[serde(serialize_with = "as_map", skip_serializing_if = "Vec::is_empty")]
    rows: Vec<(String, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

fn as_map<S: Serializer>(rows: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(rows.iter().map(|(table, rows)| (table, rows)))
}

pub async fn foresee(api: &Api, ask: &Ask, items: Vec<Item>) -> Result<Answer, Refused> {
    let keys = ask.keys(api, items).await?;
    // A batch names no record twice.
    let places: BTreeMap<Key, usize> =
        keys.iter().filter_map(|(_, key)| key.clone().ok()).map(|key| (key, 0)).collect();
    let at = api.now();
    let removal =
        |key: &Key| Removal { entity: ask.entity.clone(), key: key.clone(), action: Action::Delete, at };
    let removals: Vec<Removal> = places.keys().map(removal).collect();
    let places: BTreeMap<Key, usize> = places.into_keys().zip(0..).collect();
    let mut by_target: Vec<(&str, Vec<Foreseen>)> = Vec::new();
    for place in api.forms.get(&ask.entity).into_iter().flat_map(|form| &form.targets) {
        let target = &api.targets[*place];
        let foreseen = target.foresee(&removals).await;
        by_target.push((target.name(), foreseen.map_err(|error| Refused::target(target.name(), &error))?));
    }
    let received = keys.len();
    let told = |(n, key): (u64, Result<Key, _>)| match key {
        Ok(key) => {
            let place = places.get(&key).copied().unwrap_or_default();
            let foreseen = by_target.iter().filter_map(|(name, all)| Some((*name, all.get(place)?)));
            let targets = foreseen.map(|(name, foreseen)| at_target(name, foreseen)).collect();
            Told { n, key: Some(key), outcome: None, code: None, message: None, targets }
        }
        Err(refusal) => {
            let Refusal { outcome, code, message, .. } = refusal;
            let (outcome, code, message) = (Some(outcome), Some(code), Some(message));
            Told { n, key: None, outcome, code, message, targets: Vec::new() }
        }
    };
    let results = keys.into_iter().map(told).collect();
    let rows = by_target.iter().map(|(name, all)| (*name, Foreseen::rows(all))).collect();
    let preview = Preview { dry_run: true, entity: ask.entity.as_str(), received, rows, results };
    Ok(Answer::new(StatusCode::OK, &preview))
}

fn at_target<'a>(target: &'a str, foreseen: &Foreseen) -> AtTarget<'a> {
    let (outcome, said) = foreseen.told();
    let (code, message) = said.unzip();
    AtTarget { target, outcome, rows: foreseen.tables.clone(), code, message }
}
