//! Servers that die, or vanish in the middle of a commit, and customers that lock: the same on every server.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use expunged::config::Secret;
use expunged::config::target::{Limits, OnDelete, Sql, Table};
use expunged::domain::{Action, Door, Entity, Key, Timestamp};
use expunged::targets::sql::SqlTarget;
use expunged::targets::{Batch, Effect, Removal, Target, TargetError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::bench::{Database, child, delete, removed, target, with_children};
use crate::support::between::{Between, Seen};
use crate::support::mirror;
use crate::support::proxy::{Cut, Proxy};
use crate::support::rig::{Rig, notice, until};
use crate::support::servers::{self, Server};

super::on_every_server!(
    i8_a_connection_that_is_lost_before_or_after_a_commit_loses_nothing_and_counts_nothing_twice,
    a_server_that_is_killed_while_deletions_come_in_delays_them_and_nothing_else,
    a_customer_who_locks_deadlocks_and_inserts_children_loses_no_deletion,
    deletions_pause_while_others_wait_for_locks,
    a_batch_that_takes_too_long_makes_the_next_one_smaller,
    i6_a_batch_that_runs_out_of_time_is_refused_and_the_next_one_is_smaller,
    deletions_rest_while_others_are_at_work,
    a_disk_that_is_full_halts_the_target_and_loses_nothing,
);

/// Rounds of each way to lose a connection.
const ROUNDS: usize = 100;
/// Rows that one INSERT takes: every server's packet is larger.
const TOGETHER: usize = 10_000;
/// Listings and images that are left.
pub const LEFT: &str = "SELECT (SELECT count(*) FROM listings), (SELECT count(*) FROM images)";

/// Listings from 1 on with an image each.
pub fn schema(database: Database, listings: usize) -> String {
    let numbered = match database {
        Database::MariaDb => "bigint AUTO_INCREMENT PRIMARY KEY",
        _ => "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    };
    let ids: Vec<String> = (1..=listings).map(|id| format!("({id})")).collect();
    let rows: Vec<String> = ids
        .chunks(TOGETHER)
        .map(|ids| format!("INSERT INTO listings(id) VALUES {};", ids.join(", ")))
        .collect();
    format!(
        "CREATE TABLE listings(id bigint PRIMARY KEY, seen bigint NOT NULL DEFAULT 0);
         CREATE TABLE images(n {numbered}, listing_id bigint NOT NULL, FOREIGN KEY (listing_id) REFERENCES listings(id));
         CREATE INDEX images_of ON images(listing_id); {}
         INSERT INTO images(listing_id) SELECT id FROM listings;",
        rows.concat()
    )
}

/// A statement that takes this time.
fn sleep(database: Database, seconds: &str) -> String {
    match database {
        Database::MariaDb => format!("DO SLEEP({seconds})"),
        _ => format!("SELECT pg_sleep({seconds})"),
    }
}

pub fn family() -> Table {
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

pub async fn hear(rig: &Rig, ids: RangeInclusive<usize>) {
    let key = |id: usize| Key::new(vec![id.to_string()]).unwrap();
    let notices = ids.map(|id| notice(&key(id), Action::Delete, Timestamp::from_seconds(1))).collect();
    rig.record(Door::Webhook, notices).await;
}

pub async fn outcomes(rig: &Rig) -> Vec<(String, u64)> {
    let outcomes = rig.parts.store.tally().await.unwrap().outcomes;
    outcomes.into_iter().map(|(_, outcome, count)| (outcome, count)).collect()
}

/// The same database by another port, in the clear: what passes can be read.
pub fn through(database: Database, url: &str, port: u16) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_port(Some(port)).unwrap();
    url.set_query(Some(if database == Database::MariaDb { "ssl-mode=DISABLED" } else { "sslmode=disable" }));
    url.into()
}

async fn i8_a_connection_that_is_lost_before_or_after_a_commit_loses_nothing_and_counts_nothing_twice(
    database: Database,
) {
    let replica = database.fresh().await;
    replica.sql(&schema(database, 2 * ROUNDS)).await;
    let proxy = Proxy::to(url::Url::parse(&replica.url).unwrap().port().unwrap()).await;
    let commit: &'static [u8] = if database == Database::MariaDb { b"\x03COMMIT" } else { b"COMMIT\0" };
    let folder = tempfile::tempdir().unwrap();
    let over = target(&through(database, &replica.url, proxy.port), family());
    let mut rig = rig(&folder, Arc::new(over)).await;
    rig.run();
    for round in 1..=2 * ROUNDS {
        proxy.cut(if round % 2 == 0 { Cut::Before(commit) } else { Cut::After(commit) });
        hear(&rig, round..=round).await;
        rig.quiet().await;
    }
    let each = ROUNDS as u64;
    assert_eq!(outcomes(&rig).await, [("already_deleted".to_owned(), each), ("deleted".to_owned(), each)]);
    assert_eq!(replica.lines(LEFT).await, ["0|0"]);
    rig.stop().await;
}

async fn a_server_that_is_killed_while_deletions_come_in_delays_them_and_nothing_else(database: Database) {
    // What it told as committed must outlive it, as on a server of a customer's.
    let durable: &[&str] = match database {
        Database::MariaDb => &["--innodb-flush-log-at-trx-commit=2"],
        _ => &[],
    };
    let server = Server::start_with(database.kind(), durable).await;
    let replica = server.database().await;
    replica.sql(&schema(database, 3_000)).await;
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(&folder, Arc::new(target(&replica.url, family()))).await;
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
    let known = |outcome: &str| ["deleted", "already_deleted"].contains(&outcome);
    assert!(told.iter().all(|(outcome, _)| known(outcome)), "{told:?}");
    assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), 3_000);
    assert_eq!(replica.lines(LEFT).await, ["0|0"]);
    rig.stop().await;
}

