//! `GET /api/v1/tombstones`: what is known to be deleted, for those who keep copies of their own.

use axum::http::StatusCode;
use serde::Serialize;

use super::Api;
use super::call::Answer;
use super::query::Query;
use super::refused::Refused;
use crate::domain::{Action, Entity, Key};
use crate::store::Listed;

/// Tombstones of one page.
const PAGE_MAX: u32 = 1_000;

#[derive(Serialize)]
struct Page {
    tombstones: Vec<Shown>,
    /// Where the next page begins: `after`.
    next: Option<i64>,
}

#[derive(Serialize)]
struct Shown {
    id: i64,
    entity: Entity,
    key: Key,
    action: Action,
    /// When it happened; whether by the upstream's clock, says the next one.
    at: String,
    upstream_time: bool,
    heard_at: String,
    source: String,
    notices: u64,
    decision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
}

pub async fn listed(api: &Api, query: Option<&str>) -> Result<Answer, Refused> {
    let query = Query::parse(query, &["entity", "after", "limit"])?;
    let after = query.number("after", 0..=i64::MAX, 0)?;
    let limit = query.number("limit", 1..=PAGE_MAX, PAGE_MAX)?;
    let entity = query.text("entity").map(Entity::new);
    let found = api.store.tombstones(entity.as_ref(), after, limit).await?;
    let next = found.last().filter(|_| found.len() == limit as usize).map(|last| last.id);
    let tombstones = found.into_iter().map(shown).collect();
    Ok(Answer::new(StatusCode::OK, &Page { tombstones, next }))
}

fn shown(it: Listed) -> Shown {
    Shown {
        id: it.id,
        entity: it.entity,
        key: it.key,
        action: it.action,
        at: it.at.to_string(),
        upstream_time: it.upstream_time,
        heard_at: it.heard_at.to_string(),
        source: it.source,
        notices: it.notices,
        decision: it.decision,
        hold: it.hold.map(|hold| hold.to_string()),
    }
}
