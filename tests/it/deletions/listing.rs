//! Lists of ids: what became of each, what would become of it, and by what else than its key it is named.

use expunged::config::Token;
use reqwest::Method;
use serde_json::json;

use super::desk::{HASTY, JUDGE, heard, keys};
use super::{Desk, READER, WRITER};
use crate::support::mirror;
use crate::support::rig::until;

const ALL: &str = "SELECT (SELECT count(*) FROM listings) || ' ' || (SELECT count(*) FROM images) || ' ' ||
    (SELECT count(*) FROM bookings WHERE listing_id IS NULL)";

#[tokio::test]
async fn i8_every_id_has_its_own_outcome_at_every_target() {
    let desk = Desk::with_tokens(4).await;
    desk.replica(
        "UPDATE listings SET updated_at = '2100-01-01T00:00:00Z' WHERE mls_number = 'W3' RETURNING ''",
    )
    .await;
    let first = desk.ask("?wait=30s", &json!({ "entity": "listing", "ids": [["2", "W1"]] })).await;
    assert_eq!((first.status, first.outcomes()), (200, vec!["deleted"]), "{}", first.text);
    assert_eq!(first.body["settled"], true);

    let body = json!({
        "entity": "listing",
        "ids": [["2", "W1"], ["2", "W2"], ["2", "W3"], ["2", "W9"], ["2", "W2"], ["x", "W2"]],
        "reason": "asked for by mail",
    });
    let seen = desk.ask("?wait=30s", &body).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    assert_eq!(
        seen.outcomes(),
        ["already_deleted", "deleted", "superseded", "not_found", "deleted", "failed"],
        "{}",
        seen.text
    );
    let counts = json!({ "already_deleted": 1, "deleted": 1, "superseded": 1, "not_found": 1, "failed": 1 });
    assert_eq!(seen.body["counts"], counts, "a record that was named twice counts once");
    assert_eq!((&seen.body["received"], &seen.body["complete"]), (&json!(6), &json!(true)));
    let newer = &seen.body["results"][2];
    assert_eq!((&newer["n"], &newer["key"]), (&json!(3), &json!(["2", "W3"])));
    assert_eq!(newer["targets"][0], json!({ "target": "replica", "outcome": "superseded" }));
    let unfit = &seen.body["results"][5]["targets"][0];
    assert_eq!((&unfit["outcome"], &unfit["code"]), (&json!("failed"), &json!("key_type")));
    assert_eq!(desk.listings().await, ["W3", "W4"]);

    let folder = desk.stop().await;
    let heard = heard(folder.path()).await;
    let asked = heard[1].1.asked.as_ref().unwrap();
    assert_eq!((asked.by.as_str(), heard[1].1.reason.as_deref()), ("writer", Some("asked for by mail")));
    assert_eq!(heard[1].0.to_string(), seen.receipt());
}

#[tokio::test]
async fn a_receipt_is_polled_page_by_page_and_by_outcome() {
    let desk = Desk::with_tokens(5).await;
    let taken = desk.ask("", &json!({ "entity": "listing", "by": "key", "ids": keys(1..=7) })).await;
    assert_eq!(taken.status, 202, "{}", taken.text);
    let receipt = taken.receipt().to_owned();
    let said = json!({ "receipt": receipt, "received": 7, "accepted": 7, "refused": 0, "faults": [] });
    assert_eq!(taken.body, said);
    let path = format!("/api/v1/deletions/{receipt}");
    assert_eq!(taken.header("location"), Some(path.as_str()));
    until("it is settled", async || desk.get(READER, &path).await.body["settled"] == true).await;

    let whole = desk.get(READER, &path).await;
    assert_eq!(whole.body["counts"], json!({ "deleted": 5, "not_found": 2 }));
    assert_eq!(whole.body["next"], json!(null));
    let page = desk.get(READER, &format!("{path}?limit=3")).await;
    assert_eq!((page.outcomes().len(), &page.body["next"]), (3, &json!(3)));
    let rest = desk.get(READER, &format!("{path}?limit=10&after=3&wait=1s")).await;
    assert_eq!((rest.outcomes().len(), &rest.body["next"]), (4, &json!(null)));
    let absent = desk.get(READER, &format!("{path}?outcome=not_found")).await;
    assert_eq!(absent.outcomes(), ["not_found", "not_found"]);
    assert_eq!(absent.body["results"][0]["n"], 6);
    assert_eq!(desk.get(READER, &format!("{path}?outcome=pending")).await.outcomes(), Vec::<&str>::new());

    for (path, code) in [
        ("/api/v1/deletions/999999", "unknown_receipt"),
        ("/api/v1/deletions/nothing", "unknown_receipt"),
        ("/api/v1/deletions/1", "unknown_receipt"),
    ] {
        let seen = desk.get(READER, path).await;
        assert_eq!((seen.status, seen.code()), (404, code), "{path}");
    }
    for query in ["limit=0", "limit=1001", "after=-1", "outcome=gone", "wait=5", "more=1"] {
        let seen = desk.get(READER, &format!("{path}?{query}")).await;
        assert_eq!(seen.status, 400, "{query}: {}", seen.text);
    }
}

