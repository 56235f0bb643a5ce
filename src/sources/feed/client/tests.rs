//! Requests against scripted answers and real sockets: tries, waits, limits, and what is never told.

use tokio::time::Instant;

use super::*;
use crate::config::source::Feed;
use crate::sources::feed::testing::{Canned, NOW, NOW_HTTP, SECRET, Upstream, answer, feed, headers, serve};

fn url() -> Url {
    Url::parse("http://user:pass@upstream.test/listings/deleted?key=s3cret-in-the-query&page=2").unwrap()
}

/// What the answers lead to, and how long that took.
async fn get(
    feed: &Feed,
    answers: Vec<Result<Response, TransportFault>>,
) -> (Result<Answer, FeedError>, Duration, usize) {
    let upstream = Upstream::scripted(answers);
    let client = upstream.client(feed, NOW);
    let started = Instant::now();
    let result = client.get(&url()).await;
    (result, started.elapsed(), upstream.asked().len())
}

fn assert_tells_no_secret(error: &FeedError) {
    for text in [error.to_string(), format!("{error:?}")] {
        for secret in ["s3cret", "pass@", "BODY"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_with_growing_waits() {
    for trouble in [
        answer(500, &[], ""),
        answer(502, &[], ""),
        answer(408, &[], ""),
        answer(429, &[], ""),
        Err(TransportFault::Timeout),
        Err(TransportFault::Connect("refused".into())),
        Err(TransportFault::Broken("cut".into())),
    ] {
        let (result, took, asked) =
            get(&feed(), vec![trouble.clone(), trouble, answer(200, &[], "[]")]).await;
        assert_eq!(result.unwrap().body, "[]");
        assert_eq!(asked, 3);
        assert!(took >= Duration::from_millis(1500) && took < Duration::from_millis(1600), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_that_the_upstream_asks_for_is_kept_in_every_shape() {
    for (text, seconds) in [
        ("5", 5.0),
        ("0", 1.0),
        ("99999999", 3600.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("-1", 0.5),
        ("soon", 0.5),
    ] {
        // The local clock is never asked where the upstream tells its own time.
        let date = [("retry-after", text), ("date", NOW_HTTP)];
        let (result, took, _) = get(&feed(), vec![answer(429, &date, ""), answer(200, &[], "[]")]).await;
        assert!(result.is_ok());
        assert!((took.as_secs_f64() - seconds).abs() < 0.1, "{text}: {took:?}");
    }
}

#[test]
fn a_quota_that_is_left_asks_for_no_wait_and_no_wait_is_endless() {
    let wait = |left, reset| {
        quota_wait(&headers(&[("x-ratelimit-remaining", left), ("x-ratelimit-reset", reset)]), NOW)
    };
    assert_eq!(wait("1", "30"), None);
    assert_eq!(wait("0", "soon"), None);
    assert_eq!(wait("0", "30"), Some(Duration::from_secs(30)));
    assert_eq!(wait("0", "0"), Some(ASKED_MIN));
    assert_eq!(wait("0", "18446744073709551615"), Some(ASKED_MAX));
}

#[tokio::test(start_paused = true)]
async fn a_spent_quota_is_waited_out_before_the_next_request() {
    let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "90")];
    let upstream = Upstream::scripted(vec![answer(200, &spent, "[]"), answer(200, &[], "[]")]);
    let client = upstream.client(&feed(), NOW);
    client.get(&url()).await.unwrap();
    let started = Instant::now();
    client.get(&url()).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn requests_go_out_evenly_at_the_rate_of_the_feed() {
    let mut feed = feed();
    feed.rate_per_second = 5;
    let upstream = Upstream::new(|_| answer(200, &[], "[]"));
    let client = upstream.client(&feed, NOW);
    let started = Instant::now();
    for _ in 0..11 {
        client.get(&url()).await.unwrap();
    }
    assert_eq!(started.elapsed().as_millis() / 100, 20);
}

#[tokio::test(start_paused = true)]
async fn trying_has_an_end_that_says_how_it_ended() {
    let down = || answer(503, &[], "BODY");
    let (result, _, asked) = get(&feed(), vec![down(), down(), down()]).await;
    let error = result.unwrap_err();
    assert_eq!(asked, 3);
    assert_eq!(
        error.to_string(),
        "http://upstream.test/listings/deleted failed 3 times, at last with: status 503"
    );
    assert!(error.retry_can_help());
    assert_tells_no_secret(&error);
}

#[tokio::test(start_paused = true)]
async fn what_only_a_person_can_mend_is_asked_once() {
    for (status, word) in [
        (401, "credential"),
        (403, "credential"),
        (400, "parameters"),
        (404, "url"),
        (410, "url"),
        (302, "redirect"),
        (204, "answered 204"),
        (206, "answered 206"),
    ] {
        let (result, _, asked) = get(&feed(), vec![answer(status, &[], "BODY")]).await;
        let error = result.unwrap_err();
        assert_eq!(asked, 1);
        assert!(error.to_string().contains(word), "{status}: {error}");
        assert!(!error.retry_can_help());
        assert_tells_no_secret(&error);
    }
}

/// A feed at a canned server, with one try a request.
fn feed_at(address: &str) -> (Feed, Url) {
    let mut feed = feed();
    feed.attempts_max = 1;
    (feed, Url::parse(&format!("{address}/deleted?page=1")).unwrap())
}

async fn get_from(feed: &Feed, url: &Url) -> Result<Answer, FeedError> {
    let clock = std::sync::Arc::new(crate::clock::SystemClock);
    Client::new(&feed.access(), clock).unwrap().get(url).await
}

fn trouble(result: Result<Answer, FeedError>) -> Trouble {
    match result {
        Err(FeedError::Exhausted { last, .. }) => last,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_whole_answer_comes_with_the_upstreams_time_and_links() {
    let body = "[1]";
    let text = format!(
        "HTTP/1.1 200 OK\r\nDate: {NOW_HTTP}\r\nLink: <a>; rel=prev\r\nLink: <b>; rel=next\r\n\
         Content-Length: 3\r\n\r\n{body}"
    );
    let (address, heads) = serve(vec![Canned::Says(text)]).await;
    let (feed, url) = feed_at(&address);
    let answer = get_from(&feed, &url).await.unwrap();
    assert_eq!((answer.body.as_ref(), answer.date), (body.as_bytes(), Some(NOW)));
    assert_eq!(answer.links, [Some("<a>; rel=prev".to_owned()), Some("<b>; rel=next".to_owned())]);
    let head = heads.lock().unwrap()[0].to_lowercase();
    assert!(head.starts_with("get /deleted?page=1 ") && head.contains(&format!("x-api-key: {SECRET}")));
    assert!(head.contains("accept: application/json") && head.contains("user-agent: expunged/"));
}

#[tokio::test]
async fn i4_an_answer_that_is_cut_off_is_none() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n",
        "HTTP/1.1 200 OK\r\nContent-",
        "",
    ] {
        let (address, _) = serve(vec![Canned::Says(text.into())]).await;
        let (feed, url) = feed_at(&address);
        assert!(matches!(
            trouble(get_from(&feed, &url).await),
            Trouble::Transport(TransportFault::Broken(_))
        ));
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_is_given_up() {
    for text in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1,"] {
        let (address, _) = serve(vec![Canned::Hangs(text.into())]).await;
        let (mut feed, url) = feed_at(&address);
        feed.timeout = Duration::from_millis(300);
        let trouble = trouble(get_from(&feed, &url).await);
        assert_eq!(trouble, Trouble::Transport(TransportFault::Timeout));
    }
}

#[tokio::test]
async fn an_answer_above_the_limit_is_not_read_to_its_end() {
    let chunk = format!("40\r\n{}\r\n", "x".repeat(64));
    let whole = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for (canned, fits) in [
        (Canned::Says(whole(&"x".repeat(100))), true),
        (Canned::Hangs("HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n".into()), false),
        (
            Canned::Hangs(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}")),
            false,
        ),
    ] {
        let (address, _) = serve(vec![canned]).await;
        let (mut feed, url) = feed_at(&address);
        feed.page_bytes_max = 100;
        let result = get_from(&feed, &url).await;
        assert_eq!(result.is_ok(), fits);
        if let Err(error) = result {
            assert!(matches!(error, FeedError::TooLarge { limit: 100, .. }));
            assert!(!error.retry_can_help());
        }
    }
}

#[tokio::test]
async fn i10_credentials_do_not_follow_a_redirect_to_another_origin() {
    let (elsewhere, heads) = serve(vec![]).await;
    let text = format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}/x\r\nContent-Length: 0\r\n\r\n");
    let (address, _) = serve(vec![Canned::Says(text)]).await;
    let (feed, url) = feed_at(&address);
    assert!(matches!(get_from(&feed, &url).await, Err(FeedError::Redirect { status: 302, .. })));
    assert!(heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn redirects_on_the_same_origin_are_followed_three_times() {
    let found = || {
        Canned::Says(
            "HTTP/1.1 307 Moved\r\nConnection: close\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".into(),
        )
    };
    let page = || Canned::Says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]".into());
    let (address, _) = serve(vec![found(), found(), found(), page()]).await;
    let (feed, url) = feed_at(&address);
    assert!(get_from(&feed, &url).await.is_ok());
    let (address, heads) = serve(vec![found(), found(), found(), found(), page()]).await;
    let (feed, url) = feed_at(&address);
    assert!(matches!(get_from(&feed, &url).await, Err(FeedError::Redirect { status: 307, .. })));
    assert_eq!(heads.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn nobody_listening_is_told_as_no_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (feed, url) = feed_at(&address);
    let trouble = trouble(get_from(&feed, &url).await);
    assert!(matches!(trouble, Trouble::Transport(TransportFault::Connect(_))), "{trouble:?}");
}

#[test]
fn i10_a_header_that_cannot_be_sent_is_named_without_its_value() {
    let mut feed = feed();
    feed.headers = vec![("x-api-key".into(), crate::config::Secret::new("s3cret\nwith a line break"))];
    let clock = std::sync::Arc::new(crate::clock::SystemClock);
    let error = Client::new(&feed.access(), clock).err().unwrap();
    assert!(error.to_string().contains("x-api-key"));
    assert_tells_no_secret(&error);
}

#[test]
fn a_link_header_that_is_not_text_is_kept_as_unreadable() {
    let feed = feed();
    let client = Upstream::scripted(vec![]).client(&feed, NOW);
    let mut headers = headers(&[]);
    headers.insert(LINK, reqwest::header::HeaderValue::from_bytes(b"<\xff>; rel=next").unwrap());
    let response = Response { status: StatusCode::OK, headers, body: Bytes::new() };
    let Ok(Judged::Answer(answer)) = client.judge(&Ask::get(&url()), response) else {
        panic!("not an answer")
    };
    assert_eq!(answer.links, [None]);
}
