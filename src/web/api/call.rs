//! One call from its headers to the headers of its answer: its id, its token, and what the token may. Counted
//! when it is answered.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use tokio::time::Instant;

use super::Api;
use super::rate::Allowance;
use super::refused::Refused;
use super::route::Route;
use crate::config::{Scope, Token};
use crate::domain::Seq;
use crate::web::hooks::json;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Bytes of a caller's own request id: three times a UUID.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// A call, as far as its headers say.
pub struct Call<'a> {
    api: &'a Api,
    route: Route,
    began: Instant,
    id: String,
    allowance: Option<Allowance>,
}

/// What is answered to a call that was carried out.
pub struct Answer {
    status: StatusCode,
    text: String,
    /// Where the rest of it will be told.
    receipt: Option<Seq>,
    replayed: bool,
}

impl Answer {
    pub fn new(status: StatusCode, body: &impl Serialize) -> Self {
        let text = serde_json::to_string(body).expect("an answer has text as keys only");
        Self { status, text, receipt: None, replayed: false }
    }

    pub fn with_receipt(self, receipt: Seq, replayed: bool) -> Self {
        Self { receipt: Some(receipt), replayed, ..self }
    }
}

impl Api {
    pub fn call(&self, route: Route, headers: &HeaderMap) -> Call<'_> {
        let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| plain(id));
        let id = given.map_or_else(|| format!("{}.{}", self.name, self.number()), ToOwned::to_owned);
        Call { api: self, route, began: Instant::now(), id, allowance: None }
    }

    /// Carries a call out if its token may that and has not used up its minute. `work` gets the token and the
    /// call's id.
    pub async fn serve<'a, Work>(
        &'a self,
        route: Route,
        headers: &HeaderMap,
        work: impl FnOnce(&'a Token, String) -> Work,
    ) -> Response
    where
        Work: Future<Output = Result<Answer, Refused>>,
    {
        let mut call = self.call(route, headers);
        let answer = match self.token(headers, route.scope(), &mut call) {
            Ok(token) => work(token, call.id.clone()).await,
            Err(refused) => Err(refused),
        };
        call.answer(answer)
    }

    fn token(&self, headers: &HeaderMap, scope: Scope, call: &mut Call<'_>) -> Result<&Token, Refused> {
        if self.keyring.is_empty() {
            let message =
                "no token is configured, so this API is closed: make one with `expunged token NAME`";
            return Err(Refused::new(StatusCode::FORBIDDEN, "api_closed", message));
        }
        let (token, rate) = bearer(headers).and_then(|sent| self.keyring.find(sent)).ok_or_else(|| {
            let message = "send a known token as Authorization: Bearer TOKEN";
            Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
        })?;
        let now = self.now();
        let allowance = rate.count(now);
        call.allowance = Some(allowance);
        if allowance.exceeded {
            let message = format!("more than {} requests in a minute", allowance.limit);
            let refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
            return Err(refused.after(allowance.reset - now.seconds()));
        }
        if !token.scopes.contains(&scope) {
            let message = format!("this token has no scope {:?}", scope.as_str());
            return Err(Refused::new(StatusCode::FORBIDDEN, "scope_missing", message));
        }
        Ok(token)
    }
}

impl Call<'_> {
    pub fn answer(self, answer: Result<Answer, Refused>) -> Response {
        let mut response = match answer {
            Ok(Answer { status, text, receipt, replayed }) => {
                let mut response = json(status, text);
                let place = receipt.map(|receipt| format!("{}/{receipt}", super::DELETIONS));
                if let Some(place) = place.and_then(|place| HeaderValue::try_from(place).ok()) {
                    response.headers_mut().insert(header::LOCATION, place);
                }
                if replayed {
                    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
                }
                response
            }
            Err(refused) => {
                self.api.metrics.api_refused(refused.code);
                refused.answer(&self.id)
            }
        };
        self.api.metrics.api_request(self.route.path(), response.status().as_u16(), self.began.elapsed());
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::try_from(self.id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(allowance) = self.allowance {
            headers.insert(LIMIT, allowance.limit.into());
            headers.insert(REMAINING, allowance.remaining.into());
            headers.insert(RESET, allowance.reset.into());
        }
        response
    }
}

/// Whether a caller's id can stand in a log and in a header as it is.
fn plain(id: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@+=".contains(&byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(known)
}

/// What the one `Authorization` header carries.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}
