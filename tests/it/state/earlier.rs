//! State that an earlier version wrote: it is taken over as it is.

use std::collections::BTreeMap;

use expunged::domain::event::Topology;
use expunged::domain::{Entity, Event, Outcome};
use expunged::fold;
use expunged::store::Draft;
use expunged::store::sqlite::projections_path;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection};

use super::{heard, open};
use crate::support::mirror;
use crate::support::rig::listing;

#[tokio::test]
async fn a_journal_that_an_earlier_version_began_keeps_its_pages_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = mirror::time("2024-05-16T10:00:00Z");
    for (earlier, pages) in [(Some(4_096), "4096"), (None, "16384")] {
        let folder = folder.path().join(pages);
        std::fs::create_dir(&folder).unwrap();
        let file = SqliteConnectOptions::new().filename(folder.join("state.db")).create_if_missing(true);
        if let Some(bytes) = earlier {
            let began = file.clone().page_size(bytes).journal_mode(SqliteJournalMode::Wal);
            let mut database = began.connect().await.unwrap();
            sqlx::query("CREATE TABLE begun (id)").execute(&mut database).await.unwrap();
            database.close().await.unwrap();
        }
        let store = open(&folder).await;
        assert_eq!(store.append(vec![heard("1", at), heard("2", at)]).await.unwrap(), [1, 2]);
        let asked = "SELECT CAST(page_size AS TEXT) FROM pragma_page_size()";
        assert_eq!(mirror::texts(&mut file.connect().await.unwrap(), asked).await, [pages]);
    }
}

#[test]
fn the_end_of_a_run_is_read_and_written_as_by_an_earlier_version_unless_its_checkpoint_moves_back() {
    let earlier = r#"{"run":1,"source":"repliers","pages":1,"found":8,"checkpoint":1715853600000000}"#;
    let event = Event::decode("run_ended", earlier).unwrap();
    assert_eq!(event.encode(), earlier);
    let Event::RunEnded(mut ended) = event else { panic!("{event:?}") };
    assert!(!ended.back);
    ended.back = true;
    let event = Event::RunEnded(ended);
    assert_eq!(Event::decode("run_ended", &event.encode()).unwrap(), event);
}

/// What version 2 of the projections kept of each record: waiting anew, waiting after a failure, parked, and gone.
const TASKS_OF_VERSION_2: &str =
    "INSERT INTO tasks (target, tombstone, entity, key, action, at, upstream_time, cause, heard_at, state,
      attempts, due_at, removed, outcome, code, message, settled)
    SELECT value ->> 0, t.id, t.entity, t.key, t.action, t.at, t.upstream_time, t.cause, t.heard_at, value ->> 1,
      value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8
    FROM tombstones AS t, json_each('[[\"anew\", \"due\", 0, 0, 1, null, null, null, null],
      [\"failing\", \"due\", 3, 7, 0, \"failed\", \"lock\", \"locked\", 4],
      [\"parked\", \"parked\", 12, 0, 0, \"failed\", \"foreign_key\", \"kept\", 5],
      [\"gone\", \"done\", 1, 0, 1, \"deleted\", null, null, 6]]')";

#[tokio::test]
async fn projections_of_an_earlier_version_keep_what_waits_and_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = mirror::time("2024-05-16T10:00:00Z");
    let store = open(folder.path()).await;
    store.append(vec![heard("W1", at), heard("W2", at)]).await.unwrap();
    let targets = ["anew", "failing", "gone", "parked"];
    let entities = BTreeMap::from([(Entity::new("listing"), false)]);
    let topology = Topology {
        targets: targets.map(|target| (target.to_owned(), entities.clone())).into(),
        ..Topology::default()
    };
    store.append(vec![Draft { at, event: Event::Configured(topology), body: None }]).await.unwrap();
    fold::catch_up(&store).await.unwrap();
    drop(store);
    let file = SqliteConnectOptions::new().filename(projections_path(&folder.path().join("state.db")));
    let mut database = file.connect().await.unwrap();
    let back = "DROP TABLE queue; DROP TABLE outcomes; DELETE FROM _sqlx_migrations WHERE version = 3;
        UPDATE tombstones SET action = 'relisted' WHERE key ->> 1 = 'W2';";
    let then = concat!(
        include_str!("../../../migrations/projections/0001_projections.sql"),
        include_str!("../../../migrations/projections/0002_due_in_one_index.sql")
    );
    let without_comments: Vec<&str> = then.lines().filter_map(|line| line.split("--").next()).collect();
    let then = without_comments.join("\n");
    let of_tasks = then.split(';').filter(|statement| statement.contains(" tasks"));
    for sql in [back].into_iter().chain(of_tasks).chain([TASKS_OF_VERSION_2]) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut database).await.unwrap();
    }
    database.close().await.unwrap();

    let store = open(folder.path()).await;
    let (failed, gone, superseded) =
        (Some(Outcome::Failed), Some(Outcome::Deleted), Some(Outcome::Superseded));
    let kept = [
        ("anew", "due", 0, None, None, None),
        ("failing", "due", 3, failed, Some(("lock", true)), Some(4)),
        ("gone", "done", 1, gone, None, Some(6)),
        ("parked", "parked", 12, failed, Some(("foreign_key", false)), Some(5)),
    ];
    // Listed again, in entry 2: what had come back to the queue all the same.
    let mended = [
        ("anew", "done", 0, superseded, None, Some(2)),
        ("failing", "done", 3, superseded, None, Some(2)),
        ("gone", "done", 1, gone, None, Some(6)),
        ("parked", "done", 12, superseded, None, Some(2)),
    ];
    for (mls, expected) in [("W1", kept), ("W2", mended)] {
        let known = store.story(&Entity::new("listing"), &listing(mls)).await.unwrap().unwrap();
        let told = known.tasks.iter().map(|task| {
            let failure = task.failure.as_ref().map(|it| (it.code.as_str(), it.retry_at.is_some()));
            (task.target.as_str(), task.state.as_str(), task.attempts, task.outcome, failure, task.settled)
        });
        assert_eq!(told.collect::<Vec<_>>(), expected, "{mls}");
    }
    let due = store.due("anew", None, at, 9).await.unwrap();
    assert!(matches!(&due[..], [task] if task.removed && task.key == listing("W1")), "{due:?}");
}
