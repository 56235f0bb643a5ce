//! From when to when a run reads, and where that leaves the checkpoint.

use super::*;
use crate::sources::feed::testing::{DAY, NOW, at, feed};

fn start(checkpoint: &str) -> Start {
    Start { checkpoint: Some(at(checkpoint)), since: None }
}

/// Both clocks agree.
fn upstream(now: Timestamp) -> Now {
    Now::Upstream { date: now, ours: now }
}

fn query(feed: &Feed, start: Start, now: Now) -> String {
    let pairs = Bounds::settled(feed, start, now).unwrap().query(feed);
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[test]
fn i4_a_run_reads_the_overlap_again_and_the_whole_of_today() {
    let now = upstream(at("1994-11-06T08:49:37Z"));
    assert_eq!(query(&feed(), start("1994-11-05T10:00:00Z"), now), "from=1994-11-03&to=1994-11-06");
    // A day that has begun somewhere on earth is asked for.
    let evening = upstream(at("1994-11-06T10:00:00Z"));
    assert_eq!(query(&feed(), start("1994-11-06T00:00:00Z"), evening), "from=1994-11-04&to=1994-11-07");
}

#[test]
fn bounds_are_written_in_every_format_rounded_outwards() {
    let mut feed = feed();
    feed.overlap = Duration::from_millis(500);
    let (checkpoint, now) = (at("1994-11-06T08:00:00.2504Z"), at("1994-11-06T08:49:37.2504Z"));
    let start = Start { checkpoint: Some(checkpoint), since: None };
    for (format, expected) in [
        (BoundFormat::DateTime, "from=1994-11-06T07:59:59Z&to=1994-11-06T08:49:38Z"),
        (BoundFormat::UnixSeconds, "from=784108799&to=784111778"),
        (BoundFormat::UnixMillis, "from=784108799750&to=784111777251"),
    ] {
        feed.window.format = format;
        assert_eq!(query(&feed, start, upstream(now)), expected);
    }
    feed.window.from = None;
    feed.window.to = None;
    assert_eq!(query(&feed, start, upstream(now)), "");
}

#[test]
fn i4_the_overlap_is_never_less_than_one_unit_of_the_bounds() {
    let mut feed = feed();
    feed.overlap = Duration::ZERO;
    let now = upstream(at("1994-11-06T08:00:00Z"));
    assert_eq!(query(&feed, start("1994-11-06T07:00:00Z"), now), "from=1994-11-05&to=1994-11-06");
    feed.window.format = BoundFormat::DateTime;
    let expected = "from=1994-11-06T06:59:59Z&to=1994-11-06T08:00:00Z";
    assert_eq!(query(&feed, start("1994-11-06T07:00:00Z"), now), expected);
}

#[test]
fn a_first_run_reads_back_as_far_as_configured_and_an_operator_as_far_as_asked() {
    let now = upstream(at("1994-11-06T08:00:00Z"));
    assert_eq!(query(&feed(), Start::default(), now), "from=1994-10-07&to=1994-11-06");
    let since = Start { checkpoint: Some(at("1994-11-05")), since: Some(at("1994-01-02T12:00:00Z")) };
    assert_eq!(query(&feed(), since, now), "from=1994-01-02&to=1994-11-06");
}

#[test]
fn i4_a_checkpoint_older_than_the_retention_is_a_gap_that_asks_for_a_census() {
    let feed = feed();
    let checkpoint = |age: Duration| Start { checkpoint: Some(NOW.minus(age)), since: None };
    assert!(Bounds::settled(&feed, checkpoint(feed.retention), upstream(NOW)).is_ok());
    let older = checkpoint(feed.retention + Duration::from_secs(1));
    let gap = Bounds::settled(&feed, older, upstream(NOW)).unwrap_err();
    assert!(matches!(gap, WindowError::Gap { .. }));
    let text = gap.to_string();
    assert!(text.contains("census") && text.contains("--since") && text.contains("60 d"), "{text}");
    // Only a person may go on from there, and then the checkpoint moves again.
    let since = Start { since: Some(NOW.minus(DAY)), ..older };
    let bounds = Bounds::settled(&feed, since, upstream(NOW)).unwrap();
    assert_eq!(bounds.covered_until(None), Some(NOW));
}

#[test]
fn i4_a_gap_is_found_although_an_upstream_without_a_clock_meets_a_slow_one_of_ours() {
    let feed = feed();
    let old = Start { checkpoint: Some(NOW.minus(feed.retention + Duration::from_secs(1))), since: None };
    let slow = Now::Local(NOW.minus(DAY));
    assert!(matches!(Bounds::settled(&feed, old, slow), Err(WindowError::Gap { .. })));
    let mut short = feed;
    short.retention = DAY;
    let recent = Start { checkpoint: Some(NOW.minus(DAY / 4)), since: None };
    assert!(Bounds::settled(&short, recent, Now::Local(NOW)).is_ok());
}

#[test]
fn i4_a_checkpoint_in_the_upstreams_future_is_not_read_from() {
    let feed = feed();
    let ahead = |by: Duration| Start { checkpoint: Some(NOW.plus(by)), since: None };
    // Within the overlap nothing was passed over, and the window does not turn inside out.
    let bounds = Bounds::settled(&feed, ahead(DAY), upstream(NOW)).unwrap();
    assert_eq!(bounds.from, Some(at("1994-11-04")));
    let error = Bounds::settled(&feed, ahead(3 * DAY), upstream(NOW)).unwrap_err();
    assert!(matches!(error, WindowError::Ahead { .. }));
    assert!(error.to_string().contains("--since"));
}

#[test]
fn i4_the_checkpoint_moves_by_the_upstreams_clock_and_never_back() {
    let covered = |checkpoint, now, greatest| {
        Bounds::reckon(&feed(), Start { checkpoint, since: None }, now).covered_until(greatest)
    };
    let earlier = NOW.minus(DAY);
    assert_eq!(covered(None, upstream(NOW), None), Some(NOW));
    assert_eq!(covered(Some(earlier), upstream(NOW), Some(NOW.plus(DAY))), Some(NOW));
    assert_eq!(covered(Some(NOW), upstream(earlier), None), None);
    assert_eq!(covered(Some(NOW), upstream(NOW), None), None);
}

#[test]
fn i4_the_checkpoint_never_passes_our_own_clock_since_an_upstreams_that_is_ahead_would_make_a_gap() {
    let start = Start { checkpoint: Some(NOW.minus(3 * DAY)), since: None };
    let covered = |date, ours| {
        Bounds::settled(&feed(), start, Now::Upstream { date, ours })
            .unwrap()
            .covered_until(Some(NOW.plus(DAY)))
    };
    assert_eq!(covered(NOW.plus(20 * DAY), NOW), Some(NOW));
    assert_eq!(covered(NOW, NOW.plus(20 * DAY)), Some(NOW));
    assert_eq!(covered(NOW, NOW.minus(20 * DAY)), None, "and not back either");
}

#[test]
fn i4_only_an_operator_brings_back_a_checkpoint_that_lies_ahead_of_both_clocks() {
    let ahead = Some(NOW.plus(3 * DAY));
    let later = NOW.plus(4 * DAY);
    for (since, now, covered) in [
        (Some(NOW.minus(DAY)), upstream(NOW), Some(NOW)),
        (Some(NOW.minus(DAY)), Now::Local(NOW), Some(NOW.minus(DAY))),
        // Either clock that has reached it may be the one that is right.
        (Some(NOW.minus(DAY)), Now::Upstream { date: NOW, ours: later }, None),
        (Some(NOW.plus(2 * DAY)), upstream(NOW), None),
        (None, upstream(NOW), None),
    ] {
        let bounds = Bounds::reckon(&feed(), Start { checkpoint: ahead, since }, now);
        assert_eq!(bounds.covered_until(Some(NOW.minus(DAY))), covered, "{since:?}, {now:?}");
        assert!(covered.is_none() || bounds.brings_back());
    }
    let behind = Start { checkpoint: Some(NOW.minus(DAY)), since: Some(NOW.minus(2 * DAY)) };
    assert!(!Bounds::reckon(&feed(), behind, upstream(NOW)).brings_back());
}

#[test]
fn i4_without_the_upstreams_clock_the_data_tells_and_the_local_clock_alone_never() {
    let covered = |greatest| {
        let start = Start { checkpoint: Some(NOW.minus(3 * DAY)), since: None };
        Bounds::reckon(&feed(), start, Now::Local(NOW)).covered_until(greatest)
    };
    assert_eq!(covered(None), None);
    assert_eq!(covered(Some(NOW.minus(DAY))), Some(NOW.minus(DAY)));
    assert_eq!(covered(Some(NOW.minus(4 * DAY))), None);
    assert_eq!(covered(Some(at("2999-01-01"))), Some(NOW));
}

#[test]
fn i4_an_operators_later_start_does_not_take_the_checkpoint_over_what_it_left_out() {
    let start =
        |since: Duration| Start { checkpoint: Some(NOW.minus(3 * DAY)), since: Some(NOW.minus(since)) };
    let covered = |since| Bounds::reckon(&feed(), start(since), upstream(NOW)).covered_until(None);
    assert_eq!(covered(DAY), None);
    assert_eq!(covered(3 * DAY), Some(NOW));
    assert_eq!(covered(5 * DAY), Some(NOW));
}

#[test]
fn i4_an_operators_start_does_not_stand_for_a_first_run_that_would_read_further_back() {
    let feed = feed();
    let covered = |since: Duration, now| {
        let start = Start { checkpoint: None, since: Some(NOW.minus(since)) };
        Bounds::reckon(&feed, start, now).covered_until(Some(NOW.minus(DAY)))
    };
    assert_eq!(covered(DAY, upstream(NOW)), None);
    assert_eq!(covered(feed.first, upstream(NOW)), Some(NOW));
    // By a clock of ours alone, a first run begins a day earlier.
    assert_eq!(covered(feed.first, Now::Local(NOW)), None);
    assert_eq!(covered(feed.first + DAY, Now::Local(NOW)), Some(NOW.minus(DAY)));
}

#[test]
fn the_first_request_never_asks_for_more_than_the_feed_keeps() {
    let feed = feed();
    let old = Start { checkpoint: Some(NOW.minus(90 * DAY)), since: None };
    let bounds = Bounds::provisional(&feed, old, NOW);
    assert_eq!(bounds.from, Some(round_down(NOW.minus(feed.retention), BoundFormat::Date)));
}

#[test]
fn times_out_of_any_calendar_are_bounded_and_do_not_overflow() {
    for extreme in [Timestamp::MIN, Timestamp::from_micros(i64::MAX)] {
        for format in [BoundFormat::Date, BoundFormat::DateTime, BoundFormat::UnixMillis] {
            let mut feed = feed();
            feed.window.format = format;
            let start = Start { checkpoint: None, since: Some(extreme) };
            for now in [upstream(extreme), Now::Local(extreme)] {
                let bounds = Bounds::settled(&feed, start, now).unwrap();
                assert!(bounds.from.unwrap() >= BOUND_MIN && bounds.to.unwrap() <= BOUND_MAX);
                assert_eq!(bounds.query(&feed).len(), 2);
            }
            let _ = Bounds::provisional(&feed, start, extreme);
        }
    }
}
