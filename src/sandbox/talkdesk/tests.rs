//! Shapes and limits as documented, over real connections.

use super::super::testing::{Client, clock, noon_less_two, serve};
use super::*;
use crate::clock::ManualClock;

const PATH: &str = "/record-lists/list-1/records/bulks";

struct Fixture {
    vendor: Arc<Talkdesk>,
    client: Client,
    clock: Arc<ManualClock>,
}

async fn fixture(change: impl FnOnce(&mut TalkdeskSettings)) -> Fixture {
    let mut settings = TalkdeskSettings::documented("client", Secret::new("secret"), "list-1");
    change(&mut settings);
    let clock = clock();
    let vendor = Talkdesk::new(settings, clock.clone());
    for number in 0..10 {
        let record = Record {
            phone_number: format!("+1555000{number}"),
            external_provider: "crm".into(),
            external_id: format!("x{number}"),
        };
        vendor.add(&format!("r{number}"), record);
    }
    let base = serve(vec![vendor.clone()]).await;
    let mut client = Client { base, headers: vec![] };
    let token = token(&client).await;
    client.headers.push(("authorization", format!("Bearer {token}")));
    Fixture { vendor, client, clock }
}

async fn token(client: &Client) -> String {
    let basic = format!("Basic {}", STANDARD.encode("client:secret"));
    let form = "grant_type=client_credentials&scope=record-lists%3Amanage";
    let asking = Client { base: client.base.clone(), headers: vec![("authorization", basic)] };
    let seen = asking.call("POST", "/oauth/token", form).await.json();
    assert_eq!(seen["expires_in"], 600);
    seen["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn records_go_by_each_kind_of_identifier_and_never_by_two() {
    let it = fixture(|_| {}).await;
    for body in [
        json!([{"id": "r0"}, {"id": "nobody"}]),
        json!([{"phone_number": "+15550001"}]),
        json!([{"external_provider": "crm", "external_id": "x2"}]),
    ] {
        let seen = it.client.call("DELETE", PATH, &body.to_string()).await;
        assert_eq!((seen.status, &seen.json()["total_deleted"]), (200, &json!(1)), "{body}");
        assert_eq!(seen.json()["has_errors"], false);
    }
    assert_eq!(it.vendor.records().len(), 7);
    let mixed = json!([{"id": "r3"}, {"phone_number": "+15550004"}]).to_string();
    let seen = it.client.call("DELETE", PATH, &mixed).await;
    assert_eq!((seen.status, &seen.json()["code"]), (400, &json!("0010400")));
    assert_eq!(it.client.get("/record-lists/list-1/records?per_page=2").await.json()["total_pages"], 4);
}

#[tokio::test]
async fn a_200_may_hide_failures() {
    let it = fixture(|settings| settings.missing_fails = true).await;
    it.vendor.stick("r1", true);
    let body = json!([{"id": "r0"}, {"id": "r1"}, {"id": "nobody"}]).to_string();
    let seen = it.client.call("DELETE", PATH, &body).await.json();
    assert_eq!(
        (&seen["has_errors"], &seen["total_deleted"], &seen["total_errors"]),
        (&json!(true), &json!(1), &json!(2))
    );
    assert_eq!(seen["_embedded"]["failed_records"][0]["id"], "r1");
    assert_eq!(seen["_embedded"]["failed_records"][1]["id"], "nobody");
}

#[tokio::test]
async fn work_that_was_only_taken_is_not_done() {
    let it = fixture(|_| {}).await;
    it.vendor.take_only(true);
    let body = json!([{"id": "r0"}]).to_string();
    assert_eq!(it.client.call("DELETE", PATH, &body).await.status, 202);
    assert_eq!(it.vendor.records().len(), 10);
    it.vendor.finish();
    assert_eq!(it.vendor.records().len(), 9);
}

#[tokio::test]
async fn a_request_has_at_most_100_records_of_a_list_that_there_is() {
    let it = fixture(|_| {}).await;
    let body = |count: u32| {
        let ids: Vec<_> = (0..count).map(|number| json!({"id": format!("r{number}")})).collect();
        json!(ids).to_string()
    };
    assert_eq!(it.client.call("DELETE", PATH, &body(100)).await.status, 200);
    assert_eq!(it.client.call("DELETE", PATH, &body(101)).await.status, 400);
    assert_eq!(it.client.call("DELETE", PATH, &body(0)).await.status, 400);
    assert_eq!(it.client.call("DELETE", "/record-lists/other/records/bulks", &body(1)).await.status, 404);
    assert_eq!(it.vendor.bulks(), [100]);
}

#[tokio::test]
async fn a_token_ends_after_ten_minutes() {
    let it = fixture(|_| {}).await;
    let page = "/record-lists/list-1/records";
    it.clock.set(noon_less_two().plus(Duration::from_secs(599)));
    assert_eq!(it.client.get(page).await.status, 200);
    it.clock.set(noon_less_two().plus(Duration::from_mins(10)));
    assert_eq!(it.client.get(page).await.status, 401);
    token(&it.client).await;
    assert_eq!(it.vendor.tokens_given(), 2);
    let form = "grant_type=client_credentials&scope=record-lists%3Amanage";
    assert_eq!(it.client.call("POST", "/oauth/token", form).await.status, 401);
}
