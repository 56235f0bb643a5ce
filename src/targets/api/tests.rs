//! What goes out for a batch, and what the figures allow.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::http::Response;
use super::quota::{Allowance, Plan};
use super::sheet::Sheet;
use crate::config::api::{Api, Quota};
use crate::config::target::Kind;
use crate::config::{Config, Environment};
use crate::domain::{Action, Entity, Key, Timestamp};
use crate::targets::{Batch, Effect, Removal};

struct Env;

impl Environment for Env {
    fn var(&self, _: &str) -> Option<String> {
        Some("a secret of good length".into())
    }

    fn read(&self, _: &Path, _: u64) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The API of a target of these lines.
fn api(lines: &str) -> Api {
    let text = format!(
        "[sources.s]\nentity = \"listing\"\nsecret = {{ env = \"S\" }}\n\
         auth = {{ scheme = \"static_secret\", headers = [\"x\"] }}\n\
         payload = {{ event = \"path\", key = [\"/a\", \"/b\"] }}\nevents = {{ gone = \"delete\" }}\n\
         [targets.t]\napi_key = {{ env = \"K\" }}\n{lines}"
    );
    let config = Config::parse(&text, "t.toml", &Env).unwrap_or_else(|faults| panic!("{faults}"));
    match config.targets.into_iter().next().unwrap().kind {
        Kind::Api(api) => *api,
        _ => panic!("an API"),
    }
}

fn talkdesk(entity: &str) -> Api {
    api(&format!(
        "preset = \"talkdesk\"\nauth.client_id = \"c\"\nauth.token_url = \"/oauth/token\"\n\
         entities.listing = {{ {entity}, params = {{ record_list_id = \"7\" }} }}"
    ))
}

fn removal(parts: &[&str]) -> Removal {
    let key = Key::new(parts.iter().map(ToString::to_string).collect()).unwrap();
    Removal { entity: Entity::new("listing"), key, action: Action::Delete, at: Timestamp::default() }
}

fn batch(number: i64, keys: &[[&str; 2]]) -> Batch {
    Batch { number, removals: keys.iter().map(|key| removal(key)).collect() }
}

/// The bodies of a batch's requests.
fn bodies(api: &Api, batch: &Batch, dry_run: bool) -> Vec<Value> {
    let mut sheet = Sheet::new(api, "t", batch);
    let chunks = sheet.chunks();
    chunks.iter().map(|chunk| sheet.body(&api.entities[&chunk.entity], chunk, dry_run)).collect()
}

#[test]
fn each_vendor_gets_the_body_that_it_documents() {
    let all = batch(1, &[["2", "W1"], ["2", "W2"]]);
    let one = |lines: &str| bodies(&api(lines), &all, false);
    let calmyx = "preset = \"calmyx\"\nentities.listing = { id = \"{1}\" }";
    assert_eq!(one(calmyx), [json!({"listing_ids": ["W1", "W2"]})]);
    let leadlex = "preset = \"leadlex\"\nentities.listing = {}";
    assert_eq!(one(leadlex), [json!({"deal_ids": ["2:W1", "2:W2"]})]);
    let rehearsed = bodies(&api(leadlex), &all, true);
    assert_eq!(rehearsed, [json!({"deal_ids": ["2:W1", "2:W2"], "dry_run": true})]);
    let by = |entity: &str| bodies(&talkdesk(entity), &all, false);
    assert_eq!(by("id = \"{1}\""), [json!([{"id": "W1"}, {"id": "W2"}])]);
    assert_eq!(
        by("kind = \"phone_number\", id = \"{1}\""),
        [json!([{"phone_number": "W1"}, {"phone_number": "W2"}])]
    );
    let external = |id: &str| json!({"external_provider": "2", "external_id": id});
    assert_eq!(by("kind = \"external\""), [json!([external("W1"), external("W2")])]);
    assert_eq!(
        talkdesk("id = \"{1}\"").entities[&Entity::new("listing")].path,
        "/record-lists/7/records/bulks"
    );
}

#[test]
fn a_request_has_as_many_ids_as_the_vendor_takes_and_none_twice() {
    let calmyx = api("preset = \"calmyx\"\nentities.listing = { id = \"{1}\" }");
    let numbers: Vec<String> = (0..250).map(|number| number.to_string()).collect();
    let mut keys: Vec<[&str; 2]> = numbers.iter().map(|number| ["2", number.as_str()]).collect();
    keys.push(["3", "0"]);
    let batch = batch(1, &keys);
    let bodies = bodies(&calmyx, &batch, false);
    let sizes: Vec<usize> = bodies.iter().map(|body| body["listing_ids"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [100, 100, 50]);

    // The twin has no request of its own, and what went is not told twice.
    let mut sheet = Sheet::new(&calmyx, "t", &batch);
    for chunk in sheet.chunks() {
        for place in chunk.places {
            sheet.tell(place, Effect::Removed { rows: 1 });
        }
    }
    let effects = sheet.finish();
    assert_eq!((effects.len(), &effects[250]), (251, &Effect::Gone));
    assert!(effects[..250].iter().all(|effect| *effect == Effect::Removed { rows: 1 }));
}

#[test]
fn an_idempotency_key_is_that_of_the_batch_and_its_ids() {
    let leadlex = api("preset = \"leadlex\"\nlimit = 2\nentities.listing = {}");
    let keys = |batch: &Batch, target: &str| -> Vec<String> {
        let mut sheet = Sheet::new(&leadlex, target, batch);
        sheet.chunks().iter().map(|chunk| sheet.idempotency_key(chunk)).collect()
    };
    let ids = [["2", "a"], ["2", "b"], ["2", "c"]];
    let first = keys(&batch(7, &ids), "t");
    assert_eq!(first, keys(&batch(7, &ids), "t"), "also after a crash");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 2);
    let others = [keys(&batch(8, &ids), "t"), keys(&batch(7, &ids), "u"), keys(&batch(7, &ids[..1]), "t")];
    for other in others.iter().flatten() {
        assert!(!first.contains(other), "another batch, target or list of ids is another request");
    }
    assert!(first[0].len() == 36 && first[0].split('-').count() == 5, "{}", first[0]);
}

#[test]
fn a_record_that_cannot_be_named_fails_by_itself() {
    let external = talkdesk("kind = \"external\"");
    let short = Batch { number: 1, removals: vec![removal(&["alone"])] };
    let mut sheet = Sheet::new(&external, "t", &short);
    assert!(sheet.chunks().is_empty());
    let Effect::Failed(failure) = &sheet.finish()[0] else { panic!("failed") };
    assert_eq!((failure.code, failure.retry), ("key_parts", false));

    let calmyx = api("preset = \"calmyx\"\nentities.listing = {}");
    let marked = Removal { action: Action::Deactivate, ..removal(&["1"]) };
    let stranger = Removal { entity: Entity::new("deal"), ..removal(&["1"]) };
    let batch = Batch { number: 1, removals: vec![marked, stranger] };
    let codes: Vec<_> = Sheet::new(&calmyx, "t", &batch)
        .finish()
        .into_iter()
        .map(|effect| match effect {
            Effect::Failed(failure) => failure.code,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(codes, ["deactivation", "entity"]);
}

fn answered(status: u16, headers: &[(&'static str, &str)], body: &Value) -> Response {
    let headers =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    Response { status, headers, body: body.to_string().into() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

const NOON: i64 = 1_700_000_000;

fn quota(lines: &str) -> Quota {
    api(&format!("{lines}\nentities.listing = {{}}")).quota
}

#[test]
fn requests_of_a_day_are_planned_by_the_headers() {
    let allowance = Allowance::new(quota("preset = \"leadlex\""));
    assert_eq!(allowance.plan(500, at(NOON)), Plan::Send(500));
    let says = |left: &str, reset: &str| {
        let headers = [("x-ratelimit-remaining", left), ("x-ratelimit-reset", reset)];
        allowance.learn(&answered(200, &headers, &json!({})), at(NOON));
    };
    says("1", "1700003600");
    assert_eq!((allowance.plan(500, at(NOON)), allowance.left()), (Plan::Send(500), Some(1)));
    says("0", "1700003600");
    assert_eq!(allowance.plan(500, at(NOON)), Plan::Wait(at(NOON + 3_600)));
    assert_eq!(allowance.plan(500, at(NOON + 3_600)), Plan::Send(500), "a new day");
    says("0", "60");
    assert_eq!(allowance.plan(500, at(NOON)), Plan::Wait(at(NOON + 60)), "seconds from now");
    says("0", "99999999999999999999");
    assert_eq!(allowance.plan(500, at(NOON)), Plan::Wait(at(NOON + 25 * 3_600)), "no longer than a day");
    says("0", "never");
    assert_eq!(allowance.plan(500, at(NOON)), Plan::Send(500), "until the vendor says when");
}

#[test]
fn a_request_that_was_sent_away_is_sent_again_when_the_vendor_says() {
    let allowance = Allowance::new(quota("preset = \"leadlex\""));
    let again =
        |value: &str| allowance.again(&answered(429, &[("retry-after", value)], &json!({})), at(NOON));
    assert_eq!(again("30"), Some(at(NOON + 30)));
    assert_eq!(again("Tue, 14 Nov 2023 22:14:20 GMT"), Some(at(NOON + 60)));
    assert_eq!(again("99999999"), Some(at(NOON + 25 * 3_600)));
    assert_eq!(again("soon"), None);
}

#[test]
fn deletions_are_planned_by_figures_that_are_fresh() {
    let allowance = Allowance::new(quota("preset = \"calmyx\""));
    let says = |body: Value| allowance.learn(&answered(200, &[], &body), at(NOON));
    assert_eq!(allowance.plan(100, at(NOON)), Plan::Ask);
    says(json!({"deletions_count": 15, "deletions_max": 2000, "deletions_remaining": 1985}));
    assert_eq!((allowance.plan(100, at(NOON)), allowance.left()), (Plan::Send(100), Some(1_985)));
    says(json!({"deletions_used": 1_963, "deletions_max": 2_000}));
    assert_eq!(allowance.plan(100, at(NOON)), Plan::Send(37));
    assert_eq!(allowance.plan(100, at(NOON + 600)), Plan::Ask, "others delete too");
    says(json!({"deletions_used": 2_001, "deletions_max": 2_000}));
    assert_eq!(allowance.plan(100, at(NOON)), Plan::Spent);
    assert_eq!(allowance.plan(100, at(NOON + 60)), Plan::Ask, "it may have been raised");
    says(json!({"deletions_used": 9, "deletions_max": -1}));
    assert_eq!((allowance.plan(100, at(NOON)), allowance.left()), (Plan::Send(100), None));
    says(json!({"nothing": 1}));
    assert_eq!(allowance.plan(100, at(NOON)), Plan::Send(100), "an answer without figures changes nothing");
    allowance.forget();
    assert_eq!(allowance.plan(100, at(NOON)), Plan::Ask);
}
