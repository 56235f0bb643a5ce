//! Servers that die, refuse to write, move, or vanish in the middle of a commit, and customers that lock.

use std::sync::Arc;

use expunged::domain::{Action, Door, Timestamp};
use expunged::targets::{Batch, Target, TargetError};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Database, child, delete, removed, target, with_children};
use crate::support::mirror;
use crate::support::proxy::{Cut, Proxy};
use crate::support::rig::{Rig, notice, until};
use crate::support::servers::{self, Server, pgbouncer::PgBouncer, postgres};
use expunged::config::Secret;
use expunged::config::target::{Limits, OnDelete, Sql};
use expunged::domain::{Entity, Key};
use expunged::targets::sql::SqlTarget;
use std::time::Duration;

/// Rounds of each way to lose a connection.
const ROUNDS: usize = 100;

fn schema(listings: usize) -> String {
    format!(
        "CREATE TABLE listings(id bigint PRIMARY KEY, seen bigint NOT NULL DEFAULT 0);
         CREATE TABLE images(n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, listing_id bigint NOT NULL REFERENCES listings(id));
         CREATE INDEX images_of ON images(listing_id);
         INSERT INTO listings SELECT generate_series(1, {listings});
         INSERT INTO images(listing_id) SELECT id FROM listings;"
    )
}

pub fn family() -> expunged::config::target::Table {
    with_children(vec![child("images", "listing_id", OnDelete::Delete)])
}

pub fn with_limits(url: &str, limits: Limits) -> SqlTarget {
    let entities = [(Entity::new("listing"), family())].into();
    SqlTarget::connect("replica", &Sql { url: Secret::new(url), limits, entities }).unwrap()
}

/// The daemon's parts over one target.
pub async fn rig(folder: &tempfile::TempDir, target: Arc<dyn Target>) -> Rig {
    let config = mirror::config(folder.path(), "http://127.0.0.1:9", "[brake]\nmode = \"off\"", "");
    Rig::over(config, mirror::clock(), vec![target]).await
}

pub async fn hear(rig: &Rig, ids: std::ops::RangeInclusive<usize>) {
    let key = |id: usize| Key::new(vec![id.to_string()]).unwrap();
    let notices = ids.map(|id| notice(&key(id), Action::Delete, Timestamp::from_seconds(1))).collect();
    rig.record(Door::Webhook, notices).await;
}

pub async fn outcomes(rig: &Rig) -> Vec<(String, u64)> {
    let outcomes = rig.parts.store.tally().await.unwrap().outcomes;
    outcomes.into_iter().map(|(_, outcome, count)| (outcome, count)).collect()
}

fn through(url: &str, port: u16) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_port(Some(port)).unwrap();
    url.set_query(Some("sslmode=disable"));
    url.into()
}

