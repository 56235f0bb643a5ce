//! Shapes and limits as documented, over real connections; and pushes, signed by one key or several.

use super::super::testing::{Client, Subscriber, clock, serve};
use super::super::{LeadLex, leadlex::LeadLexSettings};
use super::*;

const KEY: &str = "hb_live_1";

struct Fixture {
    service: Arc<HookBridge>,
    client: Client,
    endpoint: String,
    ingest: String,
}

async fn fixture() -> Fixture {
    let settings = HookBridgeSettings { api_key: Secret::new(KEY), retry_scale: 0.0 };
    let service = HookBridge::new(settings, clock()).unwrap();
    let base = serve(vec![service.clone()]).await;
    let client = Client { base, headers: vec![("authorization", format!("Bearer {KEY}"))] };
    let (endpoint, ingest) = service.endpoint("deals");
    Fixture { service, client, endpoint, ingest }
}

impl Fixture {
    /// Sends a webhook to the endpoint; the event's id.
    async fn send(&self, body: &str) -> String {
        let seen = self.client.call("POST", &self.ingest, body).await;
        assert_eq!(seen.status, 200);
        seen.json()["data"]["event_id"].as_str().unwrap().to_owned()
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/pull-endpoints/{}{rest}", self.endpoint)
    }

    async fn ids(&self, query: &str) -> Vec<String> {
        let seen = self.client.get(&self.path(&format!("/events{query}"))).await.json();
        seen["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn an_event_is_stored_then_fetched_then_delivered_and_a_crash_hides_it_from_the_default_list() {
    let fixture = fixture().await;
    let id = fixture.send(r#"{"b":1,  "a":2}"#).await;
    assert_eq!(fixture.ids("").await, std::slice::from_ref(&id));
    let preview = fixture.client.get(&fixture.path(&format!("/events/{id}?preview=true"))).await;
    assert_eq!(preview.json()["data"]["status"], "stored");

    let read = fixture.client.get(&fixture.path(&format!("/events/{id}"))).await;
    assert!(read.text.contains(r#""payload":{"b":1,  "a":2}"#), "byte for byte: {}", read.text);
    assert_eq!(read.json()["data"]["received_at"], "2024-05-16T10:00:00.000Z");
    assert_eq!(fixture.ids("").await, Vec::<String>::new());
    assert_eq!(fixture.ids("?status=fetched").await, std::slice::from_ref(&id));

    let body = json!({"event_ids": [id]}).to_string();
    for newly in [1, 0] {
        let seen = fixture.client.call("POST", &fixture.path("/events/ack"), &body).await.json();
        assert_eq!(seen["data"], json!({"acknowledged": newly}));
    }
    assert_eq!(fixture.ids("?status=delivered").await, [id]);
    let counts = fixture.client.get(&fixture.path("")).await.json()["data"]["counts"].clone();
    assert_eq!(counts, json!({"stored": 0, "fetched": 0, "delivered": 1, "total": 1}));
}

#[tokio::test]
async fn a_payload_that_is_no_json_is_base64_and_a_rewritten_one_has_other_bytes() {
    let fixture = fixture().await;
    let form = fixture.send("a=1").await;
    let read = fixture.client.get(&fixture.path(&format!("/events/{form}"))).await.json();
    assert_eq!(read["data"]["payload"], "YT0x");
    let id = fixture.send(r#"{"b":1,  "a":2}"#).await;
    fixture.service.rewrite_payloads();
    let read = fixture.client.get(&fixture.path(&format!("/events/{id}"))).await;
    assert!(read.text.contains(r#""payload":{"a":2,"b":1}"#), "{}", read.text);
}

#[tokio::test]
async fn pages_end_with_an_empty_cursor_and_limits_are_kept() {
    let fixture = fixture().await;
    let mut sent = Vec::new();
    for number in 0..5 {
        sent.push(fixture.send(&format!("{{\"n\":{number}}}")).await);
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for (size, more) in [(2, true), (2, true), (1, false)] {
        let page =
            fixture.client.get(&fixture.path(&format!("/events?limit=2&cursor={cursor}"))).await.json();
        let ids =
            page["data"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        assert_eq!(page["data"].as_array().unwrap().len(), size);
        assert_eq!(page["has_more"], more);
        cursor = page["next_cursor"].as_str().unwrap().to_owned();
        assert_eq!(cursor.is_empty(), !more);
    }
    assert_eq!(seen, sent);
    for limit in ["0", "1001", "x"] {
        let answer = fixture.client.get(&fixture.path(&format!("/events?limit={limit}"))).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("INVALID_REQUEST")));
    }
    for (path, name, max) in [("ack", "event_ids", 1_000), ("delete-batch", "message_ids", 100)] {
        for count in [0, max + 1] {
            let body = json!({ name: vec![&sent[0]; count] }).to_string();
            let answer = fixture.client.call("POST", &fixture.path(&format!("/events/{path}")), &body).await;
            assert_eq!(answer.status, 400, "{path} of {count}");
        }
    }
    let stranger = json!({"event_ids": [sent[0], "nobody"]}).to_string();
    assert_eq!(fixture.client.call("POST", &fixture.path("/events/ack"), &stranger).await.status, 400);
}

#[tokio::test]
async fn deletions_tell_of_each_id_and_may_end_half_done_inside_a_200() {
    let fixture = fixture().await;
    let (first, second) = (fixture.send("{}").await, fixture.send("{}").await);
    let delete = async |ids: &[&str]| {
        let body = json!({ "message_ids": ids }).to_string();
        fixture.client.call("POST", &fixture.path("/events/delete-batch"), &body).await.json()
    };
    fixture.service.fail_deletes_next(1);
    let half = delete(&[&first, &second]).await;
    assert_eq!(half["error"]["code"], "PARTIAL_DELETE_FAILURE");
    assert_eq!(half["data"]["results"].as_array().unwrap().len(), 1);
    let all = delete(&[&first, &second, "nobody"]).await;
    let outcomes: Vec<_> =
        all["data"]["results"].as_array().unwrap().iter().map(|result| result["outcome"].clone()).collect();
    assert_eq!(outcomes, ["already_deleted", "deleted", "not_found"]);
    assert_eq!(all["data"]["not_found_count"], 1);
    assert_eq!(all["error"], Value::Null);

    let gone = fixture.client.get(&fixture.path(&format!("/events/{first}"))).await;
    assert_eq!((gone.status, &gone.json()["error"]["code"]), (410, &json!("MESSAGE_DELETED")));
    assert_eq!(fixture.ids("").await.len(), 2, "a deleted event keeps its status and its place in the list");

    fixture.send("{}").await;
    let deleted =
        fixture.client.call("POST", &fixture.path("/events/delete-all?status=stored"), "").await.json();
    assert_eq!(deleted["data"]["deleted"], 1);
}

#[tokio::test]
async fn a_paused_endpoint_turns_senders_away_and_keeps_what_it_has() {
    let fixture = fixture().await;
    fixture.send("{}").await;
    assert_eq!(fixture.client.call("POST", &fixture.path("/pause"), "").await.status, 200);
    assert_eq!(fixture.client.call("POST", &fixture.ingest, "{}").await.status, 503);
    assert_eq!(fixture.ids("").await.len(), 1);
    assert_eq!(fixture.client.call("POST", &fixture.path("/resume"), "").await.status, 200);
    fixture.send("{}").await;
    assert_eq!(fixture.client.call("DELETE", &fixture.path(""), "").await.status, 200);
    assert_eq!(fixture.client.get(&fixture.path("")).await.status, 404);
}

#[tokio::test]
async fn an_endpoint_that_is_made_by_the_api_knows_event_types_and_repeats() {
    let fixture = fixture().await;
    let wanted = json!({
        "name": "by hand", "event_type_source": "body", "event_type_path": "event",
        "idempotency_header_names": ["X-Delivery"],
    });
    let made = fixture.client.call("POST", "/v1/pull-endpoints", &wanted.to_string()).await.json();
    let path = made["data"]["ingest_url"].as_str().unwrap().replace(&fixture.client.base, "");
    let sender = fixture.client.with("x-delivery", "d1");
    let body = r#"{"event":"deal.deleted"}"#;
    let first = sender.call("POST", &path, body).await.json()["data"]["event_id"].clone();
    assert_eq!(sender.call("POST", &path, body).await.json()["data"]["event_id"], first);
    let listed =
        format!("/v1/pull-endpoints/{}/events?event_type=deal.deleted", made["data"]["id"].as_str().unwrap());
    assert_eq!(fixture.client.get(&listed).await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn strangers_are_refused_and_a_neighbour_on_the_same_port_is_left_alone() {
    let settings = HookBridgeSettings::documented(Secret::new(KEY));
    let service = HookBridge::new(settings, clock()).unwrap();
    let leadlex = LeadLex::new(LeadLexSettings::documented(Secret::new(KEY)), clock()).unwrap();
    let base = serve(vec![service, leadlex]).await;
    let nobody = Client { base: base.clone(), headers: vec![] };
    let refused = nobody.get("/v1/pull-endpoints/x/events").await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (401, &json!("UNAUTHORIZED")));
    let client = Client { base, headers: vec![("authorization", format!("Bearer {KEY}"))] };
    let unknown = client.get("/v1/pull-endpoints/x/events").await;
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (404, &json!("ENDPOINT_NOT_FOUND")));
    assert_eq!(client.get("/v1/deals").await.status, 200);
}

/// Computed by hand from the documented construction.
#[test]
fn a_push_is_signed_over_its_time_and_body() {
    let body = br#"{"event":"deal.deleted","data":{"id":"3f8e1d2c-4b5a-6d7e-8f9a-0b1c2d3e4f5a"}}"#;
    let signature = pushes::sign(&Secret::new("hookbridge_test_secret"), "1775398991", body);
    assert_eq!(signature, "503487bc7ca517e90f77c35332eba10ff237469b65a1ebfe1e7f46ab2fda304b");
}

#[tokio::test]
async fn while_keys_rotate_a_push_has_a_signature_of_each() {
    let fixture = fixture().await;
    let subscriber = Subscriber::new();
    let url = format!("{}/hooks", serve(vec![subscriber.clone()]).await);
    subscriber.refuse_next(1);
    fixture.service.push_to(&url, vec![Secret::new("the new key"), Secret::new("the old key")]);
    fixture.service.push("{}");
    fixture.service.deliveries().settled().await;
    let calls = subscriber.calls();
    assert_eq!(calls.len(), 2, "a refused push is tried again");
    let signatures: Vec<&str> = calls[1].header("x-webhook-signature").unwrap().split(',').collect();
    assert_eq!(signatures.len(), 2);
    assert!(signatures.iter().all(|signature| signature.starts_with("sha256=")));
}
