//! Shapes and limits as documented, over real connections.

use super::super::testing::{Client, clock, serve};
use super::*;

async fn fixture(change: impl FnOnce(&mut CalmyxSettings)) -> (Arc<Calmyx>, Client) {
    let mut settings = CalmyxSettings::documented(Secret::new("key"), 100);
    change(&mut settings);
    let vendor = Calmyx::new(settings, clock());
    for number in 0..50 {
        vendor.add(&format!("l{number}"));
    }
    let base = serve(vec![vendor.clone()]).await;
    (vendor, Client { base, headers: vec![("authorization", "key".into())] })
}

fn batch(ids: std::ops::Range<u32>) -> String {
    let ids: Vec<String> = ids.map(|number| format!("l{number}")).collect();
    json!({"listing_ids": ids}).to_string()
}

const PATH: &str = "/v2/listings/delete-batch";

#[tokio::test]
async fn a_batch_is_counted_and_names_nothing() {
    let (vendor, client) = fixture(|_| {}).await;
    let seen = client.call("POST", PATH, &batch(45..55)).await;
    let expected = json!({"success": true, "message": "5 listings deleted", "deleted_count": 5,
        "new_listing_count": 45, "deletions_used": 5, "deletions_max": 20});
    assert_eq!((seen.status, seen.json()), (200, expected));
    assert_eq!(vendor.listings().len(), 45);
    let stats = client.get("/v2/listings/stats").await.json();
    assert_eq!((&stats["deletions_remaining"], &stats["deletions_max"]), (&json!(15), &json!(20)));
    assert_eq!((&stats["total_listings"], &stats["is_at_churn_limit"]), (&json!(45), &json!(false)));
    assert_eq!((vendor.requests(), vendor.batches().len()), (2, 1));
}

#[tokio::test]
async fn a_batch_that_would_pass_the_quota_deletes_nothing_and_the_quota_stays_used_up() {
    let (vendor, client) = fixture(|_| {}).await;
    assert_eq!(client.call("POST", PATH, &batch(0..15)).await.status, 200);
    let seen = client.call("POST", PATH, &batch(15..21)).await;
    assert_eq!((seen.status, &seen.json()["error"]["code"]), (403, &json!("churn_limit_reached")));
    assert_eq!((vendor.deletions(), vendor.listings().len()), (15, 35));
    assert_eq!(client.call("POST", PATH, &batch(15..20)).await.status, 200);
    assert_eq!(client.call("DELETE", "/v2/listings/l20", "").await.status, 403);
    assert_eq!(client.get("/v2/listings/stats").await.json()["is_at_churn_limit"], true);
    vendor.raise(1);
    assert_eq!(client.call("DELETE", "/v2/listings/l20", "").await.status, 200);
}

#[tokio::test]
async fn a_batch_has_1_to_100_ids_and_a_key() {
    let (_, client) = fixture(|settings| settings.deletions_max = None).await;
    assert_eq!(client.call("POST", PATH, &batch(0..100)).await.json()["deletions_max"], -1);
    for body in [batch(0..101), batch(0..0), "no json".into(), json!({"listing_ids": [1]}).to_string()] {
        assert_eq!(client.call("POST", PATH, &body).await.status, 400, "{body}");
    }
    let stranger =
        Client { base: client.base.clone(), headers: vec![("authorization", "Bearer key".into())] };
    assert_eq!(stranger.call("POST", PATH, &batch(0..1)).await.status, 401);
    assert_eq!(client.call("DELETE", "/v2/listings/l0", "").await.status, 404);
}