#[tokio::test]
async fn i8_a_connection_that_is_lost_before_or_after_a_commit_loses_nothing_and_counts_nothing_twice() {
    let Some(database) = postgres::database().await else { return };
    database.sql(&schema(2 * ROUNDS)).await;
    let proxy = Proxy::to(url::Url::parse(&database.url).unwrap().port().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(&folder, Arc::new(target(&through(&database.url, proxy.port), family()))).await;
    rig.run();
    for round in 1..=2 * ROUNDS {
        proxy.cut(if round % 2 == 0 { Cut::Before(b"COMMIT\0") } else { Cut::After(b"COMMIT\0") });
        hear(&rig, round..=round).await;
        rig.quiet().await;
    }
    let each = ROUNDS as u64;
    assert_eq!(outcomes(&rig).await, [("already_deleted".to_owned(), each), ("deleted".to_owned(), each)]);
    assert_eq!(
        database.lines("SELECT (SELECT count(*) FROM listings), (SELECT count(*) FROM images)").await,
        ["0|0"]
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_server_that_is_killed_while_deletions_come_in_delays_them_and_nothing_else() {
    if !servers::available(&postgres::Postgres) {
        return;
    }
    let server = Server::start(&postgres::Postgres).await;
    let database = server.database().await;
    database.sql(&schema(3_000)).await;
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(&folder, Arc::new(target(&database.url, family()))).await;
    rig.run();
    for part in 0..3 {
        hear(&rig, 1_000 * part + 1..=1_000 * part + 1_000).await;
        until("some are gone", async || {
            outcomes(&rig).await.iter().map(|(_, count)| count).sum::<u64>() > 1_000 * part as u64
        })
        .await;
        server.kill().await;
        server.restart().await;
    }
    rig.quiet().await;
    let told = outcomes(&rig).await;
    assert!(
        told.iter().all(|(outcome, _)| ["deleted", "already_deleted"].contains(&outcome.as_str())),
        "{told:?}"
    );
    assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), 3_000);
    assert_eq!(
        database.lines("SELECT (SELECT count(*) FROM listings), (SELECT count(*) FROM images)").await,
        ["0|0"]
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_server_that_became_read_only_is_left_for_the_one_that_took_its_place() {
    if !servers::available(&postgres::Postgres) {
        return;
    }
    let (old, new) = (Server::start(&postgres::Postgres).await, Server::start(&postgres::Postgres).await);
    let (left, taken) = (old.database().await, new.database().await);
    new.kind.execute(&taken.url, &schema(2)).await.unwrap();
    left.sql(&schema(2)).await;
    // The same name on both, as after a failover.
    let name = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    let home = new.url(new.kind.home());
    new.kind
        .execute(&home, &format!("ALTER DATABASE {} RENAME TO {}", name(&taken.url), name(&left.url)))
        .await
        .unwrap();
    let proxy = Proxy::to(old.port).await;
    let target = target(&through(&left.url, proxy.port), family());
    let batch = |id: &str| Batch { number: 1, removals: vec![delete(&[id])] };
    assert_eq!(target.apply(&batch("1")).await.unwrap(), [removed(2)]);
    left.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", name(&left.url))).await;
    left.kind
        .execute(
            &old.url("postgres"),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'expunged'",
        )
        .await
        .unwrap();
    for _ in 0..2 {
        let refused = target.apply(&batch("2")).await;
        assert!(matches!(refused, Err(TargetError::Unavailable(_))), "{refused:?}");
    }
    proxy.lead_to(new.port);
    assert_eq!(target.apply(&batch("2")).await.unwrap(), [removed(2)]);
    assert_eq!(left.lines("SELECT id FROM listings").await, ["2"], "not the old one");
    assert_eq!(new.kind.lines(&new.url(&name(&left.url)), "SELECT id FROM listings").await.unwrap(), ["1"]);
}

#[tokio::test]
async fn a_pooler_that_changes_connections_between_transactions_is_no_obstacle() {
    let Some(database) = postgres::database().await else { return };
    database.sql(&schema(200)).await;
    let Some(pooler) = PgBouncer::before(&database.url).await else { return };
    let url = through(&database.url, pooler.port);
    let targets = [target(&url, family()), target(&url, family()), target(&url, family())];
    let deleting = targets.iter().enumerate().map(|(place, target)| async move {
        for id in (place + 1..=200).step_by(3) {
            let batch = Batch { number: 1, removals: vec![delete(&[&id.to_string()])] };
            assert_eq!(target.apply(&batch).await.unwrap(), [removed(2)]);
        }
    });
    // At the same time, so that one gets the connection that another has just had.
    let [first, second, third] = deleting.collect::<Vec<_>>().try_into().ok().unwrap();
    tokio::join!(first, second, third);
    assert_eq!(database.lines("SELECT count(*) FROM listings").await, ["0"]);
}

/// Statements of a customer, again and again until it is stopped; errors are the customer's.
fn customer(
    url: &str,
    stop: &CancellationToken,
    say: impl Fn(u64) -> String + Send + 'static,
) -> tokio::task::JoinHandle<u64> {
    let (url, stop) = (url.to_owned(), stop.clone());
    tokio::spawn(async move {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let mut failed = 0;
        for round in 0_u64.. {
            if stop.is_cancelled() {
                break;
            }
            if sqlx::raw_sql(AssertSqlSafe(say(round))).execute(&mut connection).await.is_err() {
                failed += 1;
                sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
            }
        }
        failed
    })
}

#[tokio::test]
async fn a_customer_who_locks_deadlocks_and_inserts_children_loses_no_deletion() {
    const LISTINGS: u32 = 10_000;
    let Some(database) = postgres::database().await else { return };
    database.sql(&schema(10_000)).await;
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(&folder, Arc::new(target(&database.url, family()))).await;
    let stop = CancellationToken::new();
    let some = |round: u64, salt: u64| {
        round.wrapping_mul(2_654_435_761).wrapping_add(salt) % u64::from(LISTINGS) + 1
    };
    let customers = [
        // Against the order of the keys, two rows in one transaction.
        customer(&database.url, &stop, move |round| {
            let (low, high) = (some(round, 1).min(some(round, 7)), some(round, 1).max(some(round, 7)));
            format!(
                "BEGIN; UPDATE listings SET seen = seen + 1 WHERE id = {high};
                     SELECT pg_sleep(0.002); UPDATE listings SET seen = seen + 1 WHERE id = {low}; COMMIT"
            )
        }),
        customer(&database.url, &stop, move |round| {
            format!(
                "BEGIN; INSERT INTO images(listing_id) VALUES ({}); SELECT pg_sleep(0.001);
                     INSERT INTO images(listing_id) VALUES ({}); COMMIT",
                some(round, 3),
                some(round, 4)
            )
        }),
    ];
    rig.run();
    for start in (1..=10_000).step_by(500) {
        hear(&rig, start..=start + 499).await;
    }
    rig.quiet().await;
    stop.cancel();
    for customer in customers {
        customer.await.unwrap();
    }
    assert_eq!(outcomes(&rig).await, [("deleted".to_owned(), u64::from(LISTINGS))]);
    assert_eq!(
        database.lines("SELECT (SELECT count(*) FROM listings), (SELECT count(*) FROM images)").await,
        ["0|0"]
    );
    rig.stop().await;
}

#[tokio::test]
async fn deletions_pause_while_others_wait_for_locks() {
    let Some(database) = postgres::database().await else { return };
    database.sql(&schema(2)).await;
    let target = with_limits(&database.url, Limits { lock_waits: 1, ..Limits::default() });
    let stop = CancellationToken::new();
    let held = "BEGIN; SELECT pg_advisory_xact_lock(7); SELECT pg_sleep(3); COMMIT";
    let waiting: Vec<_> = (0..4).map(|_| customer(&database.url, &stop, move |_| held.to_owned())).collect();
    let waits = "SELECT count(*) > 1 FROM pg_locks WHERE NOT granted";
    until("they wait", async || database.lines(waits).await == ["t"]).await;
    let batch = Batch { number: 1, removals: vec![delete(&["1"])] };
    let deleting = target.apply(&batch);
    tokio::pin!(deleting);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut deleting).await.is_err(), "it pauses");
    assert_eq!(database.lines("SELECT count(*) FROM listings").await, ["2"]);
    for customer in waiting {
        customer.abort();
    }
    assert_eq!(deleting.await.unwrap(), [removed(2)]);
}

/// The first batch, large enough to be rested from for long, and the second, which must not come soon after it.
pub async fn rests_after_a_batch(url: &str) {
    let target = with_limits(url, Limits { rest: 100, ..Limits::default() });
    let many: Vec<String> = (1..=500).map(|id| id.to_string()).collect();
    let first = Batch { number: 1, removals: many.iter().map(|id| delete(&[id])).collect() };
    assert_eq!(target.apply(&first).await.unwrap(), vec![removed(2); 500], "nothing comes before it");
    let second = Batch { number: 2, removals: vec![delete(&["501"])] };
    let resting = target.apply(&second);
    assert!(tokio::time::timeout(Duration::from_millis(100), resting).await.is_err(), "it rests");
    // The rest was the connection's, which is given up with the batch.
    assert_eq!(target.apply(&second).await.unwrap(), [removed(2)]);
}

#[tokio::test]
async fn deletions_rest_while_others_are_at_work() {
    let Some(database) = postgres::database().await else { return };
    database.sql(&schema(501)).await;
    let stop = CancellationToken::new();
    let other = customer(&database.url, &stop, |_| "SELECT pg_sleep(600) AS at_work".to_owned());
    let at_work = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%AS at_work' AND state = 'active'
        AND pid <> pg_backend_pid()";
    until("it works", async || database.lines(at_work).await == ["1"]).await;
    rests_after_a_batch(&database.url).await;
    other.abort();
}

/// What the documentation says that the daemon needs.
#[tokio::test]
async fn the_privileges_that_are_documented_are_enough_and_no_more_than_needed() {
    let readme = crate::support::text_of("README.md");
    let block = readme.split("```sql\n").nth(1).expect("the README grants").split("```").next().unwrap();
    let grants = block.replace("PASSWORD 'secret'", "");
    if !Database::Postgres.available() {
        return;
    }
    let listings = "CREATE TABLE listings(id bigint PRIMARY KEY); INSERT INTO listings VALUES (1), (2);
        CREATE TABLE images(n bigint PRIMARY KEY, listing_id bigint REFERENCES listings); INSERT INTO images VALUES (10,1);
        CREATE TABLE bookings(n bigint PRIMARY KEY, listing_id bigint REFERENCES listings); INSERT INTO bookings VALUES (20,1);";
    let table = || {
        with_children(vec![
            child("images", "listing_id", OnDelete::Delete),
            child("bookings", "listing_id", OnDelete::Nullify),
        ])
    };
    let bench = Bench::new(Database::Postgres, listings, table()).await;
    // Roles belong to the whole server.
    let database = bench.url().rsplit('/').next().unwrap().to_owned();
    let role = format!("expunged_{database}");
    bench
        .sql(
            &grants
                .replace("DATABASE replica", &format!("DATABASE {database}"))
                .replace(" expunged", &format!(" {role}")),
        )
        .await;
    let own = target(&bench.url().replace("owner@", &format!("{role}@")), table());
    let batch = Batch { number: 1, removals: vec![delete(&["1"])] };
    assert_eq!(own.apply(&batch).await.unwrap(), [removed(2)]);
    assert_eq!(bench.lines("SELECT n, listing_id FROM bookings").await, ["20|NULL"]);
    bench.sql(&format!("REVOKE DELETE ON images FROM {role}")).await;
    let refused = own.apply(&Batch { number: 2, removals: vec![delete(&["2"])] }).await.unwrap();
    assert_eq!(super::bench::code(&refused[0]), "schema");
}
