//! What is told of each id by every shape of answer.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::api::WhenUnproven;

fn pointers(paths: &[&str]) -> Pointers {
    let pointer = |path: &&str| Pointer {
        whole: false,
        tokens: path.split('/').skip(1).map(ToOwned::to_owned).collect(),
    };
    paths.iter().map(pointer).collect()
}

fn counted() -> Answer {
    Answer {
        accepted: vec![],
        accepted_again: Answer::ACCEPTED_AGAIN,
        success: pointers(&["/ok"]),
        deleted: pointers(&["/deleted"]),
        has_errors: pointers(&["/has_errors"]),
        items: pointers(&["/errors"]),
        word: pointers(&["/code"]),
        words: BTreeMap::from([
            ("not_found".into(), WordMeans::Absent),
            ("ok".into(), WordMeans::Deleted),
            ("bad_id".into(), WordMeans::Refused),
        ]),
        otherwise: WordMeans::Failed,
        unlisted: Unlisted::Counted,
        unproven: WhenUnproven::Halve,
    }
}

fn told(answer: &Answer, body: &Value, ids: &[&str]) -> Option<Vec<Told>> {
    judge(answer, body, &pointers(&["/id"]), ids)
}

fn failed(code: &str) -> Told {
    Told::Failed { code: Some(code.into()), retry: true }
}

#[test]
fn i8_a_count_proves_all_or_none_and_nothing_in_between() {
    use Told::{Absent, Deleted, Unproven};
    let answer = counted();
    for (deleted, expected) in [(0, Absent), (1, Unproven), (2, Deleted), (3, Unproven)] {
        let body = json!({"deleted": deleted});
        assert_eq!(told(&answer, &body, &["a", "b"]), Some(vec![expected.clone(), expected]), "{deleted}");
    }
    for body in [json!({}), json!({"deleted": "2"}), json!({"deleted": -1}), json!(null), json!([1])] {
        assert_eq!(told(&answer, &body, &["a", "b"]), None, "{body}");
    }
}

#[test]
fn i8_what_is_named_is_told_by_its_word_and_the_rest_by_the_count() {
    use Told::{Absent, Deleted, Unproven};
    let answer = counted();
    let errors = json!([{"id": "b", "code": "not_found"}, {"id": "d", "code": "locked"}]);
    let body = |deleted: u64| json!({"deleted": deleted, "errors": errors, "has_errors": true});
    let rest = |rest: Told| Some(vec![rest.clone(), Absent, rest, failed("locked")]);
    let ids = ["a", "b", "c", "d"];
    assert_eq!(told(&answer, &body(2), &ids), rest(Deleted));
    assert_eq!(told(&answer, &body(0), &ids), rest(Absent));
    assert_eq!(told(&answer, &body(1), &ids), rest(Unproven));
    // What is listed as deleted is part of the count.
    let body = json!({"deleted": 2, "errors": [{"id": "a", "code": "ok"}]});
    assert_eq!(told(&answer, &body, &["a", "b"]), Some(vec![Deleted, Deleted]));
    let refused = json!({"deleted": 0, "errors": [{"id": "a", "code": "bad_id"}]});
    let bad = Told::Failed { code: Some("bad_id".into()), retry: false };
    assert_eq!(told(&answer, &refused, &["a"]), Some(vec![bad]));
}

#[test]
fn i8_errors_that_name_nobody_we_know_leave_everything_unproven() {
    let answer = counted();
    let stranger = json!([{"id": "z", "code": "locked"}]);
    for deleted in 0..=2 {
        let body = json!({"deleted": deleted, "errors": stranger});
        assert_eq!(told(&answer, &body, &["a", "b"]), Some(vec![Told::Unproven; 2]), "{deleted}");
        let flag = json!({"deleted": deleted, "has_errors": true});
        assert_eq!(told(&answer, &flag, &["a", "b"]), Some(vec![Told::Unproven; 2]), "{deleted}");
    }
    // Of one id alone, whatever is said is said of that one.
    let body = json!({"deleted": 0, "errors": stranger});
    assert_eq!(told(&answer, &body, &["a"]), Some(vec![failed("locked")]));
    let flag = json!({"deleted": 0, "has_errors": true});
    assert_eq!(told(&answer, &flag, &["a"]), Some(vec![Told::Failed { code: None, retry: true }]));
}

