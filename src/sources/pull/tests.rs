//! Listings, events and outcomes as a keeper answers them, and what must not be taken for an answer.

use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::config::Config;
use crate::config::source::EventBody;
use crate::sources::feed::client::TransportFault;
use crate::sources::feed::testing::{NOW, Upstream, answer};

/// The preset, as a configuration gives it.
fn pull() -> Pull {
    struct Given;
    impl crate::config::Environment for Given {
        fn var(&self, _: &str) -> Option<String> {
            Some("a secret of good length".into())
        }

        fn read(&self, _: &std::path::Path, _: u64) -> std::io::Result<Vec<u8>> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }
    let text = r#"
[sources.leadlex]
preset = "leadlex"
secret = { env = "SECRET" }
pull = { preset = "hookbridge", endpoints = ["e1"], api_key = { env = "KEY" }, rate_per_second = 10000 }
[targets.replica]
kind = "sql"
url = "sqlite://data/replica.db"
entities.deal = { table = "deals", key = ["id"] }
"#;
    Config::parse(text, "t.toml", &Given).unwrap().sources.remove(0).pull.unwrap()
}

fn asking(pull: &Pull, upstream: &Upstream) -> Keeper {
    let clock = Arc::new(ManualClock::at(NOW));
    Keeper::over(Client::over(Box::new(upstream.clone()), &pull.access, clock, Arc::new(|| 1.0)), pull)
}

fn scripted(bodies: &[&str]) -> (Keeper, Upstream) {
    let upstream = Upstream::scripted(bodies.iter().map(|body| answer(200, &[], body)).collect());
    (asking(&pull(), &upstream), upstream)
}

fn texts(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test]
async fn what_a_crash_left_fetched_is_listed_too_each_event_once_and_discarded_ones_never() {
    let (keeper, upstream) = scripted(&[
        r#"{"data":[{"id":"a"}],"has_more":false,"next_cursor":""}"#,
        r#"{"data":[{"id":"b"},{"id":"a"}],"has_more":true,"next_cursor":"c1"}"#,
        r#"{"data":[{"id":"c"},{"id":"d","deleted_at":"2026-01-01T00:00:00Z"}],"has_more":false,"next_cursor":""}"#,
    ]);
    let waiting = keeper.waiting("e1", &mut HashSet::new()).await.unwrap();
    assert_eq!(waiting, texts(&["a", "b", "c"]));
    let asked = upstream.asked();
    assert_eq!(
        asked,
        ["status=fetched&limit=1000", "status=stored&limit=1000", "status=stored&limit=1000&cursor=c1"]
    );
}

#[tokio::test]
async fn what_was_passed_is_left_out_and_remembered_only_while_it_is_listed() {
    let empty = r#"{"data":null,"has_more":false,"next_cursor":""}"#;
    let (keeper, _) = scripted(&[empty, r#"{"data":[{"id":"a"},{"id":"b"}],"has_more":false}"#]);
    let mut passed = HashSet::from(["a".to_owned(), "gone".to_owned()]);
    assert_eq!(keeper.waiting("e1", &mut passed).await.unwrap(), texts(&["b"]));
    assert_eq!(passed, HashSet::from(["a".to_owned()]));
}

#[tokio::test]
async fn a_listing_that_is_none_is_never_taken_for_an_empty_one() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"data":{"id":1.5},"has_more":false}"#,
        r#"{"data":[{"id":""}],"has_more":false}"#,
        r#"{"data":[{"name":"a"}],"has_more":false}"#,
        r#"{"data":[]}"#,
        r#"{"data":[],"has_more":true,"next_cursor":""}"#,
    ] {
        let (keeper, _) = scripted(&[body]);
        let mut passed = HashSet::from(["a".to_owned()]);
        let error = keeper.waiting("e1", &mut passed).await.err().unwrap_or_else(|| panic!("{body}"));
        assert!(error.retry_can_help(), "{error}");
        assert_eq!(passed.len(), 1, "nothing follows from it");
    }
}

#[tokio::test]
async fn a_listing_that_leads_in_a_circle_ends() {
    let page = r#"{"data":[{"id":"a"}],"has_more":true,"next_cursor":"c1"}"#;
    let (keeper, _) = scripted(&[page, page]);
    let error = keeper.waiting("e1", &mut HashSet::new()).await.unwrap_err();
    assert!(matches!(error, PullError::Page { fault: PageFault::Repeated, .. }), "{error}");
}

