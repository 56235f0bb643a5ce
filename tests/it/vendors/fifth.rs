//! A vendor that the program has never heard of, described in a configuration and nowhere else.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use expunged::clock::SharedClock;
use expunged::sandbox::{Answer, Call, Faults, Simulator};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{API_KEY, World, code, counts, deleted, numbers, outcomes};
use crate::support::mirror;

/// Takes 7 documents a request with PUT, answers 207 with a result for each, and counts nothing.
struct Archive {
    documents: Mutex<BTreeSet<String>>,
    requests: Mutex<Vec<Value>>,
    faults: Faults,
    clock: SharedClock,
}

#[async_trait]
impl Simulator for Archive {
    fn owns(&self, first_segment: &str) -> bool {
        first_segment == "tenants"
    }

    async fn answer(&self, call: &Call) -> Answer {
        let path: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        let key = format!("Token {API_KEY}");
        if call.header("x-archive-auth") != Some(key.as_str()) || call.header("x-region") != Some("eu") {
            return Answer::new(StatusCode::UNAUTHORIZED, json!({"fault": "who_are_you"}));
        }
        if (&call.method, path.as_slice()) != (&Method::PUT, &["tenants", "acme", "purge"]) {
            return Answer::new(StatusCode::NOT_FOUND, json!({"fault": "no_such_path"}));
        }
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        self.requests.lock().unwrap().push(body.clone());
        let items = body["purge"]["documents"].as_array().unwrap();
        if items.len() > 7 {
            return Answer::new(StatusCode::PAYLOAD_TOO_LARGE, json!({"fault": "too_long"}));
        }
        if items.iter().any(|item| item["ref"] == "doc/000013") {
            // The whole request is refused for one document under legal hold.
            return Answer::new(StatusCode::CONFLICT, json!({"fault": "legal_hold"}));
        }
        let mut documents = self.documents.lock().unwrap();
        let result = |item: &Value| {
            let name = item["ref"].as_str().unwrap();
            let state = if documents.remove(name) { "purged" } else { "unknown" };
            json!({"document": {"ref": name}, "state": state})
        };
        let results: Vec<Value> = items.iter().map(result).collect();
        Answer::new(StatusCode::MULTI_STATUS, json!({"outcome": {"results": results}}))
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

/// All that the program knows of it.
const ARCHIVE: &str = r#"
[targets.archive]
kind = "api"
base_url = "BASE"
method = "PUT"
path = "/tenants/{tenant}/purge"
limit = 7
rate_per_second = 10000
api_key = { env = "REPLIERS_API_KEY" }
auth = { scheme = "header", header = "x-archive-auth", prefix = "Token " }
headers = { x-region = "eu" }
body = { purge = { documents = "{ids}", permanent = true } }
kinds.id = { item = { ref = "{id}" }, told_as = "/document/ref" }
error_code = "/fault"
errors = { legal_hold = "refused" }
[targets.archive.answer]
items = "/outcome/results"
word = "/state"
words = { purged = "deleted", unknown = "absent" }
unlisted = "unproven"
[targets.archive.entities.listing]
id = "doc/{1}"
params = { tenant = "acme" }
"#;

#[tokio::test]
async fn a_fifth_vendor_needs_a_configuration_and_no_code() {
    let world = World::new();
    let all = numbers(0..30);
    let archive = Arc::new(Archive {
        documents: Mutex::new(all.iter().skip(2).map(|number| format!("doc/{number}")).collect()),
        requests: Mutex::default(),
        faults: Faults::default(),
        clock: world.clock.clone(),
    });
    let base = mirror::serve(vec![archive.clone()]).await;
    let mut rig = world.rig(&ARCHIVE.replace("BASE", &base)).await;
    deleted(&mut rig, &all).await;
    assert_eq!(outcomes(&rig, "archive").await, counts(&[("deleted", 27), ("failed", 1), ("not_found", 2)]));
    assert_eq!(code(&rig, "000013").await, "refused");
    assert_eq!(*archive.documents.lock().unwrap(), BTreeSet::from(["doc/000013".to_owned()]));
    let first = archive.requests.lock().unwrap()[0].clone();
    assert_eq!(first["purge"]["permanent"], true);
    assert_eq!(first["purge"]["documents"][0], json!({"ref": "doc/000000"}));
    rig.stop().await;
}
