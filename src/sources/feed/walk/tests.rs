//! Whole walks against scripted answers: when the checkpoint may move, and when it may not.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::*;
use crate::config::source::{BoundFormat, Paging};
use crate::sources::feed::client::{Response, TransportFault};
use crate::sources::feed::testing::{
    DAY, Kept, NOW, NOW_HTTP, SECRET, Upstream, answer, at, by_cursor, by_link, by_offset, by_page, feed,
};
use crate::sources::feed::window::WindowError;

mod changing;

type Given = Result<Response, TransportFault>;

/// An answer that tells its time.
fn page(body: &str) -> Given {
    answer(200, &[("date", NOW_HTTP)], body)
}

/// A page of the numbered feed, with all the counts there are.
fn numbered(number: u32, pages: u32, total: u32, ids: &[&str]) -> Given {
    page(&format!(r#"{{"items":{},"page":{number},"pages":{pages},"total":{total}}}"#, items(ids)))
}

fn items(ids: &[&str]) -> String {
    let items: Vec<_> = ids.iter().map(|id| format!(r#"{{"id":"{id}","at":784000000}}"#)).collect();
    format!("[{}]", items.join(","))
}

fn from_yesterday() -> Start {
    Start { checkpoint: Some(NOW.minus(DAY)), since: None }
}

struct Ran {
    result: Result<Walked, FeedError>,
    kept: Kept,
    asked: Vec<String>,
}

/// A run with a local clock that is right.
async fn run(feed: &Feed, answers: Vec<Given>) -> Ran {
    run_at(feed, Upstream::scripted(answers), from_yesterday(), NOW).await
}

async fn run_at(feed: &Feed, upstream: Upstream, start: Start, local_now: Timestamp) -> Ran {
    let client = upstream.client(feed, local_now);
    let mut kept = Kept::default();
    let result = walk(feed, &client, start, &mut kept).await;
    Ran { result, kept, asked: upstream.asked() }
}

/// Nothing that the sink got let the checkpoint move.
fn assert_not_covered(ran: &Ran) {
    assert!(ran.kept.pages.iter().all(|page| page.end.is_none()));
}

#[tokio::test(start_paused = true)]
async fn i4_only_the_last_page_lets_the_checkpoint_move() {
    let ran = run(&feed(), vec![numbered(1, 2, 3, &["a", "b"]), numbered(2, 2, 3, &["c"])]).await;
    let walked = ran.result.unwrap();
    let expected = Walked { pages: 2, records: 3, walks: 1, covered_until: Some(NOW), clock_skew: None };
    assert_eq!(walked, expected);
    assert_eq!(ran.kept.keys(), ["a", "b", "c"]);
    let ends: Vec<_> = ran.kept.pages.iter().map(|page| page.end).collect();
    assert_eq!(ends, [None, Some(End { covered_until: Some(NOW), back: false })]);
    let bounds = "from=1994-11-03&to=1994-11-06&size=2";
    assert_eq!(ran.asked, [format!("{bounds}&page=1"), format!("{bounds}&page=2")]);
}

#[tokio::test(start_paused = true)]
async fn i4_an_empty_feed_lets_the_checkpoint_move_so_that_it_does_not_age() {
    let ran = run(&feed(), vec![numbered(1, 0, 0, &[])]).await;
    assert_eq!(ran.result.unwrap().covered_until, Some(NOW));
    assert_eq!(ran.kept.pages[0].end, Some(End { covered_until: Some(NOW), back: false }));
}

#[tokio::test(start_paused = true)]
async fn the_raw_body_goes_with_its_records() {
    let body = r#"{"items": [] , "page":1,"pages":1,"total":0}"#;
    let ran = run(&feed(), vec![page(body)]).await;
    assert_eq!(ran.kept.pages[0].body, body);
}

#[tokio::test(start_paused = true)]
async fn every_way_of_paging_is_walked_to_its_end() {
    let list = |ids: &[&str], rest: &str| page(&format!(r#"{{"items":{}{rest}}}"#, items(ids)));
    let linked = |ids: &[&str], link: &str| {
        answer(200, &[("date", NOW_HTTP), ("link", link)], &format!(r#"{{"items":{}}}"#, items(ids)))
    };
    let cases: Vec<(Paging, Vec<Given>, &str)> = vec![
        (Paging::None, vec![list(&["a", "b", "c"], "")], ""),
        (
            by_offset("/total"),
            vec![list(&["a"], r#","total":3"#), list(&["b", "c"], r#","total":3"#)],
            "offset=1",
        ),
        (by_offset(""), vec![list(&["a", "b"], ""), list(&["c"], ""), list(&[], "")], "offset=3"),
        (
            by_cursor("/more"),
            vec![
                list(&["a", "b"], r#","next":"x","more":true"#),
                list(&[], r#","next":"y","more":true"#),
                list(&["c"], r#","next":"z","more":false"#),
            ],
            "cursor=y",
        ),
        (
            by_link(),
            vec![linked(&["a", "b"], "</p?2>; rel=\"next\""), linked(&["c"], "</p?1>; rel=\"prev\"")],
            "2",
        ),
    ];
    for (paging, answers, last) in cases {
        let feed = Feed { paging, ..feed() };
        let ran = run(&feed, answers).await;
        assert_eq!(ran.result.unwrap().records, 3, "{:?}", feed.paging);
        assert_eq!(ran.kept.keys(), ["a", "b", "c"]);
        assert!(ran.asked.last().unwrap().ends_with(last), "{:?}", ran.asked);
    }
}

#[tokio::test(start_paused = true)]
async fn i4_a_page_that_fails_is_never_the_end() {
    for second in [
        answer(404, &[], ""),
        page(r#"{"items":[{"id":"c""#),
        page("<html>please log in</html>"),
        page(r#"{"items":[],"page":2,"pages":3,"total":3}"#),
        page(r#"{"items":[{"id":"c"}],"page":1,"pages":2,"total":3}"#),
    ] {
        let ran = run(&feed(), vec![numbered(1, 2, 3, &["a", "b"]), second]).await;
        assert_not_covered(&ran);
        assert_eq!(ran.kept.keys(), ["a", "b"]);
        let text = ran.result.unwrap_err().to_string();
        assert!(text.contains("upstream.test/listings/deleted") && !text.contains(SECRET), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_page_is_named_by_its_number() {
    let ran = run(&feed(), vec![numbered(1, 2, 3, &["a", "b"]), page("{}")]).await;
    let error = ran.result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "page 2 of http://upstream.test/listings/deleted was refused: items (/items): missing"
    );
    assert!(error.retry_can_help());
}

#[tokio::test(start_paused = true)]
async fn i4_a_total_that_changes_begins_the_walk_again() {
    let ran = run(
        &feed(),
        vec![
            numbered(1, 2, 3, &["b", "c"]),
            numbered(2, 2, 4, &["c", "d"]),
            numbered(1, 2, 4, &["a", "b"]),
            numbered(2, 2, 4, &["c", "d"]),
        ],
    )
    .await;
    let walked = ran.result.unwrap();
    assert_eq!((walked.walks, walked.pages, walked.records), (2, 4, 4));
    assert_eq!(ran.kept.keys(), ["b", "c", "c", "d", "a", "b", "c", "d"]);
    assert_eq!(ran.kept.pages.iter().filter(|page| page.end.is_some()).count(), 1);
    assert!(ran.kept.pages[3].end.is_some());
}

#[tokio::test(start_paused = true)]
async fn i4_records_that_do_not_add_up_to_the_total_begin_the_walk_again() {
    // A short last page, one record too many, and one that came twice in place of another.
    for last in [&["c"][..], &["c", "d", "e"], &["b", "c"]] {
        let broken = || [numbered(1, 2, 4, &["a", "b"]), numbered(2, 2, 4, last)];
        let whole = [numbered(1, 2, 4, &["a", "b"]), numbered(2, 2, 4, &["c", "d"])];
        let ran = run(&feed(), broken().into_iter().chain(whole).collect()).await;
        assert_eq!(ran.result.unwrap().walks, 2, "{last:?}");

        let ran = run(&feed(), (0..4).flat_map(|_| broken()).collect()).await;
        assert_not_covered(&ran);
        let error = ran.result.unwrap_err();
        assert!(matches!(error, FeedError::Changing { walks: 4 }), "{error}");
        assert!(error.retry_can_help() && error.to_string().contains("faster than it can be read"));
    }
}

#[tokio::test(start_paused = true)]
async fn i4_a_feed_that_leads_in_a_circle_is_left() {
    let list = |rest: &str| page(&format!(r#"{{"items":{}{rest}}}"#, items(&["a", "b"])));
    let link = || answer(200, &[("link", "</p?2>; rel=next"), ("date", NOW_HTTP)], r#"{"items":[]}"#);
    for (paging, answers) in [
        (by_cursor(""), vec![list(r#","next":"x""#), list(r#","next":"y""#), list(r#","next":"x""#)]),
        (by_link(), vec![link(), link()]),
        // An upstream that does not know our parameter gives the first page for ever.
        (by_offset(""), vec![list(""), list("")]),
        (by_page("", "", ""), vec![list(""), list("")]),
    ] {
        let ran = run(&Feed { paging, ..feed() }, answers).await;
        assert_not_covered(&ran);
        let error = ran.result.unwrap_err();
        assert!(matches!(error, FeedError::Page { fault: PageFault::Repeated, .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_walk_has_a_last_page_and_a_last_record() {
    let answers = || vec![numbered(1, 2, 3, &["a", "b"]), numbered(2, 2, 3, &["c"])];
    for (pages, records, fault) in
        [(2, 3, None), (1, 3, Some(PageFault::TooManyPages(1))), (2, 2, Some(PageFault::TooManyRecords(2)))]
    {
        let feed = feed();
        let client = Upstream::scripted(answers()).client(&feed, NOW);
        let limits = Limits { pages, records };
        let result = walk_within(limits, &feed, &client, from_yesterday(), &mut Kept::default()).await;
        match (result, fault) {
            (Ok(_), None) => {}
            (Err(FeedError::Page { fault, .. }), Some(expected)) => assert_eq!(fault, expected),
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_cannot_be_kept_ends_the_run_before_the_next_is_asked_for() {
    let feed = feed();
    let upstream = Upstream::scripted(vec![numbered(1, 2, 3, &["a", "b"])]);
    let client = upstream.client(&feed, NOW);
    let mut full = Kept { room: Some(0), ..Kept::default() };
    let error = walk(&feed, &client, from_yesterday(), &mut full).await.unwrap_err();
    assert_eq!(error.to_string(), "a page could not be kept: disk full");
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn i4_no_error_of_the_local_clock_makes_a_gap() {
    for (format, settled) in [
        (BoundFormat::Date, "from=1994-11-03&to=1994-11-06"),
        (BoundFormat::DateTime, "from=1994-11-03T08%3A49%3A37Z&to=1994-11-06T08%3A49%3A37Z"),
    ] {
        let mut feed = feed();
        feed.window.format = format;
        for (off, is_ahead) in
            [(DAY / 24, true), (DAY / 24, false), (DAY, true), (DAY, false), (365 * DAY, true)]
        {
            let local = if is_ahead { NOW.plus(off) } else { NOW.minus(off) };
            let upstream = Upstream::new(|_| numbered(1, 1, 1, &["a"]));
            let ran = run_at(&feed, upstream, from_yesterday(), local).await;
            let walked = ran.result.unwrap();
            // Whatever was asked first, the page that counts was asked for within the right bounds.
            assert_eq!(ran.asked.last().unwrap(), &format!("{settled}&size=2&page=1"));
            assert!(ran.asked.len() <= 2);
            // Where ours is behind, the checkpoint is too, and the next run reads more.
            let covered = Some(NOW.min(local)).filter(|at| *at > NOW.minus(DAY));
            assert_eq!(walked.covered_until, covered);
            assert_eq!(walked.clock_skew, Some(ClockSkew { by: off, local_is_ahead: is_ahead }));
            assert_eq!(ran.kept.pages.len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i4_a_first_run_reads_back_by_the_upstreams_clock() {
    for local in [NOW, NOW.plus(DAY), NOW.minus(DAY), NOW.plus(365 * DAY)] {
        let upstream = Upstream::new(|_| numbered(1, 1, 1, &["a"]));
        let ran = run_at(&feed(), upstream, Start::default(), local).await;
        assert_eq!(ran.asked.last().unwrap(), "from=1994-10-07&to=1994-11-06&size=2&page=1");
        assert_eq!(ran.result.unwrap().covered_until, Some(NOW.min(local)));
    }
}

#[tokio::test(start_paused = true)]
async fn i4_a_gap_is_told_by_the_upstreams_clock_and_nothing_is_read() {
    let feed = feed();
    let start = Start { checkpoint: Some(NOW.minus(feed.retention + DAY)), since: None };
    for local in [NOW, NOW.minus(2 * DAY)] {
        let ran = run_at(&feed, Upstream::scripted(vec![numbered(1, 0, 0, &[])]), start, local).await;
        assert!(ran.kept.pages.is_empty());
        let error = ran.result.unwrap_err();
        assert!(matches!(error, FeedError::Window(WindowError::Gap { .. })), "{error}");
        assert!(!error.retry_can_help());
    }
    // A clock of ours that is ahead does not make one.
    let recent = Start { checkpoint: Some(NOW.minus(feed.retention).plus(DAY)), since: None };
    let upstream = Upstream::new(|_| numbered(1, 0, 0, &[]));
    assert!(run_at(&feed, upstream, recent, NOW.plus(2 * DAY)).await.result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn i4_an_upstream_without_a_clock_moves_the_checkpoint_by_its_data_alone() {
    let body =
        |total: u32, items: &str| format!(r#"{{"items":[{items}],"page":1,"pages":1,"total":{total}}}"#);
    let newest = at("1994-11-06T01:00:00Z");
    let some = format!(r#"{{"id":"a","at":{}}},{{"id":"b","at":1}}"#, newest.seconds());
    for (text, covered) in [(body(2, &some), Some(newest)), (body(0, ""), None)] {
        for local in [NOW, NOW.plus(DAY)] {
            let given = text.clone();
            let upstream = Upstream::new(move |_| answer(200, &[], &given));
            let walked = run_at(&feed(), upstream, from_yesterday(), local).await.result.unwrap();
            assert_eq!((walked.covered_until, walked.clock_skew), (covered, None));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i4_the_checkpoint_is_the_time_of_the_first_answer_and_not_of_the_last() {
    let later = [("date", "Sun, 06 Nov 1994 09:00:00 GMT")];
    let last = r#"{"items":[{"id":"c"}],"page":2,"pages":2,"total":3}"#;
    let ran = run(&feed(), vec![numbered(1, 2, 3, &["a", "b"]), answer(200, &later, last)]).await;
    assert_eq!(ran.result.unwrap().covered_until, Some(NOW));
}

#[test]
fn a_clock_that_is_off_by_more_than_a_minute_is_told_with_its_side() {
    assert_eq!(skew(NOW.plus(CLOCK_SKEW_MAX), NOW), None);
    let behind = skew(NOW, NOW.plus(Duration::from_secs(61))).unwrap();
    assert_eq!(behind.to_string(), "this machine's clock is 61 s behind the upstream's");
    let ahead = skew(NOW.plus(DAY), NOW).unwrap();
    assert_eq!(ahead.to_string(), "this machine's clock is 1 d ahead of the upstream's");
}

/// Notes when each page is given, and takes its time over it.
struct Slow {
    given: Arc<Mutex<Vec<Instant>>>,
}

impl Sink for Slow {
    async fn page(&mut self, _page: Page) -> Result<(), SinkError> {
        tokio::time::sleep(Duration::from_secs(10)).await;
        self.given.lock().unwrap().push(Instant::now());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_page_is_asked_for_only_when_the_last_was_taken() {
    let feed = feed();
    let taken: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let (seen, mut number) = (Arc::clone(&taken), 0);
    let upstream = Upstream::new(move |_| {
        assert_eq!(seen.lock().unwrap().len(), number);
        number += 1;
        let ids = [format!("{number}a"), format!("{number}b")];
        numbered(u32::try_from(number).unwrap(), 5, 10, &[&ids[0], &ids[1]])
    });
    let client = upstream.client(&feed, NOW);
    let walked = walk(&feed, &client, from_yesterday(), &mut Slow { given: taken }).await.unwrap();
    assert_eq!(walked.pages, 5);
}