/// Statements of a customer, again and again until it is stopped. Errors are the customer's, whose connection ends
/// with them.
fn customer(
    replica: &servers::Database,
    stop: &CancellationToken,
    say: impl Fn(u64) -> String + Send + 'static,
) -> JoinHandle<()> {
    let (kind, url, stop) = (replica.kind, replica.url.clone(), stop.clone());
    tokio::spawn(async move {
        for round in 0_u64.. {
            if stop.is_cancelled() {
                break;
            }
            kind.execute(&url, &say(round)).await.ok();
        }
    })
}

/// A target that keeps the errors of its batches, which the log tells.
struct Heard {
    target: SqlTarget,
    errors: Mutex<Vec<TargetError>>,
}

#[async_trait]
impl Between for Heard {
    fn behind(&self) -> &dyn Target {
        &self.target
    }

    async fn apply(&self, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
        let result = self.target.apply(batch).await;
        self.errors.lock().unwrap().extend(result.as_ref().err().cloned());
        result
    }
}

async fn a_customer_who_locks_deadlocks_and_inserts_children_loses_no_deletion(database: Database) {
    const LISTINGS: usize = 10_000;
    let replica = database.fresh().await;
    replica.sql(&schema(database, LISTINGS)).await;
    let folder = tempfile::tempdir().unwrap();
    let heard = Heard { target: target(&replica.url, family()), errors: Mutex::default() };
    let heard = Arc::new(Seen(heard));
    let mut rig = rig(&folder, heard.clone()).await;
    let stop = CancellationToken::new();
    let some =
        |round: u64, salt: u64| round.wrapping_mul(2_654_435_761).wrapping_add(salt) % LISTINGS as u64 + 1;
    let pause = sleep(database, "0.002");
    let between = pause.clone();
    let customers = [
        // Against the order of the keys, two rows in one transaction.
        customer(&replica, &stop, move |round| {
            let (low, high) = (some(round, 1).min(some(round, 7)), some(round, 1).max(some(round, 7)));
            let update = |id| format!("UPDATE listings SET seen = seen + 1 WHERE id = {id}");
            format!("BEGIN; {}; {pause}; {}; COMMIT", update(high), update(low))
        }),
        customer(&replica, &stop, move |round| {
            let insert = |salt| format!("INSERT INTO images(listing_id) VALUES ({})", some(round, salt));
            format!("BEGIN; {}; {between}; {}; COMMIT", insert(3), insert(4))
        }),
    ];
    rig.run();
    for start in (1..=LISTINGS).step_by(500) {
        hear(&rig, start..=start + 499).await;
    }
    rig.quiet().await;
    stop.cancel();
    for customer in customers {
        customer.await.unwrap();
    }
    assert_eq!(outcomes(&rig).await, [("deleted".to_owned(), LISTINGS as u64)]);
    assert_eq!(replica.lines(LEFT).await, ["0|0"]);
    let errors = std::mem::take(&mut *heard.0.errors.lock().unwrap());
    let known = |error: &TargetError| matches!(error, TargetError::Unavailable(why) if why.contains("another transaction") || why.contains("lock"));
    assert!(errors.iter().all(known), "{errors:?}");
    rig.stop().await;
}

async fn deletions_pause_while_others_wait_for_locks(database: Database) {
    let replica = database.fresh().await;
    replica.sql(&schema(database, 2)).await;
    let target = with_limits(&replica.url, Limits { lock_waits: 1, ..Limits::default() });
    let stop = CancellationToken::new();
    let held =
        format!("BEGIN; SELECT id FROM listings WHERE id = 2 FOR UPDATE; {}; COMMIT", sleep(database, "1"));
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let held = held.clone();
            customer(&replica, &stop, move |_| held.clone())
        })
        .collect();
    let waits = match database {
        Database::MariaDb => "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'",
        _ => "SELECT 'waits', count(*)::text FROM pg_locks WHERE NOT granted",
    };
    until("they wait", async || {
        let lines = replica.lines(waits).await;
        lines[0].rsplit('|').next().unwrap().parse::<u32>().unwrap() > 1
    })
    .await;
    let ready = target.ready();
    tokio::pin!(ready);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut ready).await.is_err(), "it pauses");
    stop.cancel();
    for customer in waiting {
        customer.await.unwrap();
    }
    ready.await.unwrap();
    let batch = Batch { number: 1, removals: vec![delete(&["1"])] };
    assert_eq!(target.apply(&batch).await.unwrap(), [removed(2)]);
}

