//! A whole daemon with tokens, which can be restarted on its folder.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use expunged::app::{self, Listening};
use expunged::clock::ManualClock;
use expunged::config::target::Kind;
use expunged::config::{Config, Token};
use expunged::domain::Event;
use expunged::domain::event::Heard;
use expunged::lifecycle::{Ending, Stop};
use expunged::sources::http::plain_client;
use expunged::store::SharedStore;
use expunged::store::sqlite::{OpenOptions, SqliteStore};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::mirror;
pub use crate::support::secrets::{HASTY, JUDGE, READER, WRITER};

pub struct Desk {
    pub folder: TempDir,
    pub clock: Arc<ManualClock>,
    pub listening: Listening,
    top: String,
    stop: Stop,
    task: JoinHandle<anyhow::Result<Ending>>,
    client: reqwest::Client,
}

/// An answer as the program sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub fn receipt(&self) -> &str {
        self.body["receipt"].as_str().unwrap_or_else(|| panic!("no receipt: {}", self.text))
    }

    /// Outcomes in the order of the ids.
    pub fn outcomes(&self) -> Vec<&str> {
        let results = self.body["results"].as_array().unwrap_or_else(|| panic!("{}", self.text));
        results.iter().map(|it| it["outcome"].as_str().unwrap()).collect()
    }
}

/// The tables of all tokens.
pub fn tokens() -> String {
    let token = |name: &str, token: &str, more: &str| {
        let hash = hex::encode(Token::hash(token.as_bytes()));
        format!("[server.tokens.{name}]\nsha256 = \"{hash}\"\n{more}\n")
    };
    [
        token("reader", READER, "scopes = [\"read\"]"),
        token("writer", WRITER, "scopes = [\"read\", \"delete\"]"),
        token("judge", JUDGE, "scopes = [\"approve\"]"),
        token("hasty", HASTY, "scopes = [\"read\", \"delete\", \"approve\"]\nrequests_per_minute = 2"),
    ]
    .concat()
}

impl Desk {
    /// Listings W1 to `listings` on board 2, as old as can be; `top` goes to the root of the configuration.
    pub async fn open(listings: u32, top: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let old = mirror::time("2024-01-01T00:00:00Z");
        let listings: Vec<_> = (1..=listings).map(|number| (format!("W{number}"), old)).collect();
        mirror::seed(folder.path(), &listings, &["deal-1".into()]).await;
        Self::on(folder, mirror::clock(), top).await
    }

    pub async fn with_tokens(listings: u32) -> Self {
        Self::open(listings, &tokens()).await
    }

    async fn on(folder: TempDir, clock: Arc<ManualClock>, top: &str) -> Self {
        let config = config(folder.path(), top);
        let stop = Stop::default();
        let (told, listening) = tokio::sync::oneshot::channel();
        let serving = app::serve(config, clock.clone(), stop.clone(), move |at| told.send(at).unwrap());
        let task = tokio::spawn(serving);
        let listening = listening.await.unwrap();
        let client = plain_client().unwrap();
        Self { folder, clock, listening, top: top.to_owned(), stop, task, client }
    }

    pub async fn stop(self) -> TempDir {
        self.stop.drain.cancel();
        assert_eq!(self.task.await.unwrap().unwrap(), Ending::Drained);
        self.folder
    }

    /// Asks the daemon to end, and does not wait.
    pub fn drain(&self) {
        self.stop.drain.cancel();
    }

    /// A daemon with tokens on the folder of an earlier one.
    pub async fn again(folder: TempDir, clock: Arc<ManualClock>) -> Self {
        Self::on(folder, clock, &tokens()).await
    }

    pub async fn restart(self) -> Self {
        let (clock, top) = (self.clock.clone(), self.top.clone());
        Self::on(self.stop().await, clock, &top).await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Seen {
        let url = format!("http://{}{path}", self.listening.admin);
        let request = self.client.request(method, url).body(body).timeout(Duration::from_mins(2));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        Seen { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    pub async fn get(&self, token: &str, path: &str) -> Seen {
        self.send(Method::GET, path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    /// Posts JSON as the writer; `path` is what comes behind `/api/v1/deletions`.
    pub async fn ask(&self, path: &str, body: &Value) -> Seen {
        self.ask_again(path, &[], &body.to_string()).await
    }

    pub async fn ask_again(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Seen {
        let authorization = format!("Bearer {WRITER}");
        let own = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let headers: Vec<_> = own.iter().chain(headers).copied().collect();
        self.send(Method::POST, &format!("/api/v1/deletions{path}"), &headers, body.to_owned()).await
    }

    /// Uploads lines as the writer.
    pub async fn upload(&self, query: &str, media: &str, headers: &[(&str, &str)], body: &str) -> Seen {
        let authorization = format!("Bearer {WRITER}");
        let own = [("authorization", authorization.as_str()), ("content-type", media)];
        let headers: Vec<_> = own.iter().chain(headers).copied().collect();
        self.send(Method::POST, &format!("/api/v1/deletions?{query}"), &headers, body.to_owned()).await
    }

    /// Delivers an event of a listing as its upstream would.
    pub async fn hear(&self, event: &str, number: &str, at: &str) -> u16 {
        let body = format!(r#"{{"data":{{"boardId":2,"mlsNumber":"{number}","updatedOn":"{at}"}}}}"#);
        let url = format!("http://{}/hooks/repliers/{event}", self.listening.hooks);
        let request = self.client.post(url).header("x-hook-secret", mirror::HOOK_SECRET).body(body);
        request.send().await.unwrap().status().as_u16()
    }

    /// Texts that a query over the replica gives.
    pub async fn replica(&self, query: &str) -> Vec<String> {
        mirror::texts(&mut mirror::replica(self.folder.path()).await, query).await
    }

    pub async fn listings(&self) -> Vec<String> {
        self.replica("SELECT mls_number FROM listings ORDER BY id").await
    }
}

/// The mirror's configuration, with the number of a listing as another identifier.
fn config(folder: &Path, top: &str) -> Config {
    let mut config = mirror::config(folder, "http://127.0.0.1:9", top, "");
    for target in &mut config.targets {
        let Kind::Sql(sql) = &mut target.kind else { continue };
        for (entity, table) in &mut sql.entities {
            if entity.as_str() == "listing" {
                table.alternates.insert("number".into(), vec!["mls_number".into()]);
                table.alternates.insert("row".into(), vec!["id".into()]);
            }
        }
    }
    config
}

/// What the journal in a folder says was heard.
pub async fn heard(folder: &Path) -> Vec<(i64, Heard)> {
    let options = OpenOptions { daemon: false, queue_max: 8 };
    let store: SharedStore = Arc::new(SqliteStore::open(&folder.join("state.db"), options).await.unwrap().0);
    let entries = store.entries(0, u32::MAX, usize::MAX).await.unwrap();
    let heard = entries.iter().filter_map(|entry| match entry.event().unwrap() {
        Event::Heard(heard) => Some((entry.seq, heard)),
        _ => None,
    });
    heard.collect()
}

/// Keys of listings, as JSON.
pub fn keys(numbers: std::ops::RangeInclusive<u32>) -> Value {
    numbers.map(|number| serde_json::json!(["2", format!("W{number}")])).collect()
}
