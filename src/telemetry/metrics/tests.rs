//! What a scrape sees.

use std::collections::BTreeMap;

use super::*;

fn metrics() -> Metrics {
    let listing = Entity::new("listing");
    Metrics::new(&Known {
        sources: BTreeSet::from(["repliers".to_owned()]),
        targets: BTreeSet::from([("replica".to_owned(), listing.clone()), ("search".to_owned(), listing)]),
    })
}

/// Every sample by its name and labels.
fn samples(metrics: &Metrics) -> BTreeMap<String, f64> {
    metrics
        .render()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn every_sample_has_help_and_type_and_the_text_ends_as_open_metrics_wants() {
    let metrics = metrics();
    metrics.acknowledged(Duration::from_millis(3));
    metrics.secret_used("repliers", 1, Timestamp::from_seconds(1_700_000_000));
    metrics.api_route("/api/v1/holds");
    metrics.api_refused("no_ids");
    let text = metrics.render();
    let described = |word: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| Some(line.strip_prefix(word)?.split(' ').next()?.to_owned())).collect()
    };
    let (helped, typed) = (described("# HELP "), described("# TYPE "));
    assert_eq!(helped, typed);
    for series in samples(&metrics).keys() {
        let name = series.split('{').next().unwrap();
        let family = ["_total", "_info", "_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix).filter(|family| helped.contains(*family)))
            .unwrap_or(name);
        assert!(helped.contains(family), "{series} has no help");
        assert!(name.starts_with("expunged_"), "{series}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn series_with_known_labels_stand_at_zero() {
    let samples = samples(&metrics());
    for series in [
        r#"expunged_notices_total{source="repliers",door="webhook",result="new"}"#,
        r#"expunged_notices_total{source="repliers",door="feed",result="unreadable"}"#,
        r#"expunged_deliveries_total{source="repliers",status="401"}"#,
        r#"expunged_outcomes_total{target="search",entity="listing",outcome="failed"}"#,
        r#"expunged_rows_removed_total{target="replica",entity="listing"}"#,
        r#"expunged_queue_tasks{target="replica"}"#,
        r#"expunged_queue_oldest_seconds{target="replica"}"#,
        r#"expunged_batches_total{target="search",result="failed"}"#,
        r#"expunged_runs_total{source="repliers",result="failed"}"#,
        r#"expunged_upstream_to_gone_seconds_bucket{le="604800.0",target="search"}"#,
        r#"expunged_held_tombstones{entity="listing"}"#,
        "expunged_journal_entries_total",
        "expunged_journal_unavailable",
        "expunged_holds_open",
        "expunged_acknowledge_seconds_count",
    ] {
        assert_eq!(samples.get(series), Some(&0.0), "{series}\n{samples:#?}");
    }
}

#[test]
fn counts_add_up_and_gauges_hold_the_last_value() {
    let metrics = metrics();
    let listing = Entity::new("listing");
    metrics.notices("repliers", Door::Webhook, NoticeResult::New, 3);
    metrics.notices("repliers", Door::Webhook, NoticeResult::New, 2);
    metrics.notices("repliers", Door::Feed, NoticeResult::New, 1);
    metrics.settled("replica", &listing, Outcome::Deleted, 4);
    metrics.rows_removed("replica", &listing, 9);
    metrics.queue("replica", 7, Duration::from_millis(1_500));
    metrics.queue("replica", 5, Duration::from_millis(500));
    metrics.batch("replica", Ended::Done, Duration::from_millis(20));
    metrics.gone("replica", [(None, Duration::from_millis(20))]);
    metrics.gone("replica", [(Some(Duration::from_hours(100)), Duration::from_millis(30))]);
    metrics.run("repliers", Ended::Done, Some(0.25));
    metrics.journal_available(false);
    let samples = samples(&metrics);
    let expect = |series: &str, value: f64| assert_eq!(samples.get(series), Some(&value), "{series}");
    expect(r#"expunged_notices_total{source="repliers",door="webhook",result="new"}"#, 5.0);
    expect(r#"expunged_notices_total{source="repliers",door="feed",result="new"}"#, 1.0);
    expect(r#"expunged_outcomes_total{target="replica",entity="listing",outcome="deleted"}"#, 4.0);
    expect(r#"expunged_rows_removed_total{target="replica",entity="listing"}"#, 9.0);
    expect(r#"expunged_queue_tasks{target="replica"}"#, 5.0);
    expect(r#"expunged_queue_oldest_seconds{target="replica"}"#, 0.5);
    expect(r#"expunged_batch_seconds_count{target="replica"}"#, 1.0);
    expect(r#"expunged_acknowledged_to_gone_seconds_count{target="replica"}"#, 2.0);
    expect(r#"expunged_upstream_to_gone_seconds_count{target="replica"}"#, 1.0);
    expect(r#"expunged_upstream_to_gone_seconds_bucket{le="86400.0",target="replica"}"#, 0.0);
    expect(r#"expunged_upstream_to_gone_seconds_bucket{le="604800.0",target="replica"}"#, 1.0);
    expect(r#"expunged_run_missed_by_webhooks_ratio{source="repliers"}"#, 0.25);
    expect("expunged_journal_unavailable", 1.0);
}

#[test]
fn a_route_stands_at_zero_and_counts_its_answers_by_class() {
    let metrics = metrics();
    let route = "/api/v1/deletions/{receipt}";
    let series = |class: &str| format!("expunged_api_requests_total{{route=\"{route}\",status=\"{class}\"}}");
    let took = format!("expunged_api_seconds_count{{route=\"{route}\"}}");
    metrics.api_route(route);
    let before = samples(&metrics);
    for series in [series("2xx"), series("4xx"), series("5xx"), took.clone()] {
        assert_eq!(before.get(&series), Some(&0.0), "{series}");
    }
    for status in [200, 202, 400, 404, 429, 499, 500, 503] {
        metrics.api_request(route, status, Duration::from_millis(20));
    }
    metrics.api_refused("rate_limited");
    let after = samples(&metrics);
    for (series, value) in [(series("2xx"), 2.0), (series("4xx"), 4.0), (series("5xx"), 2.0), (took, 8.0)] {
        assert_eq!(after.get(&series), Some(&value), "{series}");
    }
    assert_eq!(after.get(r#"expunged_api_refused_total{code="rate_limited"}"#), Some(&1.0));
    let bucket = |le: &str| format!("expunged_api_seconds_bucket{{le=\"{le}\",route=\"{route}\"}}");
    assert_eq!((after.get(&bucket("0.01")), after.get(&bucket("0.025"))), (Some(&0.0), Some(&8.0)));
}

#[test]
fn what_is_no_longer_held_is_no_longer_counted() {
    let metrics = metrics();
    let listing = Entity::new("listing");
    let series = r#"expunged_held_tombstones{entity="listing"}"#;
    metrics.held([(&listing, 40), (&listing, 2)]);
    assert_eq!(samples(&metrics).get(series), Some(&42.0));
    metrics.held([]);
    assert_eq!(samples(&metrics).get(series), Some(&0.0));
}

#[test]
fn names_that_the_configuration_does_not_have_share_one_series() {
    let metrics = metrics();
    let before = samples(&metrics).len();
    for number in 0..100 {
        metrics.delivery(&format!("made-up-{number}"), 404);
    }
    let samples = samples(&metrics);
    assert_eq!(samples.len(), before + 1);
    let other = r#"expunged_deliveries_total{source="other",status="404"}"#;
    assert_eq!(samples.get(other), Some(&100.0));
}