#[tokio::test]
async fn one_look_takes_no_more_than_its_limit() {
    let ids: Vec<String> = (0..=LISTED_MAX).map(|number| format!(r#"{{"id":"{number}"}}"#)).collect();
    let page = format!(r#"{{"data":[{}],"has_more":true,"next_cursor":"c1"}}"#, ids.join(","));
    let (keeper, _) = scripted(&[&page]);
    assert_eq!(keeper.done("e1").await.unwrap().len(), LISTED_MAX);
}

#[tokio::test]
async fn an_event_is_its_original_delivery_byte_for_byte() {
    let embedded = r#"{"data":{"payload":{"b" : 1,"a":1e3},"headers":{"X-Sig":"s","no name":"v"},"received_at":"2026-04-05T14:23:11.123Z"}}"#;
    let binary = r#"{"data":{"payload":"YT0x","headers":{}}}"#;
    let (keeper, _) = scripted(&[embedded, binary]);
    let Read::Event(event) = keeper.read("e1", "a/../b").await.unwrap() else { panic!("an event") };
    assert_eq!(event.body, r#"{"b" : 1,"a":1e3}"#);
    assert_eq!(event.headers["x-sig"], "s");
    assert_eq!(event.headers.len(), 1);
    assert_eq!(event.received_at.unwrap().millis(), 1_775_398_991_123);
    let Read::Event(event) = keeper.read("e1", "b").await.unwrap() else { panic!("an event") };
    assert_eq!(event.body, "a=1");

    let mut plain = pull();
    plain.reading.text = EventBody::Plain;
    let upstream = Upstream::scripted(vec![answer(200, &[], binary)]);
    let Read::Event(event) = asking(&plain, &upstream).read("e1", "c").await.unwrap() else { panic!("it") };
    assert_eq!(event.body, "YT0x");
}

#[tokio::test]
async fn i6_an_event_that_is_gone_or_not_understood_is_told_of_and_is_no_error() {
    for body in ["{}", r#"{"data":{"payload":"not base64","headers":{}}}"#, r#"{"data":{"payload":{}}}"#] {
        let (keeper, _) = scripted(&[body]);
        assert!(matches!(keeper.read("e1", "a").await.unwrap(), Read::Unreadable(_)), "{body}");
    }
    for (status, gone) in [(410, true), (404, true), (400, false)] {
        let upstream = Upstream::scripted(vec![answer(status, &[], "")]);
        let read = asking(&pull(), &upstream).read("e1", "a").await;
        assert_eq!(matches!(read, Ok(Read::Gone)), gone, "{status}");
    }
    let upstream = Upstream::scripted(vec![answer(401, &[], "")]);
    let error = asking(&pull(), &upstream).read("e1", "a").await.unwrap_err();
    assert!(!error.retry_can_help());
}

#[tokio::test]
async fn outcomes_are_read_one_by_one_and_an_error_inside_a_200_leaves_what_it_does_not_name() {
    let ids = texts(&["a", "b", "c", "d"]);
    for (body, left) in [
        (
            r#"{"data":{"results":[{"event_id":"a","outcome":"deleted"},{"event_id":"b","outcome":"already_deleted"},
               {"event_id":"c","outcome":"not_found"},{"event_id":"d","outcome":"deleted"}]}}"#,
            vec![],
        ),
        (
            r#"{"data":{"results":[{"event_id":"a","outcome":"deleted"}]},"error":{"code":"PARTIAL_DELETE_FAILURE"}}"#,
            vec!["b", "c", "d"],
        ),
        (r#"{"error":{"code":"DELETE_FAILED"}}"#, vec!["a", "b", "c", "d"]),
        (
            r#"{"data":{"results":[{"event_id":"a","outcome":"locked"},{"event_id":"x","outcome":"deleted"}]}}"#,
            vec!["a", "b", "c", "d"],
        ),
    ] {
        let (keeper, _) = scripted(&[body]);
        let discarded = keeper.discard("e1", &ids).await.unwrap();
        assert_eq!(discarded.left, texts(&left), "{body}");
        assert_eq!(discarded.gone, ids.len() - left.len());
    }
    let (keeper, _) = scripted(&["{}"]);
    assert!(keeper.discard("e1", &ids).await.is_err(), "an answer without results says nothing");
}

#[tokio::test]
async fn requests_hold_as_many_ids_as_the_keeper_takes() {
    let ids: Vec<String> = (0..250).map(|number| number.to_string()).collect();
    let results = r#"{"data":{"results":[]}}"#;
    let (keeper, upstream) = scripted(&[results, results, results]);
    assert_eq!(keeper.discard("e1", &ids).await.unwrap().left.len(), 250);
    assert_eq!(upstream.asked().len(), 3);
    let (keeper, upstream) = scripted(&["{}"]);
    keeper.acknowledge("e1", &ids).await.unwrap();
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_does_not_answer_is_asked_again_and_then_given_up() {
    let upstream = Upstream::new(|_| Err(TransportFault::Timeout));
    let error = asking(&pull(), &upstream).acknowledge("e1", &texts(&["a"])).await.unwrap_err();
    assert!(matches!(error, PullError::Asking(FeedError::Exhausted { attempts: 6, .. })), "{error}");
    assert!(error.retry_can_help());
}

#[test]
fn an_id_is_one_segment_of_a_path_whatever_it_holds() {
    let at = |id: &str| address("https://h.test/e/{event}/x", &[("{event}", id)]);
    assert_eq!(at("a-1_~").unwrap().path(), "/e/a-1_~/x");
    assert_eq!(at("a/b?c#d%2F..").unwrap().path(), "/e/a%2Fb%3Fc%23d%252F%2E%2E/x");
    for id in ["", ".", ".."] {
        assert!(at(id).is_err(), "{id}");
    }
}
