//! Shapes as documented, the handshake, deliveries, and faults as scripted; all over real connections.

use std::time::Duration;

use super::super::delivery::Counts;
use super::super::fault::http_date;
use super::super::testing::{Client, Seen, Subscriber, clock, noon_less_two, serve, time};
use super::super::{Fault, Simulator};
use super::*;
use crate::clock::ManualClock;

struct Fixture {
    upstream: Arc<Repliers>,
    client: Client,
    clock: Arc<ManualClock>,
}

async fn fixture(change: impl FnOnce(&mut RepliersSettings)) -> Fixture {
    let mut settings = RepliersSettings::documented(Secret::new("key"), Secret::new("hook secret"));
    settings.requests_per_second = None;
    change(&mut settings);
    let clock = clock();
    let upstream = Repliers::new(settings, clock.clone()).unwrap();
    let base = serve(vec![upstream.clone()]).await;
    let client = Client { base, headers: vec![("repliers-api-key", "key".into())] };
    Fixture { upstream, client, clock }
}

impl Fixture {
    /// Lists and deletes a listing that was last updated an hour before its deletion.
    fn deleted(&self, board: i64, mls: &str, at: &str) {
        let key = ListingKey::new(board, mls);
        self.upstream.list(&key, time(at).minus(Duration::from_hours(1)));
        assert!(self.upstream.delete(&key, time(at)));
    }

    async fn subscribe(&self, event: &str, url: &str) -> Seen {
        let body = json!({"event": event, "target_url": url}).to_string();
        self.client.call("POST", "/webhooks", &body).await
    }
}

fn numbers(page: &Value) -> Vec<&str> {
    page["listings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|listing| listing["mlsNumber"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_feed_has_the_observed_shape() {
    let fixture = fixture(|_| {}).await;
    fixture.deleted(2, "W1", "2024-05-16T09:00:00.5Z");
    let seen = fixture.client.get("/listings/deleted").await;
    assert_eq!(seen.status, 200);
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("date"), "Thu, 16 May 2024 10:00:00 GMT");
    let mut page = seen.json();
    assert_eq!(page["listings"][0].as_object_mut().unwrap().remove("address").unwrap()["city"], Value::Null);
    let expected = json!({
        "page": 1, "numPages": 1, "pageSize": 100, "count": 1,
        "listings": [{
            "boardId": 2, "mlsNumber": "W1", "resource": "Property:2505",
            "timestamps": {"listingUpdated": "2024-05-16T08:00:00.500Z"},
        }],
    });
    assert_eq!(page, expected);
}

#[tokio::test]
async fn windows_are_days_and_inclusive_on_both_sides() {
    let fixture = fixture(|_| {}).await;
    for (mls, at) in [
        ("before", "2024-05-14T23:59:59.999999Z"),
        ("first", "2024-05-15T00:00:00Z"),
        ("last", "2024-05-16T23:59:59.999999Z"),
        ("after", "2024-05-17T00:00:00Z"),
    ] {
        fixture.deleted(2, mls, at);
    }
    for (query, expected) in [
        ("minUpdatedOn=2024-05-15&maxUpdatedOn=2024-05-16", vec!["first", "last"]),
        ("minUpdatedOn=2024-05-16", vec!["last", "after"]),
        ("maxUpdatedOn=2024-05-14", vec!["before"]),
        ("updatedOn=2024-05-15", vec!["first"]),
        ("boardId=3", vec![]),
        ("boardId=3&boardId=2&updatedOn=2024-05-17", vec!["after"]),
    ] {
        let page = fixture.client.get(&format!("/listings/deleted?{query}")).await.json();
        assert_eq!(numbers(&page), expected, "{query}");
        assert_eq!(page["count"], expected.len(), "{query}");
    }
}