#[tokio::test]
async fn i8_what_is_heard_of_a_record_later_does_not_change_what_was_done() {
    let desk = Desk::with_tokens(1).await;
    let body = json!({ "entity": "listing", "ids": keys(1..=1) });
    let first = desk.ask("?wait=30s", &body).await;
    assert_eq!((first.outcomes(), &first.body["results"][0]["overtaken"]), (vec!["deleted"], &json!(null)));
    let told = async |seen: &super::Seen| {
        let seen = desk.get(READER, &format!("/api/v1/deletions/{}?wait=30s", seen.receipt())).await;
        (seen.outcomes()[0].to_owned(), seen.body["results"][0]["overtaken"] == true)
    };
    assert_eq!(desk.hear("listing.created", "W1", "2024-05-16T11:00:00.000Z").await, 202);
    until("it is listed again", async || told(&first).await.1).await;
    assert_eq!(told(&first).await, ("deleted".into(), true));
    let second = desk.ask("?wait=30s", &body).await;
    assert_eq!(second.outcomes(), ["already_deleted"]);
    assert_eq!(told(&second).await, ("already_deleted".into(), false));
    assert_eq!(told(&first).await, ("already_deleted".into(), true), "what is told is the later fact");
}

#[tokio::test]
async fn a_dry_run_says_what_would_go_in_which_table_and_changes_nothing() {
    let desk = Desk::with_tokens(3).await;
    desk.replica(
        "UPDATE listings SET updated_at = '2100-01-01T00:00:00Z' WHERE mls_number = 'W3' RETURNING ''",
    )
    .await;
    let ids = json!([["2", "W1"], ["2", "W2"], ["2", "W3"], ["2", "W9"], ["2", "W1"], ["x", "W1"]]);
    let body = json!({ "entity": "listing", "ids": ids, "dry_run": true });
    let seen = desk.ask("", &body).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    assert_eq!(seen.body["rows"]["replica"], json!({ "listings": 2, "images": 4 }));
    assert_eq!(seen.body["rows"]["search"], json!({ "documents": 3 }), "the index has no guard");
    let at_replica = |n: usize| seen.body["results"][n]["targets"][0].clone();
    let goes = json!({ "target": "replica", "outcome": "deleted", "rows": { "listings": 1, "images": 2 } });
    assert_eq!((at_replica(0), at_replica(4)), (goes.clone(), goes));
    assert_eq!(at_replica(2), json!({ "target": "replica", "outcome": "superseded" }));
    assert_eq!(at_replica(3), json!({ "target": "replica", "outcome": "not_found" }));
    assert_eq!((&at_replica(5)["outcome"], &at_replica(5)["code"]), (&json!("failed"), &json!("key_type")));
    assert_eq!(seen.body["results"][2]["targets"][1]["outcome"], "deleted");

    let lines = "2\tW1\n2\tW2";
    let uploaded = desk.upload("entity=listing&dry_run=true", "text/plain", &[], lines).await;
    assert_eq!(uploaded.body["rows"]["replica"], json!({ "listings": 2, "images": 4 }));
    let many = "2\tW1\n".repeat(1_001);
    let refused = desk.upload("entity=listing&dry_run=true", "text/plain", &[], &many).await;
    assert_eq!((refused.status, refused.code()), (400, "too_many_ids"));
    assert_eq!(desk.replica(ALL).await, ["3 6 0"]);
    assert_eq!(heard(desk.stop().await.path()).await, []);
}

