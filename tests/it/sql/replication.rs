//! Deletions pause while replication is behind, and go on when it is not: standbys of PostgreSQL's primary, and
//! MariaDB's server itself, where it copies from another.

use std::sync::Arc;
use std::time::Duration;

use expunged::config::target::Limits;
use expunged::targets::{Target as _, TargetError};
use sqlx::{Connection as _, MySqlConnection, Row as _};

use super::bench::{self, Database};
use super::outages::{LEFT, hear, outcomes, rig, schema, with_limits};
use crate::support::rig::until;
use crate::support::servers::{self, Server, mariadb, postgres};

const LISTINGS: usize = 50;

/// Deletes all listings, as the user of this url, from a database whose replication is 2 seconds behind already, until
/// `catch_up`.
async fn pause_and_go_on(replica: &servers::Database, url: &str, catch_up: impl AsyncFnOnce()) {
    let limits = Limits { replication_lag: Duration::from_secs(1), ..Limits::default() };
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(&folder, Arc::new(with_limits(url, limits))).await;
    rig.run();
    hear(&rig, 1..=LISTINGS).await;
    // What the daemon's own log says when a batch has waited too long for it.
    let refused = with_limits(url, limits).ready().await;
    let reason = |why: &str| why.starts_with("replication is ") && why.ends_with(" s behind");
    assert!(matches!(&refused, Err(TargetError::Unavailable(why)) if reason(why)), "{refused:?}");
    assert_eq!(replica.lines(LEFT).await, [format!("{LISTINGS}|{LISTINGS}")], "nothing goes meanwhile");
    catch_up().await;
    rig.quiet().await;
    assert_eq!(outcomes(&rig).await, [("deleted".to_owned(), LISTINGS as u64)]);
    assert_eq!(replica.lines(LEFT).await, ["0|0"]);
    rig.stop().await;
}

#[tokio::test]
async fn i6_deletions_in_postgres_pause_while_a_standby_is_behind_and_none_is_lost() {
    if !Database::Postgres.available() {
        return;
    }
    let primary = Server::start(&postgres::Postgres).await;
    let standby = postgres::standby(&primary).await;
    let database = primary.database().await;
    database.sql(&schema(Database::Postgres, LISTINGS)).await;
    standby.sql("SELECT pg_wal_replay_pause()").await;
    let behind = "SELECT (max(replay_lag) > '2 seconds')::text FROM pg_stat_replication";
    until("the standby is behind", async || {
        database.sql("UPDATE listings SET seen = seen + 1").await;
        database.lines(behind).await == ["true"]
    })
    .await;
    // The right that the README names for it, and no more of its kind.
    let right = "GRANT pg_read_all_stats TO expunged;";
    assert!(crate::support::text_of("README.md").contains(right));
    let role = "CREATE ROLE expunged LOGIN; GRANT ALL ON listings, images TO expunged;";
    database.sql(&format!("{role} {right}")).await;
    let url = database.url.replace("owner@", "expunged@");
    pause_and_go_on(&database, &url, async || standby.sql("SELECT pg_wal_replay_resume()").await).await;
    let copy = standby.url(bench::name(&database.url));
    until("the standby has it too", async || {
        standby.kind.lines(&copy, LEFT).await.is_ok_and(|left| left == ["0|0"])
    })
    .await;
}

/// Seconds, as the server's own status says.
async fn behind(url: &str) -> u64 {
    let mut connection = MySqlConnection::connect(url).await.unwrap();
    let row = sqlx::raw_sql("SHOW REPLICA STATUS").fetch_one(&mut connection).await.unwrap();
    let name = if mariadb::is_mysql() { "Seconds_Behind_Source" } else { "Seconds_Behind_Master" };
    row.try_get_unchecked::<Option<u64>, _>(name).unwrap().unwrap_or(0)
}

#[tokio::test]
async fn i6_deletions_in_mariadb_pause_while_the_server_itself_is_behind_and_none_is_lost() {
    if !Database::MariaDb.available() {
        return;
    }
    let (source, replica) = mariadb::pair().await;
    let original = source.database().await;
    let copy = servers::Database { kind: replica.kind, url: replica.url(bench::name(&original.url)) };
    original.sql(&schema(Database::MariaDb, LISTINGS)).await;
    let there = [format!("{LISTINGS}|{LISTINGS}")];
    until("the replica has them", async || {
        copy.kind.lines(&copy.url, LEFT).await.is_ok_and(|left| left == there)
    })
    .await;
    // The replica cannot carry the update out while a row is held there.
    let mut holder = MySqlConnection::connect(&copy.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT id FROM listings WHERE id = 50 FOR UPDATE")
        .execute(&mut holder)
        .await
        .unwrap();
    original.sql("UPDATE listings SET seen = 1 WHERE id = 50").await;
    until("the replica is behind", async || behind(&copy.url).await > 2).await;
    let right = if mariadb::is_mysql() { "REPLICATION CLIENT" } else { "REPLICA MONITOR" };
    assert!(crate::support::text_of("README.md").contains(&format!("`{right}`")));
    let user =
        "CREATE USER expunged IDENTIFIED BY 'secret'; GRANT SELECT, UPDATE, DELETE ON *.* TO expunged;";
    copy.sql(&format!("{user} GRANT {right} ON *.* TO expunged")).await;
    let url = copy.url.replace("root@", "expunged:secret@");
    pause_and_go_on(&copy, &url, async || holder.close().await.unwrap()).await;
    assert_eq!(original.lines(LEFT).await, there, "the other server is not the target");
}
