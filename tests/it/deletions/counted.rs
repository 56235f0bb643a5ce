//! What a person on call sees of the API: how many requests each route got, how they ended, and why not.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use super::desk::{JUDGE, keys};
use super::{Desk, READER, WRITER};

/// What is counted of the API, by name and labels.
async fn counts(desk: &Desk) -> BTreeMap<String, u64> {
    let text = desk.send(Method::GET, "/metrics", &[], "").await.text;
    let counts = text.lines().filter_map(|line| {
        let (series, count) = line.strip_prefix("expunged_api_")?.rsplit_once(' ')?;
        let counts = series.contains("_total{") || series.contains("_count{");
        counts.then(|| (series.to_owned(), count.parse().unwrap()))
    });
    counts.collect()
}

#[tokio::test]
async fn requests_are_counted_by_route_and_by_how_they_ended_and_refusals_by_code() {
    let desk = Desk::with_tokens(1).await;
    let taken = desk.ask("?wait=30s", &json!({ "entity": "listing", "ids": keys(1..=1) })).await;
    assert_eq!(taken.status, 200, "{}", taken.text);
    desk.ask("", &json!({ "entity": "listing", "ids": [] })).await;
    let receipt = taken.receipt();
    for path in ["/api/v1/deletions/1000", "/api/v1/deletions/none", &format!("/api/v1/deletions/{receipt}")]
    {
        desk.get(READER, path).await;
    }
    desk.get(WRITER, "/api/v1/tombstones").await;
    desk.get(READER, "/api/v1/holds?all=perhaps").await;
    desk.get(JUDGE, "/api/v1/holds").await;
    desk.send(Method::POST, "/api/v1/holds/7/approve", &[], "").await;
    desk.send(Method::DELETE, "/api/v1/holds/7/reject", &[], "").await;
    for number in 0..9 {
        desk.get(READER, &format!("/api/v1/made/up/{number}")).await;
    }

    let seen = counts(&desk).await;
    for (route, counts) in [
        ("/api/v1/deletions", [1, 1, 0]),
        ("/api/v1/deletions/{receipt}", [1, 2, 0]),
        ("/api/v1/tombstones", [1, 0, 0]),
        ("/api/v1/holds", [0, 2, 0]),
        ("/api/v1/holds/{hold}/approve", [0, 1, 0]),
        ("/api/v1/holds/{hold}/reject", [0, 1, 0]),
        ("/api/v1/{*rest}", [0, 9, 0]),
    ] {
        let of = |class| seen[&format!("requests_total{{route=\"{route}\",status=\"{class}\"}}")];
        assert_eq!(["2xx", "4xx", "5xx"].map(of), counts, "{route}");
        let timed = seen[&format!("seconds_count{{route=\"{route}\"}}")];
        assert_eq!(timed, counts.iter().sum::<u64>(), "{route}");
    }
    let refused = seen.iter().filter_map(|(series, count)| {
        let code = series.strip_prefix("refused_total{code=\"")?.strip_suffix("\"}")?;
        Some((code, *count))
    });
    let expected = [
        ("bad_parameter", 1),
        ("method_not_allowed", 1),
        ("no_ids", 1),
        ("scope_missing", 1),
        ("unauthorized", 1),
        ("unknown_path", 9),
        ("unknown_receipt", 2),
    ];
    assert_eq!(refused.collect::<Vec<_>>(), expected);
}
