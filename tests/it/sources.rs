//! Every upstream as it is documented, over HTTP against its simulator: what it says ends where it should.

mod hookbridge;
mod keeper;
mod killed;
mod leadlex;
mod plan;
mod pulling;
mod repliers;
mod subscribing;

use std::sync::Arc;

use expunged::app::{self, Listening};
use expunged::clock::{ManualClock, SharedClock};
use expunged::config::Config;
use expunged::domain::Event;
use expunged::domain::event::Heard;
use expunged::lifecycle::{Ending, Stop};
use expunged::sources::http::plain_client;
use expunged::store::sqlite::{OpenOptions, SqliteStore};
use expunged::store::{SharedStore, Store};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::{mirror, rig::until};

/// A whole daemon in this process, as `serve` runs it, in the year of the simulators.
struct Daemon {
    clock: Arc<ManualClock>,
    listening: Listening,
    stop: Stop,
    task: JoinHandle<anyhow::Result<Ending>>,
    client: reqwest::Client,
    store: SharedStore,
}

impl Daemon {
    async fn serve(config: Config) -> Self {
        Self::serve_at(config, mirror::clock()).await
    }

    async fn serve_at(config: Config, clock: Arc<ManualClock>) -> Self {
        let stop = Stop::default();
        let path = config.state.path.clone();
        let (told, listening) = tokio::sync::oneshot::channel();
        let shared: SharedClock = clock.clone();
        let serving = app::serve(config, shared, stop.clone(), move |at| told.send(at).unwrap());
        let task = tokio::spawn(serving);
        let listening = listening.await.unwrap();
        let options = OpenOptions { daemon: false, queue_max: 8 };
        let store = Arc::new(SqliteStore::open(&path, options).await.unwrap().0);
        Self { clock, listening, stop, task, client: plain_client().unwrap(), store }
    }

    fn hook(&self, path: &str) -> String {
        format!("http://{}/hooks/{path}", self.listening.hooks)
    }

    /// Posts with these headers; the answer's status.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let request = self.client.post(self.hook(path)).body(body.to_owned());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap().status().as_u16()
    }

    /// Waits until everything heard is folded, decided and settled at every target.
    async fn settled(&self, targets: &[&str]) {
        until("everything is settled", async || {
            let folded = self.store.head().await.unwrap() == self.store.position().await.unwrap();
            let mut open = u64::from(!folded) + self.store.tally().await.unwrap().awaiting;
            for target in targets {
                open += self.store.queue(target).await.unwrap().due;
                open += self.store.open_batches(target).await.unwrap().len() as u64;
            }
            open == 0
        })
        .await;
    }

    /// What was heard, oldest first.
    async fn heard(&self) -> Vec<Heard> {
        heard(&*self.store).await
    }

    async fn events(&self) -> Vec<Event> {
        let entries = self.store.entries(0, u32::MAX, usize::MAX).await.unwrap();
        entries.iter().map(|entry| entry.event().unwrap()).collect()
    }

    async fn stop(self) {
        self.stop.drain.cancel();
        assert_eq!(self.task.await.unwrap().unwrap(), Ending::Drained);
    }
}

async fn heard(store: &dyn Store) -> Vec<Heard> {
    let entries = store.entries(0, u32::MAX, usize::MAX).await.unwrap();
    let heard = entries.iter().filter_map(|entry| match entry.event().unwrap() {
        Event::Heard(heard) => Some(heard),
        _ => None,
    });
    heard.collect()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}
