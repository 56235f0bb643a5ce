//! `POST /hooks/{source}` and `/hooks/{source}/{event}`: the public door.
//!
//! While a subscription is being made, and only then, an empty delivery to its path may offer a secret: it is kept,
//! and the answer repeats it. Otherwise checks come in this order: size (by the listener), signature over the raw bytes, the source's own rate, parsing. An answer of
//! 2xx says that the notices are on disk (I1). A forged delivery leaves no trace but a count; an authentic
//! one that cannot be understood is kept and acknowledged, since a sender that is refused for hours switches
//! the endpoint off. This module translates, and decides nothing.

mod keys;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use self::keys::Keys;
use crate::clock::SharedClock;
use crate::config;
use crate::domain::Door;
use crate::intake::{Delivery, Intake};
use crate::sources::payload::Parser;
use crate::sources::signature::{self, AuthFault, Verified};
use crate::store::StoreError;
use crate::telemetry::metrics::{Metrics, NoticeResult};
use crate::vault::VaultError;

/// `Retry-After` where the queue or a rate was full: it drains within a second.
const RETRY_SOON: &str = "1";
/// `Retry-After` where the journal cannot be written.
const RETRY_LATER: &str = "5";

/// What the hooks work with.
pub struct Hooks {
    sources: HashMap<String, Source>,
    public_url: Option<String>,
    intake: Intake,
    clock: SharedClock,
    metrics: Arc<Metrics>,
}

/// One source that delivers.
struct Source {
    keys: Keys,
    parser: Parser,
    rate: DefaultDirectRateLimiter,
}

/// Why a delivery was not taken.
enum Turned {
    Unknown,
    Forged(signature::Refused),
    TooFast,
    /// A secret was offered, and could not be kept.
    Offer(VaultError),
    Store(StoreError),
}

