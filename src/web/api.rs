//! `/api/v1/deletions`, `/api/v1/tombstones`, `/api/v1/holds`: what operators' own programs ask for.
//!
//! The only part of the operator's listener that asks for a credential, since it is the only one that changes
//! anything. It translates: a deletion goes through the intake like any other, and under the same brake. A
//! request is remembered by the very entries of the journal that carry it out, so that a repeat is known after
//! a crash too, and answers are read from what is folded.
//!
//! Every answer carries `X-Request-ID`, every refusal is one shape: `{"error":{code, message, request_id}}`.

mod call;
mod deletions;
mod foresee;
mod holds;
mod ids;
mod keyring;
mod lines;
mod query;
mod rate;
mod record;
mod refused;
mod report;
mod route;
mod tombstones;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, request::Parts};
use axum::response::Response;
use axum::routing::{any, get, post};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::config::Config;
use crate::domain::{Entity, Timestamp};
use crate::fold::Progress;
use crate::intake::Intake;
use crate::store::SharedStore;
use crate::targets::Target;
use crate::telemetry::metrics::Metrics;
use keyring::Keyring;
use refused::Refused;
use route::Route;

const DELETIONS: &str = "/api/v1/deletions";
/// Requests for deletions that are worked on at once: each may have 4 MiB of ids in memory, and more would only
/// wait for each other at the targets and at the journal.
const AT_WORK_MAX: usize = 16;
/// How long it may take until the journal is folded to its end: a thousand times what it takes while nothing is
/// wrong.
const FOLD_PATIENCE: Duration = Duration::from_secs(5);

/// What the API works with.
pub struct Api {
    pub store: SharedStore,
    pub intake: Intake,
    pub clock: SharedClock,
    pub targets: Vec<Arc<dyn Target>>,
    /// How far the journal is folded.
    pub folded: watch::Receiver<Progress>,
    pub drain: CancellationToken,
    metrics: Arc<Metrics>,
    keyring: Keyring,
    forms: BTreeMap<Entity, Form>,
    body_timeout: Duration,
    at_work: Semaphore,
    /// Tokens and keys of the requests that are being recorded. Keeps two of a kind apart while neither is
    /// folded; what was recorded before is known by the journal.
    claimed: Mutex<HashSet<(String, String)>>,
    /// Of this process, and of nothing that it did before.
    name: String,
    numbers: AtomicU64,
}

/// How an entity's records are named.
#[derive(Debug, Default)]
struct Form {
    /// Parts of its key; `None` if no target can tell.
    parts: Option<usize>,
    /// Places of the targets that hold it.
    targets: Vec<usize>,
    alternates: BTreeMap<String, Alternate>,
}

/// Another identifier: its parts, and the place of the target that knows it.
#[derive(Clone, Copy, Debug)]
struct Alternate {
    parts: usize,
    target: usize,
}

/// What the API shares with the rest of the daemon.
pub struct Shared {
    pub store: SharedStore,
    pub intake: Intake,
    pub clock: SharedClock,
    /// As the configuration has them, in its order.
    pub targets: Vec<Arc<dyn Target>>,
    pub folded: watch::Receiver<Progress>,
    pub drain: CancellationToken,
    pub metrics: Arc<Metrics>,
    /// Names the process.
    pub holder: String,
}

impl Api {
    #[must_use]
    pub fn new(config: &Config, shared: Shared) -> Self {
        let Shared { store, intake, clock, targets, folded, drain, metrics, holder } = shared;
        for route in Route::ALL {
            metrics.api_route(route.path());
        }
        Self {
            store,
            intake,
            clock,
            targets,
            folded,
            drain,
            metrics,
            keyring: Keyring::new(&config.server.tokens),
            forms: forms(config),
            body_timeout: config.server.limits.body_timeout,
            at_work: Semaphore::new(AT_WORK_MAX),
            claimed: Mutex::default(),
            name: holder,
            numbers: AtomicU64::new(1),
        }
    }

