//! How a settlement is written: records that came to the same are told together.
//!
//! A batch of ten thousand is one entry; told record by record it would be a megabyte, most of it repetition.
//! The facts and keys stand in full, so that the entry proves each removal by itself.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Fact, Failure, Settlement};
use crate::domain::{Entity, Key, Outcome, Seq, TombstoneId};

/// Results that differ in nothing but the record.
#[derive(Serialize, Deserialize)]
struct Group<E, F, R> {
    entity: E,
    outcome: Outcome,
    #[serde(default, skip_serializing_if = "is_zero")]
    rows: u64,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    failure: Option<F>,
    /// Tombstone, cause and key of each.
    records: Vec<R>,
}

fn none<F>() -> Option<F> {
    None
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(rows: &u64) -> bool {
    *rows == 0
}

pub fn serialize<S: Serializer>(results: &[Settlement], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sorted: Vec<&Settlement> = results.iter().collect();
    sorted.sort_by_key(|it| (&it.entity, it.outcome, it.rows));
    let alike = |a: &&Settlement, b: &&Settlement| {
        (a.outcome, a.rows) == (b.outcome, b.rows) && a.entity == b.entity && a.failure == b.failure
    };
    serializer.collect_seq(sorted.chunk_by(alike).map(|group| {
        let Settlement { entity, outcome, rows, failure, .. } = group[0];
        let records: Vec<_> = group.iter().map(|it| (it.fact.0, it.fact.1, &it.key)).collect();
        Group { entity, outcome: *outcome, rows: *rows, failure: failure.as_ref(), records }
    }))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Settlement>, D::Error> {
    let groups: Vec<Group<Entity, Failure, (TombstoneId, Seq, Key)>> = Vec::deserialize(deserializer)?;
    let mut results = Vec::with_capacity(groups.iter().map(|group| group.records.len()).sum());
    for Group { entity, outcome, rows, failure, records } in groups {
        results.extend(records.into_iter().map(|(tombstone, cause, key)| Settlement {
            fact: Fact(tombstone, cause),
            entity: entity.clone(),
            key,
            outcome,
            rows,
            failure: failure.clone(),
        }));
    }
    Ok(results)
}