#[tokio::test]
async fn i11_another_identifier_leads_to_one_record_or_to_none() {
    let desk = Desk::with_tokens(6).await;
    desk.replica(
        "INSERT INTO listings (board_id, mls_number, updated_at) VALUES (3, 'W2', '2024-01-01T00:00:00Z'),
         (3, 'w1', '2024-01-01T00:00:00Z') RETURNING ''",
    )
    .await;
    let body = json!({ "entity": "listing", "by": "number", "ids": ["W1", "W2", "W99", ["W3"]] });
    let seen = desk.ask("?wait=30s", &body).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    assert_eq!(seen.outcomes(), ["deleted", "failed", "not_found", "deleted"]);
    assert_eq!(seen.body["results"][0]["key"], json!(["2", "W1"]), "the key that was found");
    assert_eq!(seen.body["results"][1]["code"], "ambiguous_id");
    assert_eq!(seen.body["results"][2]["code"], "unknown_id");
    assert_eq!(seen.body["counts"], json!({ "deleted": 2, "failed": 1, "not_found": 1 }));
    assert_eq!(desk.listings().await, ["W2", "W4", "W5", "W6", "W2", "w1"]);

    let by_row = json!({ "entity": "listing", "by": "row", "ids": ["4", "04", "+5", "99"] });
    let seen = desk.ask("", &by_row).await;
    assert_eq!((&seen.body["accepted"], &seen.body["refused"]), (&json!(1), &json!(3)), "{}", seen.text);
    let codes: Vec<_> = seen.body["faults"].as_array().unwrap().iter().map(|it| &it["code"]).collect();
    assert_eq!(codes, ["unfit_id", "unfit_id", "unknown_id"]);
    let path = format!("/api/v1/deletions/{}?wait=30s", seen.receipt());
    assert_eq!(desk.get(READER, &path).await.outcomes(), ["deleted", "failed", "failed", "not_found"]);

    let lines = desk.upload("entity=listing&by=number&wait=30s", "text/plain", &[], "W5\nW2\n").await;
    assert_eq!(lines.outcomes(), ["deleted", "failed"]);
    let dry = json!({ "entity": "listing", "by": "number", "ids": ["W6", "W99"], "dry_run": true });
    let dry = desk.ask("", &dry).await;
    assert_eq!(dry.body["results"][0]["key"], json!(["2", "W6"]));
    assert_eq!(dry.body["results"][1]["code"], "unknown_id");
    let unknown = desk.ask("", &json!({ "entity": "listing", "by": "slug", "ids": ["W1"] })).await;
    assert_eq!((unknown.status, unknown.code()), (400, "unknown_identifier"));
    assert!(unknown.text.contains("key, number, row"), "{}", unknown.text);
}

#[tokio::test]
async fn nothing_is_done_while_the_target_that_knows_an_identifier_is_down() {
    let desk = Desk::with_tokens(1).await;
    let replica = desk.folder.path().join("replica.db");
    std::fs::rename(&replica, desk.folder.path().join("away.db")).unwrap();
    let body = json!({ "entity": "listing", "by": "number", "ids": ["W1"] });
    let seen = desk.ask("", &body).await;
    assert_eq!((seen.status, seen.code()), (503, "target_unavailable"), "{}", seen.text);
    assert!(seen.header("retry-after").is_some());
    let seen = desk.ask("", &json!({ "entity": "listing", "ids": keys(1..=1), "dry_run": true })).await;
    assert_eq!((seen.status, seen.code()), (503, "target_unavailable"), "{}", seen.text);

    // By its key it is recorded, and waits for the target; so does whoever waits, until the daemon stops.
    let waiting = async {
        let seen = desk.ask("?wait=60s", &json!({ "entity": "listing", "ids": keys(1..=1) })).await;
        assert_eq!((seen.status, seen.outcomes()), (202, vec!["pending"]), "{}", seen.text);
        assert_eq!(seen.body["settled"], false);
    };
    let stopping = async {
        until("it is recorded", async || {
            let listed = desk.get(READER, "/api/v1/tombstones").await;
            listed.body["tombstones"][0]["decision"] == "released"
        })
        .await;
        desk.drain();
    };
    tokio::join!(waiting, stopping);
    desk.stop().await;
}

