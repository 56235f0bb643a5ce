//! Where the next page lies, and where the feed ends, for every way of paging.

use bytes::Bytes;

use super::*;
use crate::sources::feed::page;
use crate::sources::feed::testing::{NOW, by_cursor, by_link, by_offset, by_page, feed};
use crate::sources::feed::window::{Now, Start};

fn with(paging: Paging) -> Feed {
    Feed { paging, ..feed() }
}

fn query(feed: &Feed, position: &Position) -> String {
    let bounds = Bounds::settled(feed, Start::default(), Now::Upstream { date: NOW, ours: NOW }).unwrap();
    position.url(feed, &bounds).unwrap().query().unwrap_or_default().to_owned()
}

/// What follows a page at `position` with two records (or none), after `before` records.
fn next_of(feed: &Feed, position: &Position, before: u64, body: &str) -> Result<Option<Position>, PageFault> {
    let answer = Answer { body: Bytes::from(body.to_owned()), date: None, links: Vec::new() };
    let url = Url::parse(&feed.url).unwrap();
    page::read(feed, position, &url, before, &answer).map(|read| read.next)
}

fn two(rest: &str) -> String {
    format!(r#"{{"items":[{{"id":"1"}},{{"id":"2"}}]{rest}}}"#)
}

fn none(rest: &str) -> String {
    format!(r#"{{"items":[]{rest}}}"#)
}

#[test]
fn a_request_has_its_constants_its_bounds_its_size_and_its_position() {
    let mut feed = with(by_page("", "", ""));
    feed.query = vec![("board".into(), "a b&c".into())];
    assert_eq!(query(&feed, &Position::Page(7)), "board=a+b%26c&from=1994-10-07&to=1994-11-06&size=2&page=7");
    let cursor = with(by_cursor(""));
    assert_eq!(query(&cursor, &Position::First), "from=1994-10-07&to=1994-11-06&size=2");
    let second = Position::Cursor("a+/=".into());
    assert_eq!(query(&cursor, &second), "from=1994-10-07&to=1994-11-06&size=2&cursor=a%2B%2F%3D");
    assert_eq!(
        query(&with(by_offset("")), &Position::Offset(0)),
        "from=1994-10-07&to=1994-11-06&size=2&offset=0"
    );
    assert_eq!(query(&with(Paging::None), &Position::First), "from=1994-10-07&to=1994-11-06");
    let link = Position::Link(Url::parse("http://upstream.test/x?y=1").unwrap());
    assert_eq!(query(&with(by_link()), &link), "y=1");
}

#[test]
fn a_feed_without_an_absolute_address_is_told_of() {
    for url in ["/deleted", "ftp://a/b", "data:x", "upstream.test/deleted"] {
        let feed = Feed { url: url.into(), ..feed() };
        let bounds = Bounds::provisional(&feed, Start::default(), NOW);
        assert!(matches!(Position::First.url(&feed, &bounds), Err(FeedError::Setup(_))), "{url}");
    }
}

#[test]
fn pages_end_by_their_number_whatever_they_hold() {
    let feed = with(by_page("", "/pages", ""));
    let page = Position::Page;
    assert_eq!(next_of(&feed, &page(1), 0, &two(r#","pages":2"#)), Ok(Some(page(2))));
    assert_eq!(next_of(&feed, &page(2), 2, &two(r#","pages":2"#)), Ok(None));
    assert_eq!(next_of(&feed, &page(1), 0, &none(r#","pages":0"#)), Ok(None));
    assert_eq!(next_of(&feed, &page(1), 0, &none(r#","pages":2"#)), Err(PageFault::Hollow));
    let Paging::Page { param, size_param, size, page: echo, pages, total, .. } = by_page("", "/pages", "")
    else {
        unreachable!()
    };
    let from_zero = with(Paging::Page { param, size_param, size, first: 0, page: echo, pages, total });
    assert_eq!(Position::first(&from_zero.paging), page(0));
    assert_eq!(next_of(&from_zero, &page(0), 0, &two(r#","pages":2"#)), Ok(Some(page(1))));
    assert_eq!(next_of(&from_zero, &page(1), 2, &two(r#","pages":2"#)), Ok(None));
}

#[test]
fn pages_with_a_total_end_when_it_is_reached_and_without_one_at_an_empty_page() {
    let page = Position::Page;
    let total = with(by_page("", "", "/total"));
    assert_eq!(next_of(&total, &page(1), 0, &two(r#","total":"3""#)), Ok(Some(page(2))));
    assert_eq!(next_of(&total, &page(2), 1, &two(r#","total":3"#)), Ok(None));
    assert_eq!(next_of(&total, &page(2), 2, &none(r#","total":3"#)), Ok(None));
    // A short page is not the end.
    let bare = with(by_page("", "", ""));
    assert_eq!(next_of(&bare, &page(1), 0, r#"{"items":[{"id":"1"}]}"#), Ok(Some(page(2))));
    assert_eq!(next_of(&bare, &page(2), 1, &none("")), Ok(None));
}

#[test]
fn offsets_go_on_by_what_came_and_not_by_what_was_asked_for() {
    let offset = Position::Offset;
    let total = with(by_offset("/total"));
    assert_eq!(next_of(&total, &offset(4), 4, &two(r#","total":7"#)), Ok(Some(offset(6))));
    assert_eq!(next_of(&total, &offset(5), 5, &two(r#","total":7"#)), Ok(None));
    let bare = with(by_offset(""));
    assert_eq!(next_of(&bare, &offset(0), 0, r#"{"items":[{"id":"1"}]}"#), Ok(Some(offset(1))));
    assert_eq!(next_of(&bare, &offset(1), 1, &none("")), Ok(None));
}

#[test]
fn i4_what_the_configuration_says_is_there_must_be_there() {
    let feed = with(by_page("/page", "/pages", "/total"));
    let first = Position::Page(1);
    for (rest, name) in [
        (r#","pages":1,"total":2"#, "page number (/page): missing"),
        (r#","page":1,"total":2"#, "number of pages (/pages): missing"),
        (r#","page":1,"pages":1"#, "total (/total): missing"),
        (r#","page":1,"pages":1,"total":-1"#, "total (/total): not a whole number"),
        (r#","page":1,"pages":1.0,"total":2"#, "number of pages (/pages): a number with a fraction"),
    ] {
        let fault = next_of(&feed, &first, 0, &two(rest)).unwrap_err().to_string();
        assert!(fault.contains(name), "{rest}: {fault}");
    }
    let wrong = next_of(&feed, &Position::Page(2), 0, &two(r#","page":1,"pages":3,"total":6"#));
    assert_eq!(wrong, Err(PageFault::WrongPage { asked: 2, told: 1 }));
}

#[test]
fn a_cursor_ends_by_its_flag_or_by_its_absence() {
    let cursor = |text: &str| Ok(Some(Position::Cursor(text.into())));
    let bare = with(by_cursor(""));
    assert_eq!(next_of(&bare, &Position::First, 0, &two(r#","next":"a b""#)), cursor("a b"));
    assert_eq!(
        next_of(&bare, &Position::First, 0, &none(r#","next":9007199254740993"#)),
        cursor("9007199254740993")
    );
    for end in ["", r#","next":null"#, r#","next":"""#] {
        assert_eq!(next_of(&bare, &Position::First, 0, &two(end)), Ok(None), "{end}");
    }
    let flagged = with(by_cursor("/more"));
    assert_eq!(next_of(&flagged, &Position::First, 0, &none(r#","next":"a","more":true"#)), cursor("a"));
    assert_eq!(next_of(&flagged, &Position::First, 0, &two(r#","next":"a","more":false"#)), Ok(None));
    for broken in
        [r#","next":"a""#, r#","more":true"#, r#","next":"a","more":"yes""#, r#","next":{},"more":true"#]
    {
        let fault = next_of(&flagged, &Position::First, 0, &two(broken));
        assert!(matches!(fault, Err(PageFault::Mark { .. })), "{broken}: {fault:?}");
    }
}

#[test]
fn a_cursor_longer_than_a_request_line_is_refused() {
    let page = |length: usize| {
        let body = two(&format!(r#","next":"{}""#, "x".repeat(length)));
        next_of(&with(by_cursor("")), &Position::First, 0, &body)
    };
    assert!(page(CURSOR_BYTES_MAX).is_ok());
    assert_eq!(page(CURSOR_BYTES_MAX + 1), Err(PageFault::LongCursor));
}

#[test]
fn i10_a_next_link_stays_on_the_origin() {
    let url = Url::parse("https://upstream.test/deleted?from=1").unwrap();
    let next = |header: &str| next_link(&url, &[Some("<x>; rel=last".into()), Some(header.into())]);
    let to = |text: &str| Ok(Some(Position::Link(Url::parse(text).unwrap())));
    assert_eq!(next("<?p=2>; rel=next"), to("https://upstream.test/deleted?p=2"));
    assert_eq!(next("<https://upstream.test:443/b>; rel=next"), to("https://upstream.test/b"));
    assert_eq!(next("<x>; rel=prev"), Ok(None));
    for foreign in [
        "https://upstream.test.evil/b",
        "//evil/b",
        "http://upstream.test/b",
        "https://upstream.test:8443/b",
        "javascript:alert(1)",
    ] {
        let fault = next(&format!("<{foreign}>; rel=next"));
        assert_eq!(fault, Err(PageFault::ForeignLink), "{foreign}");
    }
    assert_eq!(next("x; rel=next"), Err(PageFault::LinkHeader));
    assert_eq!(next_link(&url, &[None]), Err(PageFault::LinkHeader));
    // A name in the address is not a way around the check.
    assert_eq!(next("<https://upstream.test@evil/b>; rel=next"), Err(PageFault::ForeignLink));
}
