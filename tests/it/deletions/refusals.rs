//! What is refused, in one shape, with nothing done and nothing of it repeated.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use super::desk::{HASTY, JUDGE, heard, keys};
use super::{Desk, READER, Seen, WRITER};
// Stands in every hostile body, and must stand in no answer.
use crate::support::secrets::PHONE as CONTENT;

fn is_refusal(seen: &Seen, status: u16, code: &str) {
    assert_eq!((seen.status, seen.code()), (status, code), "{}", seen.text);
    let error = seen.body["error"].as_object().unwrap();
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert_eq!(Some(error["request_id"].as_str().unwrap()), seen.header("x-request-id"));
    assert!(!seen.text.contains(CONTENT), "{}", seen.text);
}

const ROUTES: [(&str, &str, &str); 6] = [
    ("POST", "/api/v1/deletions", "delete"),
    ("GET", "/api/v1/deletions/1", "read"),
    ("GET", "/api/v1/tombstones", "read"),
    ("GET", "/api/v1/holds", "read"),
    ("POST", "/api/v1/holds/1/approve", "approve"),
    ("POST", "/api/v1/holds/1/reject", "approve"),
];

fn method(name: &str) -> Method {
    name.parse().unwrap()
}

#[tokio::test]
async fn without_tokens_the_api_is_closed_and_the_rest_is_as_it_was() {
    let desk = Desk::open(0, "").await;
    for (name, path, _) in ROUTES {
        let seen = desk.send(method(name), path, &[("authorization", "Bearer x")], "").await;
        is_refusal(&seen, 403, "api_closed");
        assert!(seen.text.contains("expunged token"), "{}", seen.text);
    }
    for path in ["/livez", "/readyz", "/metrics", "/api/v1/status"] {
        assert_eq!(desk.send(Method::GET, path, &[], "").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn every_route_wants_a_known_token_and_its_scope() {
    let desk = Desk::with_tokens(0).await;
    for (name, path, scope) in ROUTES {
        for value in [
            None,
            Some(String::new()),
            Some("Bearer ".into()),
            Some("Bearer unknown".into()),
            Some(format!("Bearer {WRITER} ").replace(' ', "  ")),
            Some(format!("Basic {WRITER}")),
            Some(WRITER.into()),
            Some(format!("Bearer {}", &WRITER[1..])),
        ] {
            let headers: Vec<_> = value.iter().map(|value| ("authorization", value.as_str())).collect();
            let seen = desk.send(method(name), path, &headers, "").await;
            is_refusal(&seen, 401, "unauthorized");
            assert_eq!(seen.header("www-authenticate"), Some("Bearer"));
            assert_eq!(seen.header("x-ratelimit-limit"), None, "nobody's allowance is told");
        }
        let own = format!("Bearer {WRITER}");
        let twice = [("authorization", own.as_str()), ("authorization", own.as_str())];
        is_refusal(&desk.send(method(name), path, &twice, "").await, 401, "unauthorized");
        for (token, scopes) in [(READER, "read"), (WRITER, "read delete"), (JUDGE, "approve")] {
            let headers = [("authorization", &*format!("bearer {token}"))];
            let seen = desk.send(method(name), path, &headers, "").await;
            if scopes.contains(scope) {
                assert!(![401, 403].contains(&seen.status), "{path}: {}", seen.text);
            } else {
                is_refusal(&seen, 403, "scope_missing");
                assert!(seen.text.contains(scope), "{}", seen.text);
            }
        }
    }
}

#[tokio::test]
async fn every_path_and_method_below_is_answered_in_one_shape() {
    let desk = Desk::with_tokens(0).await;
    for (name, path, _) in ROUTES {
        let wrong = if name == "GET" { Method::DELETE } else { Method::PUT };
        is_refusal(&desk.send(wrong, path, &[], "").await, 405, "method_not_allowed");
    }
    for path in ["/api/v1/", "/api/v1/nothing", "/api/v1/deletions/1/more", "/api/v1/holds/1/keep"] {
        is_refusal(&desk.send(Method::GET, path, &[], "").await, 404, "unknown_path");
    }
    is_refusal(&desk.get(READER, "/api/v1/deletions/%ff").await, 404, "unknown_receipt");
}

#[tokio::test]
async fn a_request_id_is_taken_or_made() {
    let desk = Desk::with_tokens(0).await;
    let mut made = BTreeSet::new();
    let longest = "i".repeat(128);
    for id in ["7f3c4d2a-1b8e", "trace:1/2@a=b+c", longest.as_str()] {
        assert_eq!(
            desk.send(Method::GET, "/api/v1/holds", &[("x-request-id", id)], "").await.header("x-request-id"),
            Some(id)
        );
    }
    let too_long = format!("{longest}i");
    for id in ["", "two words", "\u{e9}", "<b>", too_long.as_str()] {
        let seen = desk.send(Method::GET, "/api/v1/holds", &[("x-request-id", id)], "").await;
        assert!(made.insert(seen.header("x-request-id").unwrap().to_owned()), "each is another");
        assert!(!made.contains(id));
    }
    let seen = desk.get(READER, "/api/v1/holds").await;
    assert!(seen.status == 200 && made.insert(seen.header("x-request-id").unwrap().to_owned()));
}

#[tokio::test]
async fn i11_what_is_not_exactly_right_is_refused_as_a_whole_and_nothing_is_done() {
    let desk = Desk::with_tokens(1).await;
    let good = r#"["2","W1"]"#;
    let of = |ids: &str| format!(r#"{{"entity":"listing","ids":{ids}}}"#);
    let many = |count: usize| of(&format!("[{}]", vec![good; count].join(",")));
    let deep = format!("{}{CONTENT}", "[".repeat(100_000));
    let long = "r".repeat(1_001);
    for (body, code) in [
        (String::new(), "bad_request"),
        (CONTENT.to_owned(), "bad_request"),
        (format!(r#"["{CONTENT}"]"#), "bad_request"),
        (of(&format!("[{good}")), "bad_request"),
        (of(&format!("[{good}]")).replace('}', &format!(r#","{CONTENT}":1}}"#)), "bad_request"),
        (of(&format!("[{good}]")).replace('}', r#","entity":"deal"}"#), "bad_request"),
        (format!(r#"{{"entity":"listing","ids":"{CONTENT}"}}"#), "bad_request"),
        (format!(r#"{{"ids":[{good}]}}"#), "bad_request"),
        (of(&format!("[{good}]")).replace('}', r#","dry_run":"yes"}"#), "bad_request"),
        (of(&format!("[{good}]")).replace('}', &format!(r#","reason":"{long}"}}"#)), "bad_request"),
        (of(&format!("[{good}]")).replace('}', r#","reason":"\u001b[2J"}"#), "bad_request"),
        (of(&deep), "bad_request"),
        (of("[]"), "no_ids"),
        (many(1_001), "too_many_ids"),
        (of(&format!("[{good}]")).replace("listing", "agent"), "unknown_entity"),
        (of(&format!(r#"[{good},"{CONTENT}"]"#)), "bad_ids"),
        (of(&format!("[{good},2]")), "bad_ids"),
        (of(&format!(r#"[{good},[2,"W1"]]"#)), "bad_ids"),
        (of(&format!(r#"[{good},["2","W1","{CONTENT}"]]"#)), "bad_ids"),
        (of(&format!(r#"[{good},["2",""]]"#)), "bad_ids"),
        (of(&format!(r#"[{good},["2","W1\u0000"]]"#)), "bad_ids"),
        (of(&format!("[{good},null]")), "bad_ids"),
        (of(&format!(r#"[{good},"\ud800"]"#)), "bad_ids"),
        (of(&format!(r#"[{good},["2","{}"]]"#, "x".repeat(513))), "bad_ids"),
    ] {
        let seen = desk.ask_again("", &[], &body).await;
        is_refusal(&seen, 400, code);
        if code == "bad_ids" {
            assert_eq!(seen.body["error"]["faults"][0]["n"], 2, "{}", seen.text);
            assert_eq!(seen.body["error"]["faults"].as_array().unwrap().len(), 1);
        }
    }
    let not_utf8 = [b"{\"entity\":\"listing\",\"ids\":[\"\xff\"]}".as_slice()].concat();
    let headers = [("authorization", &*format!("Bearer {WRITER}")), ("content-type", "application/json")];
    is_refusal(&desk.send(Method::POST, "/api/v1/deletions", &headers, not_utf8).await, 400, "bad_request");
    for query in ["?wait=1h", "?entity=listing", "?wait=1s&wait=1s"] {
        assert_eq!(desk.ask_again(query, &[], &of(&format!("[{good}]"))).await.status, 400, "{query}");
    }
    assert_eq!(desk.listings().await, ["W1"]);

    let largest = 4 << 20;
    let padded = |bytes: usize| {
        format!("{}{}", of(&format!("[{good}]")), " ".repeat(bytes - of(&format!("[{good}]")).len()))
    };
    is_refusal(&desk.ask_again("", &[], &padded(largest + 1)).await, 413, "body_too_large");
    assert_eq!(desk.ask_again("", &[], &padded(largest)).await.status, 202);
    assert_eq!(desk.ask_again("", &[], &many(1_000)).await.status, 202);
    let folder = desk.stop().await;
    let notices: Vec<usize> =
        heard(folder.path()).await.iter().map(|(_, heard)| heard.notices.len()).collect();
    assert_eq!(notices, [1, 1_000]);
}

#[tokio::test]
async fn only_three_types_of_body_are_taken() {
    let desk = Desk::with_tokens(1).await;
    let body = json!({ "entity": "listing", "ids": keys(1..=1), "dry_run": true }).to_string();
    let authorization = format!("Bearer {WRITER}");
    for media in ["", "application/x-www-form-urlencoded", "text/html", "application/json5"] {
        let headers = [("authorization", authorization.as_str()), ("content-type", media)];
        let seen = desk.send(Method::POST, "/api/v1/deletions", &headers, body.clone()).await;
        is_refusal(&seen, 415, "unsupported_media_type");
    }
    let headers =
        [("authorization", authorization.as_str()), ("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(desk.send(Method::POST, "/api/v1/deletions", &headers, body).await.status, 200);
    for (query, code) in
        [("", "bad_request"), ("entity=agent", "unknown_entity"), ("entity=listing&x=1", "unknown_parameter")]
    {
        is_refusal(&desk.upload(query, "text/plain", &[], "2\tW1\n").await, 400, code);
    }
    for body in ["", "\n", "\r\n\n"] {
        is_refusal(&desk.upload("entity=listing", "text/plain", &[], body).await, 400, "no_ids");
    }
    let over = desk.get(HASTY, "/api/v1/holds?all=perhaps").await;
    is_refusal(&over, 400, "bad_parameter");
    assert_eq!(heard(desk.stop().await.path()).await, []);
}
