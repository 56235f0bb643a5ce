//! `GET /listings/deleted`: parameters in, a page out.
//!
//! `updatedOn`, `minUpdatedOn` and `maxUpdatedOn` are documented, and are days. `pageNum`, `resultsPerPage`
//! and `boardId` are those of `/listings`. The shape of the answer is the one that a client of the feed
//! observed (`jeremeybingham/repliers_rust`, `src/models/history.rs`).

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::{Answer, Call};
use super::feed::{Deleted, Wanted};
use super::{Repliers, iso};
use crate::domain::Timestamp;

/// `resultsPerPage` where the request has none, as in the documented examples.
const PAGE_SIZE: usize = 100;
const LAST_MOMENT_OF_A_DAY: Duration = Duration::from_micros(86_400 * 1_000_000 - 1);

impl Repliers {
    pub(super) fn deleted(&self, call: &Call) -> Answer {
        match self.page(call) {
            Ok(page) => Answer::ok(page),
            Err(refusal) => Answer::new(StatusCode::BAD_REQUEST, refusal),
        }
    }

    fn page(&self, call: &Call) -> Result<Value, Value> {
        let exact = day(call, "updatedOn")?;
        let from = exact.or(day(call, "minUpdatedOn")?).unwrap_or(Timestamp::MIN);
        let to = exact.or(day(call, "maxUpdatedOn")?);
        let to = to.map_or(Timestamp::from_micros(i64::MAX), |day| day.plus(LAST_MOMENT_OF_A_DAY));
        let number = number(call, "pageNum")?.unwrap_or(1);
        let size = number_within(call, self.settings.page_size_max)?;
        let wanted = Wanted { window: from..=to, boards: boards(call)? };

        let offset = (number - 1).saturating_mul(size as u64);
        let (count, deletions) = self.state().feed.page(&wanted, offset, size);
        let listings: Vec<Value> = deletions.iter().map(record).collect();
        Ok(json!({
            "page": number,
            "numPages": count.div_ceil(size as u64),
            "pageSize": size,
            "count": count,
            "listings": listings,
        }))
    }
}

/// The feed blanks everything but the key and the time.
fn record(deleted: &Deleted) -> Value {
    json!({
        "boardId": deleted.key.board_id,
        "mlsNumber": deleted.key.mls_number,
        "resource": "Property:2505",
        "address": {
            "area": null, "city": null, "country": null, "district": null, "majorIntersection": null,
            "neighborhood": null, "streetDirection": null, "streetName": null, "streetNumber": null,
            "streetSuffix": null, "unitNumber": null, "zip": null, "state": null, "communityCode": null,
        },
        "timestamps": {"listingUpdated": iso(deleted.updated_on)},
    })
}

/// The first moment (UTC) of the day that a parameter names.
fn day(call: &Call, name: &str) -> Result<Option<Timestamp>, Value> {
    let Some(text) = call.param(name) else { return Ok(None) };
    let date = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10);
    let start = date.and_then(|date| date.and_hms_opt(0, 0, 0));
    start
        .map(|start| Some(Timestamp::from_datetime(start.and_utc())))
        .ok_or_else(|| refusal(name, "must be a date, YYYY-MM-DD"))
}

fn number(call: &Call, name: &str) -> Result<Option<u64>, Value> {
    let Some(text) = call.param(name) else { return Ok(None) };
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(refusal(name, "must be a whole number above 0")),
    }
}

fn number_within(call: &Call, max: usize) -> Result<usize, Value> {
    let asked = number(call, "resultsPerPage")?.and_then(|asked| usize::try_from(asked).ok());
    Ok(asked.unwrap_or(PAGE_SIZE).min(max).max(1))
}

fn boards(call: &Call) -> Result<Vec<i64>, Value> {
    let asked = call.query.iter().filter(|(name, _)| name == "boardId");
    asked.map(|(_, text)| text.parse().map_err(|_| refusal("boardId", "must be a whole number"))).collect()
}

/// The documented shape of a 400: an array of arrays of faults.
pub(super) fn refusal(param: &str, message: &str) -> Value {
    json!([[{"param": param, "msg": message}]])
}
