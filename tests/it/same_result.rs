//! I2: the same notices, in whatever order, number and company, leave the same behind as once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use expunged::domain::{Action, Timestamp};
use expunged::sandbox::Repliers;
use expunged::sandbox::repliers::ListingKey;
use expunged::web::hooks::Hooks;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tower::ServiceExt;

use crate::support::mirror::{self, HOOK_SECRET};
use crate::support::rig::Rig;

const HOUR: Duration = Duration::from_hours(1);

/// What an upstream told of one record, in its order; and the guard that the replica's row ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Deleted,
    TerminatedThenDeleted,
    Terminated,
    /// And written back by the importer.
    DeletedThenRelisted,
    DeletedRelistedDeleted,
    /// Never was in the replica.
    DeletedElsewhere,
}

const LIVES: [Life; 6] = [
    Life::Deleted,
    Life::TerminatedThenDeleted,
    Life::Terminated,
    Life::DeletedThenRelisted,
    Life::DeletedRelistedDeleted,
    Life::DeletedElsewhere,
];

impl Life {
    fn told(self) -> &'static [Action] {
        match self {
            Self::Deleted | Self::DeletedElsewhere => &[Action::Delete],
            Self::TerminatedThenDeleted => &[Action::Deactivate, Action::Delete],
            Self::Terminated => &[Action::Deactivate],
            Self::DeletedThenRelisted => &[Action::Delete, Action::Relisted],
            Self::DeletedRelistedDeleted => &[Action::Delete, Action::Relisted, Action::Delete],
        }
    }

    /// Hours after the record's first event.
    fn guard(self) -> u32 {
        match self {
            Self::DeletedThenRelisted | Self::DeletedRelistedDeleted => 1,
            _ => 0,
        }
    }
}

/// The upstream's history: for each record its life, and when it began.
struct World {
    lives: Vec<(String, Life, Timestamp)>,
}

/// One thing that the upstream told.
#[derive(Clone, Debug)]
struct Told {
    mls: String,
    action: Action,
    at: Timestamp,
}

impl World {
    /// About `notices` notices of records with lives of all kinds.
    fn of(notices: usize, random: &mut fastrand::Rng) -> Self {
        let start = mirror::time("2024-05-14T03:00:00Z");
        let mut lives = Vec::new();
        let mut told = 0;
        while told < notices {
            let life = random.choice(LIVES).unwrap();
            let began = start.plus(Duration::from_millis(random.u64(0..86_400_000)));
            told += life.told().len();
            lives.push((format!("W{:06}", lives.len()), life, began));
        }
        Self { lives }
    }

    fn notices(&self) -> Vec<Told> {
        let of = |(mls, life, began): &(String, Life, Timestamp)| {
            let (mls, began) = (mls.clone(), *began);
            let at = move |hours| began.plus(HOUR * hours);
            (0..).zip(life.told()).map(move |(n, action)| Told {
                mls: mls.clone(),
                action: *action,
                at: at(n),
            })
        };
        self.lives.iter().flat_map(of).collect()
    }

    async fn seed(&self, folder: &Path) {
        let here = self.lives.iter().filter(|(_, life, _)| *life != Life::DeletedElsewhere);
        let row =
            |(mls, life, began): &(String, Life, Timestamp)| (mls.clone(), began.plus(HOUR * life.guard()));
        mirror::seed(folder, &here.map(row).collect::<Vec<_>>(), &[]).await;
    }

    /// The deletions that stand, in the upstream's feed.
    fn publish(&self, upstream: &Repliers) {
        for (mls, life, began) in &self.lives {
            if life.told().last() == Some(&Action::Delete) {
                let key = ListingKey::new(2, mls.as_str());
                let last = u32::try_from(life.told().len()).unwrap() - 1;
                upstream.list_silently(&key, began.plus(HOUR * last));
                upstream.delete(&key, began.plus(HOUR * (last + 1)));
            }
        }
    }
}

/// What is left behind.
#[derive(Debug, PartialEq)]
struct Left {
    rows: BTreeMap<&'static str, Vec<String>>,
    documents: BTreeSet<String>,
    tombstones: Vec<(String, BTreeSet<String>)>,
    /// Of records that are not listed again: whether a listing outruns its deletion's task is chance. Gone by
    /// our own work counts once, whichever of a record's deletions it was.
    outcomes: Vec<String>,
}

async fn left(folder: &Path) -> Left {
    let mut replica = mirror::replica(folder).await;
    let mut rows = BTreeMap::new();
    for (table, columns) in [
        ("listings", "id, board_id, mls_number, updated_at, active"),
        ("images", "id, listing_id"),
        ("bookings", "id, listing_id"),
    ] {
        let query = format!("SELECT json_array({columns}) FROM {table} ORDER BY id");
        rows.insert(table, mirror::texts(&mut replica, query).await);
    }
    let state = SqliteConnectOptions::new().filename(folder.join("state.projections.db"));
    let mut state = state.disable_statement_logging().connect().await.unwrap();
    let facts = "SELECT json_array(entity, key, action, at, upstream_time, decision) FROM tombstones ORDER BY entity, key";
    let prints = "SELECT fingerprints FROM tombstones ORDER BY entity, key";
    let (facts, prints) = (mirror::texts(&mut state, facts).await, mirror::texts(&mut state, prints).await);
    let set = |text: String| serde_json::from_str::<BTreeSet<String>>(&text).unwrap();
    let outcomes =
        "SELECT json_array(k.target, replace(k.outcome, 'already_deleted', 'deleted'), t.action, count(*))
        FROM (SELECT target, tombstone, outcome FROM outcomes
          UNION ALL SELECT target, tombstone, 'due' FROM queue) AS k JOIN tombstones AS t ON t.id = k.tombstone WHERE t.action <> 'relisted'
        GROUP BY k.target, replace(k.outcome, 'already_deleted', 'deleted'), t.action ORDER BY 1";
    // An index has no guard: what it lost of these is the importer's to write back, as it did in the replica.
    let relisted = "SELECT (key ->> 0) || ':' || (key ->> 1) FROM tombstones WHERE action = 'relisted'";
    let relisted: BTreeSet<String> = mirror::texts(&mut state, relisted).await.into_iter().collect();
    Left {
        rows,
        documents: &mirror::documents(folder) - &relisted,
        tombstones: facts.into_iter().zip(prints.into_iter().map(set)).collect(),
        outcomes: mirror::texts(&mut state, outcomes).await,
    }
}