#[tokio::test]
async fn pages_are_numbered_from_one_and_cover_everything_once() {
    let fixture = fixture(|settings| settings.page_size_max = 2).await;
    for mls in ["A", "B", "C", "D", "E"] {
        fixture.deleted(2, mls, "2024-05-16T09:00:00Z");
    }
    let mut seen = Vec::new();
    for number in 1..=4 {
        let page = fixture.client.get(&format!("/listings/deleted?pageNum={number}&resultsPerPage=50")).await;
        let page = page.json();
        assert_eq!(
            (&page["page"], &page["numPages"], &page["pageSize"]),
            (&json!(number), &json!(3), &json!(2))
        );
        seen.extend(numbers(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(seen, ["A", "B", "C", "D", "E"]);
}

#[tokio::test]
async fn requests_without_the_key_or_with_bad_parameters_are_refused_as_documented() {
    let fixture = fixture(|_| {}).await;
    let stranger = Client { base: fixture.client.base.clone(), headers: vec![] };
    assert_eq!(stranger.get("/listings/deleted").await.status, 401);
    assert_eq!(stranger.with("repliers-api-key", "guess").get("/webhooks").await.status, 401);
    for (query, param) in [
        ("minUpdatedOn=16.05.2024", "minUpdatedOn"),
        ("maxUpdatedOn=2024-02-30", "maxUpdatedOn"),
        ("updatedOn=2024-05-16T00:00:00Z", "updatedOn"),
        ("pageNum=0", "pageNum"),
        ("boardId=x", "boardId"),
    ] {
        let seen = fixture.client.get(&format!("/listings/deleted?{query}")).await;
        assert_eq!(seen.status, 400, "{query}");
        assert_eq!(seen.json()[0][0]["param"], param);
        assert!(seen.json()[0][0]["msg"].is_string());
    }
    assert_eq!(fixture.client.get("/elsewhere").await.status, 404);
}

#[tokio::test]
async fn the_sixth_request_of_a_second_is_too_many() {
    let fixture = fixture(|settings| settings.requests_per_second = NonZeroU32::new(5)).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(fixture.client.get("/listings/deleted").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    fixture.clock.set(noon_less_two().plus(Duration::from_secs(1)));
    assert_eq!(fixture.client.get("/listings/deleted").await.status, 200);
}

#[tokio::test]
async fn a_feed_of_a_hundred_million_is_computed_and_joined_with_what_was_deleted() {
    let first = time("2024-05-15T00:00:00Z");
    let synthetic = Synthetic {
        count: 100_000_000,
        board_id: 9,
        prefix: "S",
        first,
        spacing: Duration::from_secs(40_000),
    };
    let fixture = fixture(|settings| settings.synthetic = Some(synthetic)).await;
    fixture.deleted(2, "W1", "2024-05-16T09:00:00Z");
    let page = fixture.client.get("/listings/deleted?maxUpdatedOn=2024-05-16").await.json();
    assert_eq!(numbers(&page), ["S000000000", "S000000001", "S000000002", "S000000003", "S000000004", "W1"]);
    assert_eq!(page["count"], 6);
    let second =
        fixture.client.get("/listings/deleted?updatedOn=2024-05-16&resultsPerPage=2&pageNum=2").await;
    assert_eq!(numbers(&second.json()), ["W1"]);
    let last = fixture.client.get("/listings/deleted?boardId=9&pageNum=1000000").await.json();
    assert_eq!((&last["count"], &last["numPages"]), (&json!(100_000_000_u64), &json!(1_000_000)));
    assert_eq!(numbers(&last).last(), Some(&"S099999999"));
}

#[tokio::test]
async fn a_subscription_begins_with_an_empty_post_whose_secret_must_come_back() {
    let fixture = fixture(|_| {}).await;
    let subscriber = Subscriber::new();
    let url = format!("{}/hooks/repliers", serve(vec![subscriber.clone()]).await);

    subscriber.refuse_next(1);
    assert_eq!(fixture.subscribe("listing.deleted", &url).await.status, 400);
    assert_eq!(fixture.client.get("/webhooks").await.json(), json!([]));

    let created = fixture.subscribe("listing.deleted", &url).await;
    assert_eq!(created.status, 200);
    assert_eq!(created.json(), json!({"id": 1, "event": "listing.deleted", "target_url": url}));
    let handshake = &subscriber.calls()[1];
    assert!(handshake.body.is_empty());
    assert_eq!(handshake.header("x-hook-secret"), Some("hook secret"));

    assert_eq!(fixture.subscribe("listing.updated", &url).await.status, 400, "one url, one event");
    assert_eq!(fixture.client.get("/webhooks").await.json().as_array().unwrap().len(), 1);
    assert_eq!(fixture.client.call("DELETE", "/webhooks/1", "").await.status, 200);
    assert_eq!(fixture.client.get("/webhooks/1").await.status, 404);
}

#[tokio::test]
async fn deliveries_carry_the_static_secret_and_the_record() {
    let fixture = fixture(|_| {}).await;
    let subscriber = Subscriber::new();
    let base = serve(vec![subscriber.clone()]).await;
    for event in ["deleted", "updated", "created"] {
        fixture.subscribe(&format!("listing.{event}"), &format!("{base}/{event}")).await;
    }
    let key = ListingKey::new(2, "W1");
    fixture.upstream.list(&key, time("2024-05-16T08:00:00Z"));
    fixture.upstream.terminate(&key, time("2024-05-16T09:00:00Z"));
    fixture.upstream.delete(&key, time("2024-05-16T10:00:00Z"));
    assert!(!fixture.upstream.delete(&key, time("2024-05-16T10:00:00Z")), "it is gone");
    fixture.upstream.deliveries().settled().await;

    let calls = subscriber.calls();
    let to = |path: &str| calls.iter().find(|call| call.segments == [path] && !call.body.is_empty()).unwrap();
    let json = |path: &str| serde_json::from_slice::<Value>(&to(path).body).unwrap();
    assert_eq!(to("deleted").header("x-api-key"), Some("hook secret"));
    assert_eq!(to("deleted").header("x-hook-secret"), Some("hook secret"));
    assert_eq!(to("deleted").header("content-type"), Some("application/json"));
    assert_eq!(json("deleted")["data"]["boardId"], 2);
    assert_eq!(json("deleted")["data"]["updatedOn"], "2024-05-16T09:00:00.000Z");
    assert_eq!(json("updated")["previous"]["lastStatus"], "New");
    assert_eq!(json("updated")["data"]["lastStatus"], "Ter");
    assert_eq!(json("created")["data"]["mlsNumber"], "W1");
}

#[tokio::test]
async fn webhooks_are_lost_and_repeated_on_demand_while_the_feed_has_them_all() {
    let fixture = fixture(|_| {}).await;
    let subscriber = Subscriber::new();
    let base = serve(vec![subscriber.clone()]).await;
    fixture.subscribe("listing.deleted", &format!("{base}/hooks")).await;
    fixture.upstream.deliveries().lose_next(1);
    fixture.upstream.deliveries().repeat_next(1);
    for mls in ["lost", "twice", "once"] {
        fixture.deleted(2, mls, "2024-05-16T09:00:00Z");
    }
    fixture.upstream.deliveries().settled().await;
    let expected = Counts { delivered: 3, refused: 0, lost: 1 };
    assert_eq!(fixture.upstream.deliveries().counts(), expected);
    let told = |mls: &str| {
        let names = |call: &&Call| String::from_utf8_lossy(&call.body).contains(mls);
        subscriber.calls().iter().filter(names).count()
    };
    assert_eq!((told("\"lost\""), told("\"twice\""), told("\"once\"")), (0, 2, 1));
    assert_eq!(fixture.client.get("/listings/deleted").await.json()["count"], 3);
}

#[tokio::test]
async fn a_listing_that_is_back_has_left_the_feed() {
    let fixture = fixture(|_| {}).await;
    fixture.deleted(2, "W1", "2024-05-16T09:00:00Z");
    fixture.upstream.list(&ListingKey::new(2, "W1"), time("2024-05-16T09:30:00Z"));
    assert_eq!(fixture.client.get("/listings/deleted").await.json()["count"], 0);
    assert_eq!(fixture.upstream.listings().len(), 1);
}

#[tokio::test]
async fn faults_come_in_the_order_of_the_script_and_then_all_is_well() {
    let fixture = fixture(|_| {}).await;
    fixture.deleted(2, "W1", "2024-05-16T09:00:00Z");
    let until = http_date(time("2024-05-16T10:00:30Z"));
    fixture.upstream.faults().script([
        Fault::too_many("7"),
        Fault::too_many(&until),
        Fault::too_many("soon"),
        Fault::server_error(),
        Fault::Pass,
        Fault::garbage(),
        Fault::total(240),
        Fault::page(7),
        Fault::DateOff(-90),
        Fault::redirect("https://elsewhere.example/listings/deleted"),
    ]);
    let mut seen = Vec::new();
    for _ in 0..11 {
        seen.push(fixture.client.get("/listings/deleted").await);
    }
    let statuses: Vec<u16> = seen.iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [429, 429, 429, 500, 200, 200, 200, 200, 200, 302, 200]);
    assert_eq!(seen[0].header("retry-after"), "7");
    assert_eq!(seen[1].header("retry-after"), "Thu, 16 May 2024 10:00:30 GMT");
    assert_eq!(seen[2].header("retry-after"), "soon");
    assert!(seen[5].text.starts_with("<html>"));
    assert_eq!((&seen[6].json()["count"], &seen[6].json()["page"]), (&json!(240), &json!(1)));
    assert_eq!((&seen[7].json()["count"], &seen[7].json()["page"]), (&json!(1), &json!(7)));
    assert_eq!(seen[8].header("date"), "Thu, 16 May 2024 09:58:30 GMT");
    assert_eq!(seen[9].header("location"), "https://elsewhere.example/listings/deleted");
    assert_eq!(seen[10].json()["count"], 1);
}

#[tokio::test]
async fn a_cut_page_ends_in_an_error_and_a_dripped_one_arrives_whole() {
    let fixture = fixture(|_| {}).await;
    fixture.deleted(2, "W1", "2024-05-16T09:00:00Z");
    let whole = fixture.client.get("/listings/deleted").await.text;
    let drip = Fault::Drip { pieces: 5, pause: Duration::from_millis(1) };
    fixture.upstream.faults().script([Fault::Cut, drip]);
    let cut = fixture.client.send("GET", "/listings/deleted", "").await.unwrap();
    assert_eq!(cut.status(), 200);
    assert!(cut.bytes().await.is_err(), "half a page is no page");
    assert_eq!(fixture.client.get("/listings/deleted").await.text, whole);
}

#[tokio::test]
async fn a_fault_instead_of_the_answer_leaves_the_upstream_as_it_was() {
    let fixture = fixture(|_| {}).await;
    let subscriber = Subscriber::new();
    let base = serve(vec![subscriber.clone()]).await;
    fixture.upstream.faults().script([Fault::server_error()]);
    assert_eq!(fixture.subscribe("listing.deleted", &base).await.status, 500);
    assert_eq!(subscriber.calls().len(), 0);
}