impl Hooks {
    /// # Errors
    /// A source's secret is no key for its scheme.
    pub fn new(
        config: &config::Config,
        intake: Intake,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AuthFault> {
        let mut sources = HashMap::new();
        for source in &config.sources {
            let Some(auth) = &source.auth else { continue };
            let per_second = NonZeroU32::new(source.rate_per_second).unwrap_or(NonZeroU32::MIN);
            let rate = RateLimiter::direct(Quota::per_second(per_second));
            let parser = Parser::new(source);
            let keys = Keys::new(source, auth, &config.state.path)?;
            if keys.is_empty(clock.now()) {
                tracing::warn!(
                    source = source.name,
                    "no secret yet, so every delivery is refused: see `expunged sources subscribe`"
                );
            }
            sources.insert(source.name.clone(), Source { keys, parser, rate });
        }
        let public_url = config.server.public_url.clone();
        Ok(Self { sources, public_url, intake, clock, metrics })
    }

    /// The routes of the public listener, and nothing else.
    pub fn router(self) -> axum::Router {
        axum::Router::new()
            .route("/hooks/{source}", post(plain))
            .route("/hooks/{source}/{event}", post(with_event))
            .with_state(Arc::new(self))
    }

    async fn answer(&self, source: &str, event: Option<&str>, request: Request<Bytes>) -> Response {
        let began = Instant::now();
        let answer = match self.take(source, event, request).await {
            Ok(receipt) => {
                self.metrics.acknowledged(began.elapsed());
                accepted(receipt)
            }
            Err(turned) => self.turn_away(source, &turned),
        };
        self.metrics.delivery(source, answer.status().as_u16());
        answer
    }

    async fn take(
        &self,
        name: &str,
        event: Option<&str>,
        request: Request<Bytes>,
    ) -> Result<Receipt, Turned> {
        let source = self.sources.get(name).ok_or(Turned::Unknown)?;
        let (head, body) = request.into_parts();
        let url = self.public_url.as_ref().map(|public| {
            let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
            format!("{}{path}", public.trim_end_matches('/'))
        });
        let now = self.clock.now();
        let offered = source.keys.offered(&head.headers, &body);
        if let (Some(event), Some((header, secret))) = (event, &offered)
            && source.keys.take(event, head.uri.query(), secret, now).map_err(Turned::Offer)?
        {
            tracing::info!(source = name, event, "a secret was offered for the subscription, and is kept");
            return Ok(Receipt::Handshake(header.clone(), secret.clone()));
        }
        let asked = signature::Request {
            method: head.method.as_str(),
            url: url.as_deref(),
            headers: &head.headers,
            body: &body,
        };
        let verified = source.keys.verify(&asked, now).map_err(Turned::Forged)?;
        self.metrics.secret_used(name, verified.secret, now);
        if let Some((header, secret)) = offered {
            // Whoever says a secret that we know may hear it again: some look now and then whether we are there.
            return Ok(Receipt::Handshake(header, secret));
        }
        source.rate.check().map_err(|_| Turned::TooFast)?;
        self.record(name, source, event, &head.headers, body, &verified).await
    }

    async fn record(
        &self,
        name: &str,
        source: &Source,
        event: Option<&str>,
        headers: &HeaderMap,
        body: Bytes,
        verified: &Verified,
    ) -> Result<Receipt, Turned> {
        let (parsed, unreadable) = source.parser.understand(&body, headers, event, verified);
        self.metrics.notices(name, Door::Webhook, NoticeResult::Ignored, u64::from(parsed.ignored));
        if parsed.notices.is_empty() && unreadable.is_empty() {
            return Ok(Receipt::Ignored);
        }
        for fault in &unreadable {
            tracing::error!(source = name, %fault, "authentic delivery cannot be understood: kept, see `expunged status`");
        }
        let delivery = Delivery {
            source: name.to_owned(),
            door: Door::Webhook,
            run: None,
            notices: parsed.notices,
            unreadable,
            reason: None,
            body: Some(body),
        };
        self.intake.record(delivery).await.map(Receipt::Entry).map_err(Turned::Store)
    }

    fn turn_away(&self, source: &str, turned: &Turned) -> Response {
        match turned {
            Turned::Unknown => refused(StatusCode::NOT_FOUND, "no such source", None),
            Turned::Forged(reason) => {
                self.metrics.refused(source, reason.as_str());
                if reason.is_ours_to_mend() {
                    tracing::warn!(source, %reason, "delivery refused");
                } else {
                    // Counted, and not logged in earnest: whoever forges must not fill the disk.
                    tracing::debug!(source, %reason, "delivery refused");
                }
                refused(StatusCode::UNAUTHORIZED, "not authentic", None)
            }
            Turned::TooFast => {
                tracing::warn!(source, "delivery refused: more than the source's rate");
                refused(StatusCode::TOO_MANY_REQUESTS, "too many deliveries", Some(RETRY_SOON))
            }
            Turned::Offer(error @ VaultError::File { .. }) => {
                tracing::error!(source, %error, "an offered secret cannot be kept");
                refused(StatusCode::SERVICE_UNAVAILABLE, "cannot store", Some(RETRY_LATER))
            }
            Turned::Offer(error) => {
                tracing::warn!(source, %error, "an offered secret is not taken");
                refused(StatusCode::UNAUTHORIZED, "not authentic", None)
            }
            Turned::Store(StoreError::Busy) => {
                refused(StatusCode::SERVICE_UNAVAILABLE, "busy", Some(RETRY_SOON))
            }
            Turned::Store(_) => refused(StatusCode::SERVICE_UNAVAILABLE, "cannot store", Some(RETRY_LATER)),
        }
    }
}

/// What the sender gets for a delivery that was taken.
enum Receipt {
    /// Number of the journal's entry.
    Entry(i64),
    /// Nothing in it means anything to us.
    Ignored,
    /// The secret that was offered, to be repeated in this header.
    Handshake(HeaderName, HeaderValue),
}

async fn plain(
    State(hooks): State<Arc<Hooks>>,
    Path(source): Path<String>,
    head: Parts,
    body: Bytes,
) -> Response {
    hooks.answer(&source, None, Request::from_parts(head, body)).await
}

async fn with_event(
    State(hooks): State<Arc<Hooks>>,
    Path((source, event)): Path<(String, String)>,
    head: Parts,
    body: Bytes,
) -> Response {
    hooks.answer(&source, Some(&event), Request::from_parts(head, body)).await
}

fn accepted(receipt: Receipt) -> Response {
    let text = match receipt {
        Receipt::Handshake(name, value) => {
            let mut response = json(StatusCode::OK, "{}".to_owned());
            response.headers_mut().insert(name, value);
            return response;
        }
        Receipt::Entry(seq) => format!("{{\"receipt\":\"{seq}\"}}"),
        Receipt::Ignored => "{\"receipt\":null,\"ignored\":true}".to_owned(),
    };
    json(StatusCode::ACCEPTED, text)
}

fn refused(status: StatusCode, what: &'static str, retry_after: Option<&'static str>) -> Response {
    let mut response = json(status, format!("{{\"error\":\"{what}\"}}"));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    }
    response
}

/// An answer of JSON text.
pub(super) fn json(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