fn request(event: &str, items: &[Value]) -> Request<Body> {
    let body = json!({ "data": items }).to_string();
    let request = Request::post(format!("/hooks/repliers/{event}")).header("x-hook-secret", HOOK_SECRET);
    request.body(Body::from(body)).unwrap()
}

/// Posts notices, those of neighbours with the same event together in one delivery.
async fn post(door: &Router, notices: &[Told]) {
    let mut by_event: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for Told { mls, action, at } in notices {
        let (event, status) = match action {
            Action::Delete => ("listing.deleted", "Ter"),
            Action::Deactivate => ("listing.updated", "Ter"),
            Action::Relisted => ("listing.created", "New"),
        };
        let item = json!({"boardId": 2, "mlsNumber": mls, "updatedOn": at.to_string(), "lastStatus": status});
        by_event.entry(event).or_default().push(item);
    }
    for (event, items) in by_event {
        let answer = door.clone().oneshot(request(event, &items)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
}

struct Case {
    clients: usize,
    /// How often each notice is sent.
    times: usize,
    /// Whether the feed is read meanwhile, and again behind.
    feed: bool,
    shuffled: bool,
    /// Notices in one delivery, at most.
    together: usize,
}

/// Lets the world happen to a fresh daemon, and says what is left.
async fn happen(world: &World, case: &Case, random: &mut fastrand::Rng) -> Left {
    let folder = tempfile::tempdir().unwrap();
    world.seed(folder.path()).await;
    let clock = mirror::clock();
    let (upstream, address) = mirror::repliers(clock.clone()).await;
    world.publish(&upstream);
    let brake = "[brake]\nrows = 1000000";
    let config = mirror::config(folder.path(), &address, brake, "rate_per_second = 1000000");
    let mut rig = Rig::open(config, clock).await;
    let parts = &rig.parts;
    let door = Hooks::new(&parts.config, parts.intake.clone(), parts.clock.clone(), parts.metrics.clone());
    let door = door.unwrap().router();
    rig.run();

    let mut notices = Vec::new();
    for _ in 0..case.times {
        notices.extend(world.notices());
    }
    if case.shuffled {
        random.shuffle(&mut notices);
    }
    let mut clients = Vec::new();
    for share in notices.chunks(notices.len().div_ceil(case.clients)) {
        let (door, share, mut random) = (door.clone(), share.to_vec(), random.fork());
        let together = case.together;
        clients.push(tokio::spawn(async move {
            let mut rest = share.as_slice();
            while !rest.is_empty() {
                let (next, behind) = rest.split_at(random.usize(1..=together).min(rest.len()));
                post(&door, next).await;
                rest = behind;
            }
        }));
    }
    if case.feed {
        read(&rig).await;
    }
    for client in clients {
        client.await.unwrap();
    }
    if case.feed {
        read(&rig).await;
    }
    rig.quiet().await;
    rig.stop().await;
    left(folder.path()).await
}

async fn read(rig: &Rig) {
    let source = rig.parts.config.sources.iter().find(|source| source.name == "repliers").unwrap();
    rig.parts.reconciler().run(source, None, &|_, _| {}).await.unwrap();
}

/// Without the text of ten thousand rows.
fn same(once: &Left, again: &Left) -> Result<(), TestCaseError> {
    prop_assert_eq!(&once.outcomes, &again.outcomes);
    prop_assert!(once.tombstones == again.tombstones, "other tombstones");
    prop_assert!(once.rows == again.rows, "other rows");
    prop_assert!(once.documents == again.documents, "other documents");
    Ok(())
}

const ONCE: Case = Case { clients: 1, times: 1, feed: false, shuffled: false, together: 20 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_ten_thousand_notices_shuffled_tripled_from_eight_clients_and_the_feed_leave_the_same_as_once() {
    let mut random = fastrand::Rng::with_seed(1);
    let world = World::of(10_000, &mut random);
    let once = happen(&world, &ONCE, &mut random).await;
    assert!(once.outcomes.len() >= 4, "lives of all kinds: {:?}", once.outcomes);
    let thrice = Case { clients: 8, times: 3, feed: true, shuffled: true, together: 20 };
    let again = happen(&world, &thrice, &mut random).await;
    same(&once, &again).unwrap();
}

#[test]
fn i2_any_number_of_clients_orders_and_repetitions_leaves_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let case = (1..300_usize, 1..9_usize, 1..4_usize, any::<bool>(), 1..40_usize, any::<u64>());
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() });
    let checked = runner.run(&case, |(notices, clients, times, feed, together, seed)| {
        runtime.block_on(async {
            let mut random = fastrand::Rng::with_seed(seed);
            let world = World::of(notices, &mut random);
            let once = happen(&world, &ONCE, &mut random).await;
            let case = Case { clients, times, feed, shuffled: true, together };
            let again = happen(&world, &case, &mut random).await;
            same(&once, &again)
        })
    });
    checked.unwrap();
}
