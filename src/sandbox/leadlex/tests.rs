//! Shapes as documented, signed deliveries and their retries; all over real connections.

use super::super::delivery::{Counts, scaled};
use super::super::testing::{Client, Subscriber, clock, noon_less_two, serve};
use super::super::{Repliers, repliers};
use super::*;
use crate::clock::ManualClock;

struct Fixture {
    upstream: Arc<LeadLex>,
    client: Client,
    clock: Arc<ManualClock>,
    subscriber: Arc<Subscriber>,
}

async fn fixture(change: impl FnOnce(&mut LeadLexSettings)) -> Fixture {
    let mut settings = LeadLexSettings::documented(Secret::new("wbk_1"));
    settings.retry_scale = 0.0;
    change(&mut settings);
    let clock = clock();
    let upstream = LeadLex::new(settings, clock.clone()).unwrap();
    let base = serve(vec![upstream.clone()]).await;
    let client = Client { base, headers: vec![("authorization", "Bearer wbk_1".into())] };
    let subscriber = Subscriber::new();
    let url = format!("{}/hooks/leadlex", serve(vec![subscriber.clone()]).await);
    upstream.subscribe(&url, Secret::new("It's a Secret to Everybody"));
    Fixture { upstream, client, clock, subscriber }
}

#[tokio::test]
async fn a_deleted_deal_is_answered_and_told_as_documented() {
    let fixture = fixture(|_| {}).await;
    fixture.upstream.add("deal_01HY1", "Estate of Doe");
    let seen = fixture.client.call("DELETE", "/v1/deals/deal_01HY1", "").await;
    assert_eq!(seen.status, 200);
    assert_eq!(seen.json(), json!({"data": {"deleted": true, "id": "deal_01HY1"}}));
    assert_eq!(seen.header("x-ratelimit-remaining"), "999");
    let again = fixture.client.call("DELETE", "/v1/deals/deal_01HY1", "").await;
    assert_eq!((again.status, &again.json()["error"]["code"]), (404, &json!("deal_not_found")));

    fixture.upstream.deliveries().settled().await;
    let calls = fixture.subscriber.calls();
    assert_eq!(calls.len(), 1);
    let expected = json!({
        "event": "deal.deleted",
        "timestamp": "2024-05-16T10:00:00Z",
        "workspace_id": "123e4567-e89b-12d3-a456-426614174000",
        "data": {"deal": {"id": "deal_01HY1"}},
    });
    assert_eq!(serde_json::from_slice::<Value>(&calls[0].body).unwrap(), expected);
    assert_eq!(calls[0].header("user-agent"), Some("LeadLex-Webhook/1.0"));
    assert_eq!(calls[0].header("x-leadlex-timestamp"), Some("2024-05-16T10:00:00Z"));
    assert_eq!(calls[0].header("content-type"), Some("application/json"));
}

/// The vector that GitHub publishes for the same construction (`sha256=` and hex, over the body alone).
#[test]
fn signatures_are_the_hmac_of_the_body() {
    let secret = Secret::new("It's a Secret to Everybody");
    assert_eq!(
        webhooks::sign(&secret, b"Hello, World!"),
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

#[tokio::test]
async fn a_refused_delivery_is_tried_again_with_the_same_signature_and_another_id() {
    let fixture = fixture(|_| {}).await;
    fixture.upstream.add("d1", "");
    fixture.subscriber.refuse_next(1);
    fixture.upstream.delete("d1");
    fixture.upstream.deliveries().settled().await;
    assert_eq!(fixture.upstream.deliveries().counts(), Counts { delivered: 1, refused: 1, lost: 0 });

    let calls = fixture.subscriber.calls();
    let header = |index: usize, name: &str| calls[index].header(name).unwrap().to_owned();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].body, calls[1].body);
    assert_eq!(header(0, "x-leadlex-signature"), header(1, "x-leadlex-signature"));
    assert_ne!(header(0, "x-leadlex-delivery-id"), header(1, "x-leadlex-delivery-id"));
}

#[tokio::test]
async fn after_five_retries_the_event_is_lost() {
    let fixture = fixture(|_| {}).await;
    fixture.upstream.add("d1", "");
    fixture.subscriber.refuse_next(7);
    fixture.upstream.delete("d1");
    fixture.upstream.deliveries().settled().await;
    assert_eq!(fixture.upstream.deliveries().counts(), Counts { delivered: 0, refused: 6, lost: 1 });
    assert_eq!(fixture.subscriber.calls().len(), 6);
}

#[test]
fn the_retry_schedule_is_the_documented_one_in_scaled_time() {
    let seconds = |scale| scaled(&RETRIES, scale).iter().map(Duration::as_secs_f64).collect::<Vec<f64>>();
    assert_eq!(seconds(1.0), [5.0, 30.0, 300.0, 3_600.0, 21_600.0]);
    assert_eq!(seconds(0.5), [2.5, 15.0, 150.0, 1_800.0, 10_800.0]);
    assert_eq!(seconds(f64::NAN), [0.0; 5]);
    assert_eq!(seconds(-1.0), [0.0; 5]);
}

