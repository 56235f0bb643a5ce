//! Connections that are lost in a commit, servers that die, and customers that lock.

use std::sync::Arc;
use std::time::Duration;

use expunged::config::target::Limits;
use expunged::targets::{Batch, Target};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use tokio_util::sync::CancellationToken;

use super::super::bench::{delete, removed, target};
use super::super::outages::{family, hear, outcomes, rests_after_a_batch, rig, with_limits};
use crate::support::proxy::{Cut, Proxy};
use crate::support::rig::until;
use crate::support::servers::{self, Server, mariadb};

/// Rounds of each way to lose a connection.
const ROUNDS: usize = 100;

fn schema(listings: usize) -> String {
    format!(
        "CREATE TABLE listings(id bigint PRIMARY KEY, seen bigint NOT NULL DEFAULT 0);
         CREATE TABLE images(n bigint AUTO_INCREMENT PRIMARY KEY, listing_id bigint NOT NULL REFERENCES listings(id));
         INSERT INTO listings(id) SELECT seq FROM seq_1_to_{listings};
         INSERT INTO images(listing_id) SELECT id FROM listings;"
    )
}

fn over(url: &str) -> Arc<dyn Target> {
    Arc::new(target(url, family()))
}

const LEFT: &str = "SELECT (SELECT count(*) FROM listings), (SELECT count(*) FROM images)";

#[tokio::test]
async fn i8_a_connection_that_is_lost_before_or_after_a_commit_loses_nothing_and_counts_nothing_twice() {
    let Some(database) = mariadb::database().await else { return };
    database.sql(&schema(2 * ROUNDS)).await;
    let mut url = url::Url::parse(&database.url).unwrap();
    let proxy = Proxy::to(url.port().unwrap()).await;
    url.set_port(Some(proxy.port)).unwrap();
    url.set_query(Some("ssl-mode=DISABLED"));
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(&folder, over(url.as_str())).await;
    rig.run();
    for round in 1..=2 * ROUNDS {
        proxy.cut(if round % 2 == 0 { Cut::Before(b"\x03COMMIT") } else { Cut::After(b"\x03COMMIT") });
        hear(&rig, round..=round).await;
        rig.quiet().await;
    }
    let each = ROUNDS as u64;
    assert_eq!(outcomes(&rig).await, [("already_deleted".to_owned(), each), ("deleted".to_owned(), each)]);
    assert_eq!(database.lines(LEFT).await, ["0|0"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_server_that_is_killed_while_deletions_come_in_delays_them_and_nothing_else() {
    if !servers::available(&mariadb::MariaDb) {
        return;
    }
    let server = Server::start(&mariadb::MariaDb).await;
    let database = server.database().await;
    // What it told as committed must outlive it, as on a server of a customer's.
    database.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2").await;
    database.sql(&schema(3_000)).await;
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(&folder, over(&database.url)).await;
    rig.run();
    for part in 0..3 {
        hear(&rig, 1_000 * part + 1..=1_000 * part + 1_000).await;
        until("some are gone", async || {
            outcomes(&rig).await.iter().map(|(_, count)| count).sum::<u64>() > 1_000 * part as u64
        })
        .await;
        server.kill().await;
        server.restart().await;
        database.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2").await;
    }
    rig.quiet().await;
    let told = outcomes(&rig).await;
    let known = |outcome: &str| ["deleted", "already_deleted"].contains(&outcome);
    assert!(told.iter().all(|(outcome, _)| known(outcome)), "{told:?}");
    assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), 3_000);
    assert_eq!(database.lines(LEFT).await, ["0|0"]);
    rig.stop().await;
}

/// Statements of a customer, again and again until it is stopped; errors are the customer's.
fn customer(
    url: &str,
    stop: &CancellationToken,
    say: impl Fn(u64) -> String + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let (url, stop) = (url.to_owned(), stop.clone());
    tokio::spawn(async move {
        let mut connection = MySqlConnection::connect(&url).await.unwrap();
        for round in 0_u64.. {
            if stop.is_cancelled() {
                break;
            }
            if sqlx::raw_sql(AssertSqlSafe(say(round))).execute(&mut connection).await.is_err() {
                sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
            }
        }
    })
}

#[tokio::test]
async fn a_customer_who_locks_deadlocks_and_inserts_children_loses_no_deletion() {
    const LISTINGS: usize = 10_000;
    let Some(database) = mariadb::database().await else { return };
    database.sql(&schema(LISTINGS)).await;
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(&folder, over(&database.url)).await;
    let stop = CancellationToken::new();
    let some =
        |round: u64, salt: u64| round.wrapping_mul(2_654_435_761).wrapping_add(salt) % LISTINGS as u64 + 1;
    let customers = [
        // Against the order of the keys, two rows in one transaction.
        customer(&database.url, &stop, move |round| {
            let (low, high) = (some(round, 1).min(some(round, 7)), some(round, 1).max(some(round, 7)));
            format!(
                "BEGIN; UPDATE listings SET seen = seen + 1 WHERE id = {high};
                     DO SLEEP(0.002); UPDATE listings SET seen = seen + 1 WHERE id = {low}; COMMIT"
            )
        }),
        customer(&database.url, &stop, move |round| {
            format!(
                "BEGIN; INSERT INTO images(listing_id) VALUES ({}); DO SLEEP(0.001);
                     INSERT INTO images(listing_id) VALUES ({}); COMMIT",
                some(round, 3),
                some(round, 4)
            )
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
    assert_eq!(database.lines(LEFT).await, ["0|0"]);
    rig.stop().await;
}

#[tokio::test]
async fn deletions_rest_while_others_are_at_work() {
    let Some(database) = mariadb::database().await else { return };
    database.sql(&schema(501)).await;
    let stop = CancellationToken::new();
    let other = customer(&database.url, &stop, |_| "DO SLEEP(600)".to_owned());
    let at_work = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE info = 'DO SLEEP(600)'";
    until("it works", async || database.lines(at_work).await == ["1"]).await;
    rests_after_a_batch(&database.url).await;
    other.abort();
}

#[tokio::test]
async fn deletions_pause_while_others_wait_for_locks() {
    let Some(database) = mariadb::database().await else { return };
    database.sql(&schema(2)).await;
    let target = with_limits(&database.url, Limits { lock_waits: 1, ..Limits::default() });
    let stop = CancellationToken::new();
    let held = "BEGIN; SELECT id FROM listings WHERE id = 2 FOR UPDATE; DO SLEEP(1); COMMIT";
    let waiting: Vec<_> = (0..4).map(|_| customer(&database.url, &stop, move |_| held.to_owned())).collect();
    // Not INNODB_TRX, which shows what it showed before to whoever looks ten times a second.
    let waits = "SELECT variable_value > 1 FROM information_schema.GLOBAL_STATUS WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'";
    until("they wait", async || database.lines(waits).await == ["1"]).await;
    let batch = Batch { number: 1, removals: vec![delete(&["1"])] };
    let deleting = target.apply(&batch);
    tokio::pin!(deleting);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut deleting).await.is_err(), "it pauses");
    assert_eq!(database.lines("SELECT count(*) FROM listings").await, ["2"]);
    stop.cancel();
    for customer in waiting {
        customer.await.unwrap();
    }
    assert_eq!(deleting.await.unwrap(), [removed(2)]);
}