async fn a_batch_that_takes_too_long_makes_the_next_one_smaller(database: Database) {
    let replica = database.fresh().await;
    replica.sql(&schema(database, 500)).await;
    // Less than any server needs for 500 records.
    let target =
        with_limits(&replica.url, Limits { batch_time: Duration::from_micros(100), ..Limits::default() });
    let before = target.batch_max();
    let removals: Vec<Removal> = (1..=500).map(|id: u32| delete(&[&id.to_string()])).collect();
    let effects = target.apply(&Batch { number: 1, removals }).await.unwrap();
    assert!(effects.iter().all(|effect| *effect == removed(2)));
    assert!(target.batch_max() < before, "{} after {before}", target.batch_max());
}

async fn i6_a_batch_that_runs_out_of_time_is_refused_and_the_next_one_is_smaller(database: Database) {
    let slow = match database {
        Database::MariaDb => {
            "CREATE TRIGGER slow BEFORE DELETE ON listings FOR EACH ROW SIGNAL SQLSTATE '70100' SET MYSQL_ERRNO = 1969"
        }
        _ => {
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN RAISE EXCEPTION USING ERRCODE = ''query_canceled''; END';
             CREATE TRIGGER slow BEFORE DELETE ON listings FOR EACH ROW EXECUTE FUNCTION slow()"
        }
    };
    let replica = database.fresh().await;
    replica.sql(&format!("{}{slow}", schema(database, 500))).await;
    let limits = Limits { batch_time: Duration::from_micros(100), ..Limits::default() };
    let target = with_limits(&replica.url, limits);
    let before = target.batch_max();
    let removals: Vec<Removal> = (1..=500).map(|id: u32| delete(&[&id.to_string()])).collect();
    let error = target.apply(&Batch { number: 1, removals }).await.unwrap_err();
    assert!(matches!(&error, TargetError::Refused { code: "too_slow", .. }), "{error:?}");
    assert!(target.batch_max() < before, "{} after {before}", target.batch_max());
    assert_eq!(replica.lines(LEFT).await, ["500|500"]);
}

/// The first batch, large enough to be rested from for long, and the second, which must not come soon after it.
/// Meanwhile the brake asks, for this target and all others.
async fn rests_after_a_batch(url: &str) {
    let target = with_limits(url, Limits { rest: 100, ..Limits::default() });
    let many: Vec<String> = (1..=500).map(|id| id.to_string()).collect();
    let first = Batch { number: 1, removals: many.iter().map(|id| delete(&[id])).collect() };
    target.ready().await.unwrap();
    assert_eq!(target.apply(&first).await.unwrap(), vec![removed(2); 500], "nothing comes before it");
    let second = Batch { number: 2, removals: vec![delete(&["501"])] };
    tokio::select! {
        biased;
        _ = target.ready() => panic!("it rests"),
        weights = target.weigh(&second.removals) => assert_eq!(weights.unwrap(), [2]),
    }
    assert_eq!(target.apply(&second).await.unwrap(), [removed(2)]);
}

async fn deletions_rest_while_others_are_at_work(database: Database) {
    let replica = database.fresh().await;
    replica.sql(&schema(database, 501)).await;
    let stop = CancellationToken::new();
    let work = sleep(database, "600");
    let at_work = match database {
        Database::MariaDb => {
            "SELECT count(*) FROM information_schema.PROCESSLIST WHERE info = 'DO SLEEP(600)'"
        }
        _ => {
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'"
        }
    };
    let other = customer(&replica, &stop, move |_| work.clone());
    until("it works", async || replica.lines(at_work).await == ["1"]).await;
    rests_after_a_batch(&replica.url).await;
    other.abort();
}

async fn a_disk_that_is_full_halts_the_target_and_loses_nothing(database: Database) {
    let (full, mended) = match database {
        Database::MariaDb => (
            "CREATE TRIGGER disk BEFORE DELETE ON listings FOR EACH ROW SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1021",
            "DROP TRIGGER disk",
        ),
        _ => (
            "CREATE FUNCTION disk() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN RAISE EXCEPTION USING ERRCODE = ''disk_full''; END';
             CREATE TRIGGER disk BEFORE DELETE ON listings FOR EACH ROW EXECUTE FUNCTION disk()",
            "DROP TRIGGER disk ON listings",
        ),
    };
    let replica = database.fresh().await;
    replica.sql(&format!("{}{full}", schema(database, 2))).await;
    let target = target(&replica.url, family());
    let batch = Batch { number: 1, removals: vec![delete(&["1"])] };
    let error = target.apply(&batch).await.unwrap_err();
    assert!(matches!(&error, TargetError::Halted(why) if why.contains("disk is full")), "{error:?}");
    assert_eq!(replica.lines(LEFT).await, ["2|2"]);
    replica.sql(mended).await;
    assert_eq!(target.apply(&batch).await.unwrap(), [removed(2)]);
    assert_eq!(replica.lines(LEFT).await, ["1|1"]);
}
