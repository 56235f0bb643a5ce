//! One request to a vendor, and its answer read to the end: at the vendor's pace, within bounds, and with
//! nothing of either in an error (I10).

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

use crate::config::Secret;
use crate::outbound::{self, Pace, Unread, Unsendable};
use crate::targets::TargetError;

/// Bytes of an answer: 4 MiB, four times the largest (an error of a hundred words for each of 10,000 ids).
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What goes out.
#[derive(Clone)]
pub(super) struct Request {
    pub method: reqwest::Method,
    pub url: String,
    pub headers: Vec<(String, Secret)>,
    pub body: Option<Body>,
}

#[derive(Clone)]
pub(super) enum Body {
    Json(Value),
    Form(String),
}

/// What came back, whatever its status.
pub(super) struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Response {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer {
    /// Whether the vendor may have had the request all the same.
    pub sent: bool,
    pub what: String,
}

pub(super) struct Http {
    client: reqwest::Client,
    pace: Pace,
}

impl Http {
    /// # Errors
    /// `Misconfigured` if the platform's trust store cannot be used.
    pub fn new(timeout: Duration, per_second: u32) -> Result<Self, TargetError> {
        let client = outbound::client(timeout)
            // A credential goes where the configuration says and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| {
                TargetError::Misconfigured(format!("HTTP client: {}", outbound::cause(&error)))
            })?;
        Ok(Self { client, pace: Pace::new(per_second) })
    }

    pub async fn send(&self, request: Request) -> Result<Response, NoAnswer> {
        self.pace.wait().await;
        let unsendable = |error: Unsendable| NoAnswer { sent: false, what: error.to_string() };
        let headers = outbound::headers(&request.headers).map_err(unsendable)?;
        let mut builder = self.client.request(request.method, request.url).headers(headers);
        // The body is set whatever the method: some vendors take one with DELETE.
        builder = match request.body {
            Some(Body::Json(body)) => builder.header(CONTENT_TYPE, "application/json").body(body.to_string()),
            Some(Body::Form(body)) => {
                builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
            }
            None => builder,
        };
        let mut response = builder.send().await.map_err(|error| no_answer(&error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = outbound::body(&mut response, ANSWER_BYTES_MAX).await.map_err(unread)?;
        Ok(Response { status, headers, body })
    }
}

fn unread(unread: Unread) -> NoAnswer {
    match unread {
        Unread::TooLarge(_) => NoAnswer { sent: true, what: unread.to_string() },
        Unread::Broken(error) => no_answer(&error),
    }
}

/// Without the URL, which may name what must not be told.
fn no_answer(error: &reqwest::Error) -> NoAnswer {
    let (sent, what) = if error.is_connect() {
        (false, format!("no connection ({})", outbound::cause(error)))
    } else if error.is_timeout() {
        (true, "no answer in time".to_owned())
    } else {
        (true, format!("the answer broke off ({})", outbound::cause(error)))
    };
    NoAnswer { sent, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers one request with this many bytes.
    async fn serve(bytes: usize) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _head = stream.read(&mut [0; 4_096]).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            // The client hangs up once it has read too much.
            stream.write_all(&vec![b' '; bytes]).await.ok();
        });
        url
    }

    #[tokio::test]
    async fn an_answer_above_the_limit_is_not_read_to_its_end() {
        for (bytes, fits) in [(ANSWER_BYTES_MAX, true), (ANSWER_BYTES_MAX + 1, false)] {
            let http = Http::new(Duration::from_mins(1), 100).unwrap();
            let url = serve(bytes).await;
            let request = Request { method: reqwest::Method::GET, url, headers: vec![], body: None };
            let answer = http.send(request).await;
            assert_eq!(answer.as_ref().is_ok_and(|answer| answer.body.len() == bytes), fits);
            assert!(fits || answer.is_err_and(|none| none.sent && none.what.contains("larger")));
        }
    }

    #[tokio::test]
    async fn nobody_listening_is_a_request_that_was_not_sent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?phone=4912345", listener.local_addr().unwrap());
        drop(listener);
        let http = Http::new(Duration::from_secs(5), 100).unwrap();
        let request = Request { method: reqwest::Method::GET, url, headers: vec![], body: None };
        let Err(no_answer) = http.send(request).await else { panic!("an answer") };
        assert!(!no_answer.sent);
        assert!(!no_answer.what.contains("4912345") && no_answer.what.starts_with("no connection"));
    }
}