#[tokio::test]
async fn a_bulk_deletion_tells_of_each_deal_and_counts_what_was_not_there() {
    let fixture = fixture(|_| {}).await;
    for id in ["d1", "d2", "d3"] {
        fixture.upstream.add(id, "");
    }
    let body = json!({"deal_ids": ["d1", "d3", "nothing"]}).to_string();
    let dry = json!({"deal_ids": ["d1", "d3", "nothing"], "dry_run": true}).to_string();
    let rehearsed = fixture.client.call("POST", "/v1/deals/bulk-delete", &dry).await.json();
    assert_eq!(fixture.upstream.deals().len(), 3);

    let keyed = fixture.client.with("idempotency-key", "k1");
    let seen = keyed.call("POST", "/v1/deals/bulk-delete", &body).await.json();
    assert_eq!(seen, rehearsed);
    assert_eq!((&seen["data"]["deleted_count"], &seen["data"]["not_found_count"]), (&json!(2), &json!(1)));
    assert_eq!(seen["data"]["errors"][0]["deal_id"], "nothing");
    assert_eq!(
        keyed.call("POST", "/v1/deals/bulk-delete", &body).await.json(),
        seen,
        "same key, same result"
    );
    fixture.clock.set(noon_less_two().plus(Duration::from_hours(24)));
    let later = keyed.call("POST", "/v1/deals/bulk-delete", &body).await.json();
    assert_eq!(later["data"]["deleted_count"], 0, "a key is remembered for a day");

    fixture.upstream.deliveries().settled().await;
    assert_eq!(fixture.subscriber.calls().len(), 2);
    assert_eq!(fixture.upstream.deals(), ["d2"]);
}

#[tokio::test]
async fn a_bulk_deletion_takes_500_ids_and_no_more() {
    let fixture = fixture(|_| {}).await;
    let ids = |count: usize| {
        let ids: Vec<String> = (0..count).map(|number| format!("d{number}")).collect();
        json!({"deal_ids": ids}).to_string()
    };
    assert_eq!(fixture.client.call("POST", "/v1/deals/bulk-delete", &ids(500)).await.status, 200);
    let seen = fixture.client.call("POST", "/v1/deals/bulk-delete", &ids(501)).await;
    assert_eq!((seen.status, &seen.json()["error"]["code"]), (400, &json!("validation_error")));
    assert_eq!(fixture.client.call("POST", "/v1/deals/bulk-delete", "no json").await.status, 400);
}

#[tokio::test]
async fn deals_are_listed_page_by_page() {
    let fixture = fixture(|_| {}).await;
    for number in 0..5 {
        fixture.upstream.add(&format!("d{number}"), "x");
    }
    let page = fixture.client.get("/v1/deals?per_page=2&page=3").await.json();
    assert_eq!(page["meta"], json!({"page": 3, "per_page": 2, "total": 5}));
    assert_eq!(page["data"]["deals"][0]["id"], "d4");
    assert_eq!(fixture.client.get("/v1/deals?per_page=1000").await.json()["meta"]["per_page"], 100);
    assert_eq!(fixture.client.get("/v1/deals?page=0").await.status, 400);
}

#[tokio::test]
async fn a_webhook_shows_its_secret_once() {
    let fixture = fixture(|_| {}).await;
    let body = json!({"url": "http://127.0.0.1:1/", "events": ["deal.deleted"], "description": "CRM"});
    let created = fixture.client.call("POST", "/v1/webhooks", &body.to_string()).await.json();
    let secret = created["data"]["webhook"]["secret"].as_str().unwrap().to_owned();
    assert!(secret.len() >= 32);
    let listed = fixture.client.get("/v1/webhooks").await;
    assert_eq!(listed.json()["data"]["webhooks"].as_array().unwrap().len(), 2);
    assert!(!listed.text.contains(&secret));
    let long = json!({"url": "http://127.0.0.1:1/", "events": [], "description": "x".repeat(201)});
    assert_eq!(fixture.client.call("POST", "/v1/webhooks", &long.to_string()).await.status, 400);
}

#[tokio::test]
async fn the_daily_quota_ends_at_midnight() {
    let fixture = fixture(|settings| settings.requests_per_day = 2).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(fixture.client.get("/v1/deals").await);
    }
    assert_eq!(seen.iter().map(|seen| seen.status).collect::<Vec<_>>(), [200, 200, 429]);
    assert_eq!(seen[2].json()["error"]["code"], "rate_limited");
    assert_eq!(seen[2].header("x-ratelimit-reset"), "1715904000");
    fixture.clock.set(Timestamp::from_seconds(1_715_904_000));
    assert_eq!(fixture.client.get("/v1/deals").await.header("x-ratelimit-remaining"), "1");
}

#[tokio::test]
async fn two_upstreams_share_an_address_and_each_keeps_its_key() {
    let clock = clock();
    let leadlex = LeadLex::new(LeadLexSettings::documented(Secret::new("wbk_1")), clock.clone()).unwrap();
    let settings = repliers::RepliersSettings::documented(Secret::new("key"), Secret::new("hook"));
    let listings = Repliers::new(settings, clock).unwrap();
    let client = Client { base: serve(vec![leadlex, listings]).await, headers: vec![] };
    assert_eq!(client.with("authorization", "Bearer wbk_1").get("/v1/deals").await.status, 200);
    assert_eq!(client.with("repliers-api-key", "key").get("/listings/deleted").await.status, 200);
    assert_eq!(client.with("repliers-api-key", "key").get("/v1/deals").await.status, 401);
}