#[test]
fn i8_a_list_of_results_proves_only_what_it_names() {
    use Told::{Absent, Deleted, Unproven};
    let answer = Answer { unlisted: Unlisted::Unproven, deleted: vec![], ..counted() };
    let results =
        json!([{"id": "a", "code": "ok"}, {"id": 7, "code": "not_found"}, {"id": 1e3, "code": "ok"}]);
    let body = json!({"errors": results});
    assert_eq!(told(&answer, &body, &["a", "7", "1000"]), Some(vec![Deleted, Absent, Unproven]));
    let twice = json!({"errors": [{"id": "a", "code": "ok"}, {"id": "a", "code": "not_found"}]});
    assert_eq!(told(&answer, &twice, &["a", "b"]), Some(vec![Unproven, Unproven]));
    assert_eq!(told(&answer, &json!({"errors": {"a": "ok"}}), &["a"]), None);
    let silent = Answer { unlisted: Unlisted::Deleted, deleted: vec![], ..counted() };
    assert_eq!(told(&silent, &json!({}), &["a"]), Some(vec![Deleted]));
    assert_eq!(told(&silent, &json!({"has_errors": true}), &["a", "b"]), Some(vec![Unproven; 2]));
}

/// What is true of a record at a vendor.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Truth {
    There,
    Missing,
    Stuck,
}

/// A vendor that does its work and tells the truth, in one of the ways in which that is told.
fn truthful(truth: &[Truth], names_missing: bool, own_names: bool, flags: bool) -> Value {
    let mut errors = Vec::new();
    for (id, truth) in truth.iter().enumerate() {
        let name = if own_names { format!("own-{id}") } else { id.to_string() };
        match truth {
            Truth::Stuck => errors.push(json!({"id": name, "code": "locked"})),
            Truth::Missing if names_missing => errors.push(json!({"id": name, "code": "not_found"})),
            Truth::There | Truth::Missing => {}
        }
    }
    let deleted = truth.iter().filter(|it| **it == Truth::There).count();
    let mut body = json!({"deleted": deleted, "errors": errors});
    if flags {
        body["has_errors"] = json!(!errors.is_empty());
    }
    body
}

proptest! {
    #[test]
    fn i8_nothing_is_claimed_that_is_not_true(
        truth in prop::collection::vec(
            prop_oneof![6 => Just(Truth::There), 2 => Just(Truth::Missing), 1 => Just(Truth::Stuck)], 1..12),
        names_missing: bool, own_names: bool, flags: bool,
    ) {
        let body = truthful(&truth, names_missing, own_names, flags);
        let ids: Vec<String> = (0..truth.len()).map(|id| id.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let told = told(&counted(), &body, &ids).unwrap();
        for (truth, told) in truth.iter().zip(&told) {
            let fits = match told {
                Told::Deleted => *truth == Truth::There,
                Told::Absent => *truth == Truth::Missing,
                Told::Failed { .. } => *truth == Truth::Stuck,
                Told::Gone => false,
                Told::Unproven => true,
            };
            prop_assert!(fits, "{:?} is told as {:?} by {}", truth, told, body);
        }
        // Whoever asks for one record alone is told what became of it.
        prop_assert!(truth.len() > 1 || told[0] != Told::Unproven, "{}", body);
    }
}

fn answered(status: u16, body: &Value) -> Response {
    Response { status, headers: reqwest::header::HeaderMap::new(), body: body.to_string().into() }
}

#[test]
fn errors_go_by_their_code_then_by_their_status_then_by_custom() {
    let means = BTreeMap::from([
        ("churn_limit".to_owned(), ErrorMeans::Quota),
        ("404".to_owned(), ErrorMeans::Refused),
    ]);
    let error = |status, body: &Value| error(&means, &pointers(&["/code"]), &answered(status, body)).0;
    assert_eq!(error(403, &json!({"code": "churn_limit"})), ErrorMeans::Quota);
    assert_eq!(error(404, &json!({"code": "other"})), ErrorMeans::Refused);
    for (status, usual) in [
        (200, ErrorMeans::Refused),
        (302, ErrorMeans::Misconfigured),
        (400, ErrorMeans::Refused),
        (401, ErrorMeans::Credential),
        (402, ErrorMeans::Quota),
        (405, ErrorMeans::Misconfigured),
        (408, ErrorMeans::Down),
        (422, ErrorMeans::Refused),
        (429, ErrorMeans::Rate),
        (500, ErrorMeans::Down),
        (503, ErrorMeans::Down),
    ] {
        assert_eq!(error(status, &json!("no code")), usual, "{status}");
    }
}

#[test]
fn i10_only_what_looks_like_a_code_is_shown() {
    for code in ["rate_limited", "not_found-404", "E_LOCKED"] {
        assert_eq!(presentable(code.into()).as_deref(), Some(code), "{code}");
    }
    let long = "x".repeat(CODE_BYTES_MAX + 1);
    for text in ["+4930123456", "4930123456", "Jane Doe", "jane@example.com", "", long.as_str()] {
        assert_eq!(presentable(text.into()), None, "{text}");
    }
}
