//! `/api/v1/holds`: what the brake stopped, and a person's word on it.

use axum::body::Body;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::call::Answer;
use super::query::Query;
use super::record::check_reason;
use super::refused::Refused;
use super::report::as_text;
use super::{Api, FOLD_PATIENCE};
use crate::config::Token;
use crate::domain::{Event, Seq, event::Resolved};
use crate::store::Hold;
use crate::web::read_body;

/// Bytes of a decision: a reason of a page.
const BODY_BYTES_MAX: usize = 8 * 1024;

#[derive(Serialize)]
struct Holds {
    holds: Vec<Shown>,
    /// What this list shows is what was heard up to here; a decision that names it means no more than that.
    #[serde(serialize_with = "as_text")]
    through: Seq,
}

#[derive(Serialize)]
struct Shown {
    #[serde(serialize_with = "as_text")]
    hold: Seq,
    entity: String,
    state: String,
    opened_at: String,
    /// Records that are held.
    records: u64,
    /// Rows that they would take, and what was allowed and had gone when they were stopped.
    rows: u64,
    allowed: u64,
    gone: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    reason: Option<String>,
    through: Option<String>,
}

pub async fn held(api: &Api, query: Option<&str>) -> Result<Answer, Refused> {
    let query = Query::parse(query, &["all"])?;
    // Before the holds: what joins one in between is not what `through` says.
    let through = api.store.position().await?.seq;
    let holds = api.store.holds(!query.flag("all")?).await?;
    Ok(Answer::new(StatusCode::OK, &Holds { holds: holds.into_iter().map(shown).collect(), through }))
}

pub async fn resolve(
    api: &Api,
    token: &Token,
    hold: &str,
    body: Body,
    approve: bool,
) -> Result<Answer, Refused> {
    let body = read_body(body, BODY_BYTES_MAX, api.body_timeout).await?;
    let bad =
        || Refused::bad("bad_request", "send nothing, or an object with reason and through, both texts");
    let decision: Decision = if body.is_empty() {
        Decision::default()
    } else {
        serde_json::from_slice(&body).map_err(|_| bad())?
    };
    check_reason(decision.reason.as_deref())?;
    let unknown = || Refused::new(StatusCode::NOT_FOUND, "unknown_hold", "there is no such open hold");
    let hold: Seq = hold.parse().map_err(|_| unknown())?;
    let open = api.store.holds(true).await?;
    open.iter().find(|it| it.id == hold).ok_or_else(unknown)?;
    let position = api.store.position().await?.seq;
    let through = decision.through.map_or(Ok(position), |seq| seq.parse().map_err(|_| bad()))?;
    if !(hold..=position).contains(&through) {
        return Err(Refused::bad("bad_request", "through is what the list of holds said beside this one"));
    }
    let resolved = Resolved { hold, approve, through, actor: token.name.clone(), reason: decision.reason };
    let seq = api.intake.note(Event::Resolved(resolved)).await?;
    tracing::info!(token = token.name, hold, approve, "a hold was decided on");
    let mut folded = api.folded.clone();
    // It is in the journal: that it is not folded yet changes nothing of that.
    timeout(FOLD_PATIENCE, folded.wait_for(|progress| progress.reached >= seq)).await.ok();
    let now = api.store.holds(false).await?.into_iter().find(|it| it.id == hold).ok_or_else(unknown)?;
    Ok(Answer::new(StatusCode::OK, &shown(now)))
}

fn shown(hold: Hold) -> Shown {
    Shown {
        hold: hold.id,
        entity: hold.entity.as_str().to_owned(),
        state: hold.state,
        opened_at: hold.opened_at.to_string(),
        records: hold.facts,
        rows: hold.rows,
        allowed: hold.allowed,
        gone: hold.gone,
        actor: hold.actor,
        reason: hold.reason,
    }
}
