//! The real program on real files: a home with replica, index and state, processes that can be killed at
//! any moment, and what the journal says afterwards.
//!
//! Looks at the program from outside only: its files, its exit codes, its standard error and its routes.

#![allow(clippy::unwrap_used, reason = "support of tests")]

pub mod daemon;
pub mod home;
pub mod journal;
pub mod parts;
mod replica;

use std::time::Duration;

pub use daemon::{Addresses, Daemon};
pub use home::{Home, Setup};
pub use journal::Journal;

/// How long anything may take before a test fails: far more than it ever needs.
const PATIENCE: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until it is so.
pub async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !look().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "waited in vain for: {what}");
}

/// A deletion of these listings, as the upstream tells it; the same listings always give the same bytes.
pub fn deletion(numbers: &[u32]) -> String {
    let record = |number: &u32| {
        format!(r#"{{"board":{},"number":"W{number}","deleted_at":"{}"}}"#, home::BOARD, home::DELETED_AT)
    };
    format!(r#"{{"data":[{}]}}"#, numbers.iter().map(record).collect::<Vec<_>>().join(","))
}

/// Posts with the source's secret.
pub async fn post(
    client: &reqwest::Client,
    to: &Addresses,
    body: String,
) -> Result<reqwest::Response, reqwest::Error> {
    let url = format!("http://{}/hooks/board/listing.deleted", to.hooks);
    client.post(url).header("x-hook-secret", home::SECRET).body(body).send().await
}

/// The number of the journal's entry that an answer of 202 names; `None` for any other answer.
pub async fn receipt(answer: reqwest::Response) -> Option<i64> {
    if answer.status() != 202 {
        return None;
    }
    let text = answer.text().await.ok()?;
    let answer: serde_json::Value = serde_json::from_str(&text).ok()?;
    answer["receipt"].as_str()?.parse().ok()
}

/// What an operator's route answers: the status and the JSON.
pub async fn ask(client: &reqwest::Client, to: &Addresses, path: &str) -> (u16, serde_json::Value) {
    let answer = client.get(format!("http://{}{path}", to.admin)).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

/// Waits until everything heard is folded, decided and settled at every target.
pub async fn settled(client: &reqwest::Client, daemon: &Daemon, to: &Addresses) {
    let mut idle_at = None;
    until("everything to be settled", async || {
        assert!(daemon.log().iter().all(|line| !line.contains("panicked")), "{:#?}", daemon.log());
        let (_, status) = ask(client, to, "/api/v1/status").await;
        let done = status["targets"].as_array().is_some_and(|all| all.iter().all(|it| it["due"] == 0));
        let idle = done && status["awaiting"] == 0 && status["folded"] == status["journal_head"];
        // One answer is put together from several looks: two without an entry between them are the truth.
        let before = std::mem::replace(&mut idle_at, idle.then(|| status["journal_head"].clone()));
        idle && before.is_some_and(|head| head == status["journal_head"])
    })
    .await;
}