    /// The routes, and an answer of our own shape for every other path below them.
    pub fn router(self) -> axum::Router {
        let handled = [
            (Route::Ask, post(ask)),
            (Route::Told, get(told)),
            (Route::Tombstones, get(listed)),
            (Route::Holds, get(held)),
            (Route::Approve, post(approve)),
            (Route::Reject, post(reject)),
        ];
        let rest =
            axum::Router::new().route("/api/v1/", any(unknown)).route(Route::Unknown.path(), any(unknown));
        let router = handled.into_iter().fold(rest, |router, (route, method)| {
            let other = async move |State(api): Shown, headers: HeaderMap| {
                api.call(route, &headers).answer(Err(Refused::method()))
            };
            router.route(route.path(), method.fallback(other))
        });
        router.with_state(Arc::new(self))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A number that this process gives once.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until all that was handed to the journal before now is in it, and folded.
    async fn caught_up(&self) -> Result<(), Refused> {
        // A request whose sender went away may be on its way into the journal still.
        self.store.flush().await?;
        let head = self.store.head().await?.seq;
        let mut folded = self.folded.clone();
        match timeout(FOLD_PATIENCE, folded.wait_for(|progress| progress.reached >= head)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Refused::busy("what was heard is not folded yet")),
        }
    }

    /// Keeps a second request under the same key out until this one is recorded.
    fn claim(&self, token: &str, key: &str) -> Result<Claim<'_>, Refused> {
        let name = (token.to_owned(), key.to_owned());
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.insert(name.clone()) { Ok(Claim { api: self, name }) } else { Err(Refused::under_way()) }
    }
}

/// A key that is being worked on.
struct Claim<'a> {
    api: &'a Api,
    name: (String, String),
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.api.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

fn forms(config: &Config) -> BTreeMap<Entity, Form> {
    let mut forms: BTreeMap<Entity, Form> = BTreeMap::new();
    for (place, target) in config.targets.iter().enumerate() {
        for entity in target.entities().into_keys() {
            let alternates = target.alternates(&entity).iter();
            let alternates = alternates
                .map(|(name, columns)| (name.clone(), Alternate { parts: columns.len(), target: place }));
            let parts = target.key_parts(&entity);
            let form = forms.entry(entity.clone()).or_default();
            form.parts = form.parts.or(parts);
            form.targets.push(place);
            form.alternates.extend(alternates);
        }
    }
    forms
}

/// Whether the body of this request is not to be read before it is known who sends it, since it may have any
/// length.
#[must_use]
pub fn streams(head: &Parts) -> bool {
    head.method == Method::POST && head.uri.path() == DELETIONS
}

type Shown = State<Arc<Api>>;
/// What a path names; a number, or nothing that we know.
type Named = Result<Path<String>, PathRejection>;

fn name(named: Named) -> String {
    named.map(|Path(name)| name).unwrap_or_default()
}

async fn unknown(State(api): Shown, headers: HeaderMap) -> Response {
    api.call(Route::Unknown, &headers).answer(Err(Refused::path()))
}

async fn ask(State(api): Shown, head: Parts, body: Body) -> Response {
    api.serve(Route::Ask, &head.headers, |token, id| deletions::ask(&api, token, id, &head, body)).await
}

async fn told(State(api): Shown, receipt: Named, head: Parts) -> Response {
    let receipt = name(receipt);
    api.serve(Route::Told, &head.headers, |_, _| report::told(&api, &receipt, head.uri.query())).await
}

async fn listed(State(api): Shown, head: Parts) -> Response {
    api.serve(Route::Tombstones, &head.headers, |_, _| tombstones::listed(&api, head.uri.query())).await
}

async fn held(State(api): Shown, head: Parts) -> Response {
    api.serve(Route::Holds, &head.headers, |_, _| holds::held(&api, head.uri.query())).await
}

async fn approve(State(api): Shown, hold: Named, headers: HeaderMap, body: Body) -> Response {
    let hold = name(hold);
    api.serve(Route::Approve, &headers, |token, _| holds::resolve(&api, token, &hold, body, true)).await
}

async fn reject(State(api): Shown, hold: Named, headers: HeaderMap, body: Body) -> Response {
    let hold = name(hold);
    api.serve(Route::Reject, &headers, |token, _| holds::resolve(&api, token, &hold, body, false)).await
}
