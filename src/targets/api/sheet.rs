//! A batch as the vendor will see it: ids for keys, requests for removals.
//!
//! The same batch always gives the same requests with the same idempotency keys, also after a crash.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::config::api::{Api, Item, ItemPiece, Records};
use crate::domain::{Action, Entity, Key};
use crate::targets::{Batch, Effect, RecordFailure, Removal};

/// Ids of one entity that go in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub entity: Entity,
    /// Places in the batch.
    pub places: Vec<usize>,
    /// An earlier request may have taken what this one asks for.
    pub in_doubt: bool,
}

impl Chunk {
    /// Two chunks of these places, which an earlier request has named.
    pub fn halves(&self, places: &[usize], in_doubt: bool) -> [Self; 2] {
        let (left, right) = places.split_at(places.len() / 2);
        [left, right].map(|places| self.of(places, in_doubt))
    }

    pub fn of(&self, places: &[usize], in_doubt: bool) -> Self {
        Self { entity: self.entity.clone(), places: places.to_vec(), in_doubt }
    }
}

pub(super) struct Sheet<'a> {
    api: &'a Api,
    target: &'a str,
    batch: &'a Batch,
    /// Places with the same id as an earlier one.
    twins: Vec<(usize, usize)>,
    ids: Vec<String>,
    pub effects: Vec<Option<Effect>>,
}

impl<'a> Sheet<'a> {
    pub fn new(api: &'a Api, target: &'a str, batch: &'a Batch) -> Self {
        let count = batch.removals.len();
        let (ids, effects) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut sheet = Self { api, target, batch, twins: Vec::new(), ids, effects };
        for removal in &batch.removals {
            let (id, effect) = match id(api, removal) {
                Ok(id) => (id, None),
                Err(failure) => (String::new(), Some(Effect::Failed(failure))),
            };
            sheet.ids.push(id);
            sheet.effects.push(effect);
        }
        sheet
    }

    /// The requests, in the order of the batch. Entities never share one, so that kinds of identifiers don't.
    pub fn chunks(&mut self) -> VecDeque<Chunk> {
        let mut by_entity: BTreeMap<&Entity, Vec<usize>> = BTreeMap::new();
        let mut seen: HashMap<(&Entity, &str), usize> = HashMap::new();
        for (place, removal) in self.batch.removals.iter().enumerate() {
            if self.effects[place].is_some() {
                continue;
            }
            if let Some(first) = seen.get(&(&removal.entity, self.ids[place].as_str())) {
                self.twins.push((place, *first));
                continue;
            }
            seen.insert((&removal.entity, &self.ids[place]), place);
            by_entity.entry(&removal.entity).or_default().push(place);
        }
        let chunks = by_entity.into_iter().flat_map(|(entity, places)| {
            let chunk =
                |places: &[usize]| Chunk { entity: entity.clone(), places: places.to_vec(), in_doubt: false };
            places.chunks(self.api.limit).map(chunk).collect::<Vec<_>>()
        });
        chunks.collect()
    }

    pub fn ids(&self, chunk: &Chunk) -> Vec<&str> {
        chunk.places.iter().map(|place| self.ids[*place].as_str()).collect()
    }

    pub fn body(&self, records: &Records, chunk: &Chunk, dry_run: bool) -> Value {
        let items = chunk
            .places
            .iter()
            .map(|place| item(&records.item, &self.ids[*place], &self.batch.removals[*place].key));
        let mut body = with_ids(&self.api.body, &items.collect());
        if let (true, Some(dry), Value::Object(members)) = (dry_run, &self.api.dry_run, &mut body) {
            members.extend(dry.body.clone());
        }
        body
    }

    /// The same for the same ids of the same batch, and for nothing else: a record that is listed and deleted
    /// again within the vendor's memory comes in a later batch. In the form of a UUID, which every vendor takes.
    pub fn idempotency_key(&self, chunk: &Chunk) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        add(self.target);
        add(&self.batch.number.to_string());
        add(chunk.entity.as_str());
        self.ids(chunk).into_iter().for_each(&mut add);
        let hex = hex::encode(hash.finalize());
        format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
    }

    pub fn tell(&mut self, place: usize, effect: Effect) {
        self.effects[place] = Some(effect);
    }

    /// One effect for each removal. Two keys may give one id: what went counts for the first (I8).
    pub fn finish(mut self) -> Vec<Effect> {
        for (place, first) in std::mem::take(&mut self.twins) {
            let effect = match self.effects[first].clone() {
                Some(Effect::Removed { .. }) => Some(Effect::Gone),
                other => other,
            };
            self.effects[place] = effect;
        }
        let waits = || Effect::Waits(crate::targets::Wait { until: None, reason: "not asked for".into() });
        self.effects.into_iter().map(|effect| effect.unwrap_or_else(waits)).collect()
    }
}

/// The vendor's id of a removal, or why it has none.
fn id(api: &Api, removal: &Removal) -> Result<String, RecordFailure> {
    let refusal = |code, message| Err(RecordFailure { code, message, retry: false });
    let Some(records) = api.entities.get(&removal.entity) else {
        return refusal("entity", format!("entity {} is not carried here", removal.entity));
    };
    if removal.action != Action::Delete && !records.delete_on_deactivate {
        let what = format!("entity {} says nothing about deactivation here", removal.entity);
        return refusal("deactivation", what);
    }
    let parts = removal.key.parts();
    let named = |pieces: &[ItemPiece]| {
        pieces.iter().all(|piece| !matches!(piece, ItemPiece::Part(index) if *index >= parts.len()))
    };
    let complete = match &records.item {
        Item::Text(pieces) => named(pieces),
        Item::Object(members) => members.iter().all(|(_, pieces)| named(pieces)),
    };
    let id = records.id.as_ref().map_or_else(|| Some(parts.join(":")), |id| id.render(parts));
    match id {
        Some(id) if complete => Ok(id),
        _ => refusal("key_parts", format!("the key has {} parts, and more are named", parts.len())),
    }
}

fn item(item: &Item, id: &str, key: &Key) -> Value {
    let text = |pieces: &[ItemPiece]| -> Value {
        let piece = |piece: &ItemPiece| match piece {
            ItemPiece::Text(text) => text.clone(),
            ItemPiece::Id => id.to_owned(),
            ItemPiece::Part(index) => key.parts().get(*index).cloned().unwrap_or_default(),
        };
        pieces.iter().map(piece).collect::<String>().into()
    };
    match item {
        Item::Text(pieces) => text(pieces),
        Item::Object(members) => {
            let members = members.iter().map(|(name, pieces)| (name.clone(), text(pieces)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

fn with_ids(body: &Value, ids: &Vec<Value>) -> Value {
    match body {
        Value::String(text) if text == Api::IDS => Value::Array(ids.clone()),
        Value::Array(items) => items.iter().map(|item| with_ids(item, ids)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), with_ids(value, ids)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}