#[tokio::test]
async fn i5_what_the_brake_holds_is_told_with_its_hold_and_decided_on_here() {
    let brake = format!("[brake]\nrows = 6\npercent = 1\n{}", super::desk::tokens());
    let desk = Desk::open(6, &brake).await;
    let seen = desk.ask("?wait=30s", &json!({ "entity": "listing", "ids": keys(1..=4) })).await;
    assert_eq!(
        (seen.status, seen.outcomes()),
        (200, vec!["deleted", "deleted", "held", "held"]),
        "{}",
        seen.text
    );
    let hold = seen.body["results"][2]["hold"].as_str().unwrap().to_owned();
    let listed = desk.get(READER, "/api/v1/holds").await;
    let shown = &listed.body["holds"][0];
    assert_eq!((&shown["hold"], &shown["records"], &shown["rows"]), (&json!(hold), &json!(2), &json!(6)));
    let through = listed.body["through"].as_str().unwrap().to_owned();

    // What joins the hold after it was looked at is not let go with it.
    let later = desk.ask("?wait=30s", &json!({ "entity": "listing", "ids": keys(5..=5) })).await;
    assert_eq!((later.outcomes(), &later.body["results"][0]["hold"]), (vec!["held"], &json!(hold)));
    let decide = async |token: &str, what: &str, body: &str| {
        let headers = [("authorization", &*format!("Bearer {token}"))];
        desk.send(Method::POST, &format!("/api/v1/holds/{what}"), &headers, body.to_owned()).await
    };
    let denied = decide(WRITER, &format!("{hold}/approve"), "").await;
    assert_eq!((denied.status, denied.code()), (403, "scope_missing"));
    for (body, code) in
        [("{\"through\":\"0\"}", 400), ("{\"through\":\"99999\"}", 400), ("[]", 400), ("{\"x\":1}", 400)]
    {
        assert_eq!(decide(JUDGE, &format!("{hold}/approve"), body).await.status, code, "{body}");
    }
    let body = json!({ "through": through, "reason": "board 2 closed" }).to_string();
    let approved = decide(JUDGE, &format!("{hold}/approve"), &body).await;
    assert_eq!((approved.status, &approved.body["records"]), (200, &json!(1)), "{}", approved.text);
    let path = format!("/api/v1/deletions/{}?wait=30s", seen.receipt());
    assert_eq!(desk.get(READER, &path).await.outcomes(), ["deleted"; 4]);
    let rejected = decide(JUDGE, &format!("{hold}/reject"), "").await;
    assert_eq!((&rejected.body["state"], &rejected.body["actor"]), (&json!("rejected"), &json!("judge")));
    let path = format!("/api/v1/deletions/{}", later.receipt());
    assert_eq!(desk.get(READER, &path).await.outcomes(), ["rejected"]);
    assert_eq!(desk.listings().await, ["W5", "W6"]);

    for unknown in [format!("{hold}/approve"), "0/approve".into(), "x/reject".into()] {
        let seen = decide(JUDGE, &unknown, "").await;
        assert_eq!((seen.status, seen.code()), (404, "unknown_hold"), "{unknown}");
    }
    assert_eq!(desk.get(READER, "/api/v1/holds").await.body["holds"], json!([]));
    let all = desk.get(READER, "/api/v1/holds?all=true").await;
    assert_eq!(all.body["holds"][0]["reason"], json!(null), "the last word");
}

#[tokio::test]
async fn tombstones_are_listed_in_the_order_in_which_they_were_heard_of() {
    let desk = Desk::with_tokens(3).await;
    desk.ask("?wait=30s", &json!({ "entity": "listing", "ids": keys(1..=3) })).await;
    desk.ask("?wait=30s", &json!({ "entity": "deal", "ids": ["deal-1"] })).await;
    let names = async |query: &str| {
        let seen = desk.get(READER, &format!("/api/v1/tombstones{query}")).await;
        let listed = seen.body["tombstones"].as_array().unwrap().clone();
        let names: Vec<_> =
            listed.iter().map(|it| it["key"].as_array().unwrap().last().unwrap().clone()).collect();
        (names, seen.body["next"].clone())
    };
    assert_eq!(names("").await, (vec![json!("W1"), json!("W2"), json!("W3"), json!("deal-1")], json!(null)));
    assert_eq!(names("?limit=2").await, (vec![json!("W1"), json!("W2")], json!(2)));
    assert_eq!(names("?limit=2&after=2").await, (vec![json!("W3"), json!("deal-1")], json!(4)));
    assert_eq!(names("?entity=deal").await, (vec![json!("deal-1")], json!(null)));
    let first = desk.get(READER, "/api/v1/tombstones?limit=1").await.body["tombstones"][0].clone();
    assert_eq!((&first["action"], &first["source"]), (&json!("delete"), &json!("operator")));
    assert_eq!((&first["at"], &first["upstream_time"]), (&json!("2024-05-16T10:00:00Z"), &json!(false)));
    assert_eq!(desk.get(READER, "/api/v1/tombstones?limit=1001").await.status, 400);
}

#[tokio::test]
async fn a_token_has_so_many_requests_a_minute_and_is_told_in_every_answer() {
    let desk = Desk::with_tokens(0).await;
    desk.clock.set(mirror::time("2024-05-16T10:00:20Z"));
    let reset = mirror::time("2024-05-16T10:01:00Z").seconds().to_string();
    for (remaining, status) in [("1", 404), ("0", 404), ("0", 429), ("0", 429)] {
        let seen = desk.get(HASTY, "/api/v1/deletions/999").await;
        assert_eq!((seen.status, seen.header("x-ratelimit-remaining")), (status, Some(remaining)));
        assert_eq!(seen.header("x-ratelimit-limit"), Some("2"));
        assert_eq!(seen.header("x-ratelimit-reset"), Some(reset.as_str()));
        let limited = status == 429;
        assert_eq!(seen.header("retry-after"), limited.then_some("40"));
        assert_eq!(seen.code() == "rate_limited", limited);
    }
    assert_eq!(desk.get(READER, "/api/v1/holds").await.status, 200, "another token has its own");
    desk.clock.set(mirror::time("2024-05-16T10:01:00Z"));
    assert_eq!(desk.get(HASTY, "/api/v1/holds").await.status, 200);
    assert_eq!(Token::REQUESTS_PER_MINUTE, 600);
}
