//! Upstreams for the tests of this module: one in memory, and one that speaks canned HTTP/1.1.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

use super::Client;
use super::client::{Ask, Response, Transport, TransportFault};
use super::walk::{Page, Sink, SinkError};
use crate::clock::ManualClock;
use crate::config::Secret;
use crate::config::source::{BoundFormat, Feed, Paging, Pointer, Pointers, Window};
use crate::domain::{Timestamp, timestamp::TimeFormat};

pub const SECRET: &str = "s3cret-of-the-feed";

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub const NOW: Timestamp = Timestamp::from_seconds(784_111_777);
pub const NOW_HTTP: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

pub const DAY: Duration = Duration::from_hours(24);

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text, TimeFormat::Iso8601).unwrap()
}

pub fn pointers(text: &str) -> Pointers {
    let tokens = text.split('/').skip(1).map(str::to_owned).collect();
    if text.is_empty() { Pointers::new() } else { vec![Pointer { whole: false, tokens }] }
}

/// Days as bounds, pages by number with all the counts there are.
pub fn feed() -> Feed {
    Feed {
        url: "http://upstream.test/listings/deleted".into(),
        headers: vec![("x-api-key".into(), Secret::new(SECRET))],
        query: Vec::new(),
        schedule: None,
        overlap: 2 * DAY,
        first: 30 * DAY,
        retention: 60 * DAY,
        window: Window { from: Some("from".into()), to: Some("to".into()), format: BoundFormat::Date },
        items: pointers("/items"),
        key: vec![pointers("/id")],
        deleted_at: Pointers::new(),
        updated_at: pointers("/at"),
        time_format: TimeFormat::UnixSeconds,
        event_id: Pointers::new(),
        relists: false,
        paging: by_page("/page", "/pages", "/total"),
        rate_per_second: 1_000_000,
        timeout: Duration::from_secs(30),
        page_bytes_max: 64 * 1024,
        attempts_max: 3,
        walks_max: 3,
    }
}

pub fn by_page(page: &str, pages: &str, total: &str) -> Paging {
    Paging::Page {
        param: "page".into(),
        size_param: Some("size".into()),
        size: 2,
        first: 1,
        page: pointers(page),
        pages: pointers(pages),
        total: pointers(total),
    }
}

pub fn by_offset(total: &str) -> Paging {
    Paging::Offset {
        param: "offset".into(),
        size_param: Some("size".into()),
        size: 2,
        total: pointers(total),
    }
}

pub fn by_cursor(more: &str) -> Paging {
    Paging::Cursor {
        param: "cursor".into(),
        size_param: Some("size".into()),
        size: 2,
        next: pointers("/next"),
        more: pointers(more),
    }
}

pub fn by_link() -> Paging {
    Paging::Link { size_param: Some("size".into()), size: 2 }
}

pub fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    pairs.iter().map(pair).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "stands in one list with answers that fail")]
pub fn answer(status: u16, pairs: &[(&str, &str)], body: &str) -> Result<Response, TransportFault> {
    let status = StatusCode::from_u16(status).unwrap();
    Ok(Response { status, headers: headers(pairs), body: Bytes::copy_from_slice(body.as_bytes()) })
}

type Answering = Box<dyn FnMut(&Url) -> Result<Response, TransportFault> + Send>;

/// An upstream in memory, and what it was asked.
#[derive(Clone)]
pub struct Upstream {
    answering: Arc<Mutex<Answering>>,
    asked: Arc<Mutex<Vec<Url>>>,
}

impl Upstream {
    pub fn new(answering: impl FnMut(&Url) -> Result<Response, TransportFault> + Send + 'static) -> Self {
        Self { answering: Arc::new(Mutex::new(Box::new(answering))), asked: Arc::default() }
    }

    /// Gives these, one after the other.
    pub fn scripted(answers: Vec<Result<Response, TransportFault>>) -> Self {
        let mut answers = answers.into_iter();
        Self::new(move |url| answers.next().unwrap_or_else(|| panic!("one request too many: {url}")))
    }

    /// A client whose clock stands at `local_now` and whose dice give the longest wait.
    pub fn client(&self, feed: &Feed, local_now: Timestamp) -> Client {
        Client::over(
            Box::new(self.clone()),
            &feed.access(),
            Arc::new(ManualClock::at(local_now)),
            Arc::new(|| 1.0),
        )
    }

    /// Paths and queries, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|url| url.query().unwrap_or_default().to_owned()).collect()
    }
}

#[async_trait]
impl Transport for Upstream {
    async fn ask(&self, ask: &Ask<'_>) -> Result<Response, TransportFault> {
        self.asked.lock().unwrap().push(ask.url.clone());
        (self.answering.lock().unwrap())(ask.url)
    }
}

/// Keeps what it is given, up to a number of pages.
#[derive(Default)]
pub struct Kept {
    pub pages: Vec<Page>,
    pub room: Option<usize>,
}

impl Kept {
    pub fn keys(&self) -> Vec<String> {
        self.pages.iter().flat_map(|page| &page.records).map(|record| record.key.to_string()).collect()
    }
}

impl Sink for Kept {
    async fn page(&mut self, page: Page) -> Result<(), SinkError> {
        if self.room == Some(self.pages.len()) {
            return Err("disk full".into());
        }
        self.pages.push(page);
        Ok(())
    }
}

/// What a canned server does on one connection after it has read a request's head.
pub enum Canned {
    /// Writes this and closes.
    Says(String),
    /// Writes this and keeps the connection open for ever.
    Hangs(String),
}

/// Serves one connection after the other, and gives its address and the heads of the requests it read.
pub async fn serve(answers: Vec<Canned>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let read = Arc::clone(&heads);
    tokio::spawn(async move {
        let mut held = Vec::new();
        for canned in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            read.lock().unwrap().push(String::from_utf8(request).unwrap());
            match canned {
                Canned::Says(text) => {
                    stream.write_all(text.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
                Canned::Hangs(text) => {
                    stream.write_all(text.as_bytes()).await.unwrap();
                    held.push(stream);
                }
            }
        }
        std::future::pending::<()>().await;
    });
    (address, heads)
}
