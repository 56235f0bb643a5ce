//! SQL replicas on real servers.

use crate::support::servers::{Server, postgres};

#[tokio::test]
async fn a_server_that_is_killed_comes_back_with_what_was_committed() {
    if !crate::support::servers::available(&postgres::Postgres) {
        return;
    }
    let server = Server::start(&postgres::Postgres).await;
    let database = server.database().await;
    database.sql("CREATE TABLE t(id bigint); INSERT INTO t VALUES (1), (NULL)").await;
    server.kill().await;
    server.restart().await;
    assert_eq!(database.lines("SELECT id FROM t ORDER BY id").await, ["1", "NULL"]);
}
