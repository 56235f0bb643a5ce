//! A keeper of deliveries that the program has never heard of, described in a configuration and nowhere else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use expunged::clock::SharedClock;
use expunged::sandbox::{Answer, Call, Faults, Simulator};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::leadlex::{config, count, deals, hmac_hex, seed};
use super::{Daemon, folder};
use crate::support::mirror::{self, API_KEY, LEADLEX_SECRET};
use crate::support::rig::until;

/// Keeps parcels, lists all of them at once, and hears of two at most that were taken.
struct Lockers {
    /// Bodies and signatures, by reference; what is taken is not there any more.
    parcels: Mutex<BTreeMap<String, (String, String)>>,
    taken: Mutex<Vec<Vec<String>>>,
    faults: Faults,
    clock: SharedClock,
}

#[async_trait]
impl Simulator for Lockers {
    fn owns(&self, first_segment: &str) -> bool {
        first_segment == "lockers"
    }

    async fn answer(&self, call: &Call) -> Answer {
        if call.header("x-locker-key") != Some(API_KEY) {
            return Answer::new(StatusCode::FORBIDDEN, json!({}));
        }
        let path: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        let mut parcels = self.parcels.lock().unwrap();
        match (&call.method, path.as_slice()) {
            (&Method::GET, ["lockers", "north", "waiting"]) => {
                let waiting: Vec<Value> = parcels.keys().map(|name| json!({ "ref": name })).collect();
                Answer::ok(json!({ "parcels": waiting }))
            }
            (&Method::GET, ["lockers", "north", "parcels", name]) => {
                let (body, signature) = &parcels[*name];
                Answer::ok(json!({ "raw": body, "head": { "X-LeadLex-Signature": signature } }))
            }
            (&Method::POST, ["lockers", "north", "taken"]) => {
                let body: Value = serde_json::from_slice(&call.body).unwrap();
                let refs =
                    body["refs"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
                let refs: Vec<String> = refs.collect();
                assert!(refs.len() <= 2, "{refs:?}");
                parcels.retain(|name, _| !refs.contains(name));
                self.taken.lock().unwrap().push(refs);
                Answer::ok(json!({}))
            }
            _ => Answer::new(StatusCode::NOT_FOUND, json!({})),
        }
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

/// All that the program knows of it.
const LOCKERS: &str = r#"
[sources.leadlex.pull]
base_url = "BASE"
api_key = { env = "REPLIERS_API_KEY" }
credential = { header = "x-locker-key" }
endpoints = ["north"]
every = "20ms"
rate_per_second = 10000
listing = { url = "/lockers/{endpoint}/waiting", items = "/parcels", id = "/ref", paging = { kind = "none" } }
reading = { url = "/lockers/{endpoint}/parcels/{event}", body = "/raw", text = "plain", headers = "/head" }
acknowledge = { url = "/lockers/{endpoint}/taken", ids = "refs", max = 2 }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_without_a_preset_needs_a_configuration_and_no_code() {
    let (folder, all) = (folder(), deals(5));
    seed(folder.path(), &all).await;
    let parcel = |deal: &String| {
        let body = format!(r#"{{"event":"deal.deleted", "data":{{"id":"{deal}"}}}}"#);
        let signature = format!("sha256={}", hmac_hex(LEADLEX_SECRET.as_bytes(), body.as_bytes()));
        (format!("parcel of {deal}"), (body, signature))
    };
    let mut parcels: BTreeMap<_, _> = all.iter().map(parcel).collect();
    let forged = parcels.values_mut().last().unwrap();
    forged.1.truncate(20);
    let lockers = Arc::new(Lockers {
        parcels: Mutex::new(parcels),
        taken: Mutex::default(),
        faults: Faults::default(),
        clock: mirror::clock(),
    });
    let base = mirror::serve(vec![lockers.clone()]).await;
    let daemon = Daemon::serve(config(folder.path(), &LOCKERS.replace("BASE", &base))).await;
    until("all but one to be taken", async || lockers.parcels.lock().unwrap().len() == 1).await;
    daemon.settled(&["replica"]).await;
    assert_eq!(count(folder.path(), "SELECT count(*) FROM deals").await, 1, "the forged one stays");
    let mut taken = lockers.taken.lock().unwrap().concat();
    taken.sort();
    assert_eq!(taken, all[..4].iter().map(|deal| format!("parcel of {deal}")).collect::<Vec<_>>());
    daemon.stop().await;
}
