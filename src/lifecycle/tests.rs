//! How the daemon ends, and what the service manager hears of it.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Longer than any of these tests takes.
const LONG: Duration = Duration::from_mins(1);

/// Ends when the drain is asked for, after `finish`.
async fn polite(stop: Stop, finish: impl Future<Output = ()>) -> Result<(), Infallible> {
    stop.drain.cancelled().await;
    finish.await;
    Ok(())
}

#[tokio::test]
async fn a_clean_drain_lets_tasks_finish_and_exits_0() {
    let stop = Stop::default();
    let finished = Arc::new(AtomicUsize::new(0));
    let mut tasks = Tasks::new(stop.clone());
    for name in ["one", "two"] {
        let count = Arc::clone(&finished);
        tasks.spawn(
            name,
            polite(stop.clone(), async move {
                tokio::task::yield_now().await;
                count.fetch_add(1, Ordering::SeqCst);
            }),
        );
    }
    stop.drain.cancel();
    let ending = tasks.run(LONG).await;
    assert_eq!(ending, Ending::Drained);
    assert_eq!(ending.exit_code(), 0);
    assert_eq!(finished.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_task_that_dies_drains_the_others_and_exits_1() {
    type Death = fn() -> Result<(), &'static str>;
    let deaths: [(Death, &str); 3] = [
        (|| Err("disk full"), "disk full"),
        (|| panic!("secret text of a panic"), "panicked"),
        (|| Ok(()), "ended though nobody asked it to"),
    ];
    for (death, expected) in deaths {
        let stop = Stop::default();
        let finished = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&finished);
        let mut tasks = Tasks::new(stop.clone());
        tasks.spawn(
            "healthy",
            polite(stop, async move {
                count.fetch_add(1, Ordering::SeqCst);
            }),
        );
        tasks.spawn("applier", async move { death() });
        let ending = tasks.run(LONG).await;
        assert_eq!(ending, Ending::Failed { task: "applier".to_owned(), why: expected.to_owned() });
        assert_eq!(ending.exit_code(), 1);
        assert_eq!(finished.load(Ordering::SeqCst), 1, "the healthy task was drained");
    }
}

#[tokio::test]
async fn an_error_while_draining_is_a_failure() {
    let stop = Stop::default();
    let mut tasks = Tasks::new(stop.clone());
    let drain = stop.drain.clone();
    tasks.spawn("applier", async move {
        drain.cancelled().await;
        Err("disk full")
    });
    stop.drain.cancel();
    assert_eq!(tasks.run(LONG).await.exit_code(), 1);
}

#[tokio::test]
async fn a_task_that_ignores_the_drain_is_cut_at_the_deadline_and_named() {
    let stop = Stop::default();
    let mut tasks = Tasks::new(stop.clone());
    tasks.spawn("polite", polite(stop.clone(), async {}));
    tasks.spawn("deaf", std::future::pending::<Result<(), Infallible>>());
    stop.drain.cancel();
    let ending = tasks.run(Duration::from_millis(20)).await;
    assert_eq!(ending, Ending::Cut { tasks: vec!["deaf".to_owned()] });
    assert_eq!(ending.exit_code(), 1);
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_cuts_at_once() {
    let stop = Stop::on_signals().unwrap();
    let mut tasks = Tasks::new(stop.clone());
    tasks.spawn("deaf", std::future::pending::<Result<(), Infallible>>());
    let running = tokio::spawn(tasks.run(LONG));
    let kill = |name: &str| {
        let pid = std::process::id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    kill("-TERM");
    stop.drain.cancelled().await;
    assert!(!stop.cut.is_cancelled());
    kill("-INT");
    assert_eq!(running.await.unwrap(), Ending::Cut { tasks: vec!["deaf".to_owned()] });
}

const CHILD: &str = "lifecycle::tests::runs_under_a_service_manager";

#[test]
fn the_service_manager_hears_when_it_is_ready_alive_and_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--ignored"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "20000")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let heard = || {
        let mut text = [0; 256];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    assert_eq!(heard(), "READY=1");
    assert_eq!(heard(), "WATCHDOG=1");
    assert_eq!(heard(), "WATCHDOG=1");
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let last = std::iter::repeat_with(heard).find(|text| text != "WATCHDOG=1").unwrap();
    assert_eq!(last, "STOPPING=1");
    let end = child.wait_with_output().unwrap();
    assert!(end.status.success(), "{end:?}");
}

#[tokio::test]
#[ignore = "is run by the test above, in a process of its own"]
async fn runs_under_a_service_manager() {
    let stop = Stop::on_signals().unwrap();
    let mut tasks = Tasks::new(stop.clone());
    tasks.spawn("polite", polite(stop, async {}));
    assert_eq!(tasks.run(LONG).await, Ending::Drained);
}
