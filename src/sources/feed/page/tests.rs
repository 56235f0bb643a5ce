//! One answer of a feed as a page, and what is no page.

use bytes::Bytes;

use super::*;
use crate::config::source::Paging;
use crate::domain::Timestamp;
use crate::sources::feed::testing::{by_page, feed, pointers};

fn read_as(feed: &Feed, body: &[u8]) -> Result<PageRead, PageFault> {
    let url = Url::parse(&feed.url).unwrap();
    let answer = Answer { body: Bytes::copy_from_slice(body), date: None, links: Vec::new() };
    read(feed, &Position::first(&feed.paging), &url, 0, &answer)
}

/// Items alone, all in one answer.
fn plain() -> Feed {
    Feed { paging: Paging::None, ..feed() }
}

#[test]
fn a_page_gives_each_record_with_its_evidence() {
    let mut feed = plain();
    feed.key = vec![pointers("/board"), pointers("/id")];
    feed.deleted_at = pointers("/gone");
    feed.event_id = pointers("/event");
    let body = r#"{"items":[{"board":9007199254740993,"id":"W1","at":1,"gone":2,"event":"e"},
        {"board":"007","id":"W1","gone":null}]}"#;
    let page = read_as(&feed, body.as_bytes()).unwrap();
    let key = |board: &str| Key::new(vec![board.into(), "W1".into()]).unwrap();
    assert_eq!(page.records[0].key, key("9007199254740993"));
    let evidence = Evidence {
        event_id: Some("e".into()),
        deleted_at: Some(Timestamp::from_seconds(2)),
        updated_at: Some(Timestamp::from_seconds(1)),
    };
    assert_eq!(page.records[0].evidence, evidence);
    assert_eq!(page.records[1], Record { key: key("007"), evidence: Evidence::default() });
    assert_eq!(page.next, None);
}

#[test]
fn an_empty_list_is_an_empty_page() {
    let page = read_as(&plain(), br#"{"items":[]}"#).unwrap();
    assert_eq!((page.records.len(), page.next), (0, None));
}

#[test]
fn i4_what_is_not_a_page_is_refused_as_a_whole_and_by_name() {
    for (body, name) in [
        (&b""[..], "not JSON"),
        (b"<html>down for maintenance</html>", "not JSON"),
        (br#"{"items":[{"id":"1"},{"id""#, "not JSON"),
        (br#"{"items":[]}{"items":[]}"#, "not JSON"),
        (br#"{"items":[{"id":"1","at":NaN}]}"#, "not JSON"),
        (b"{\"items\":[{\"id\":\"\xff\"}]}", "not UTF-8"),
        (br#"{"error":"wrong key"}"#, "items (/items): missing"),
        (br#"{"success":false,"items":null}"#, "items (/items): null"),
        (br#"{"items":"none"}"#, "items (/items): neither an object nor an array"),
        (br#"{"items":{}}"#, "record 1, key part 1 (/id): missing"),
        (br#"{"items":[1]}"#, "record 1, key part 1 (/id): missing"),
        (br#"{"items":[{"id":"1"},{"id":null}]}"#, "record 2, key part 1 (/id): null"),
        (br#"{"items":[{"id":""}]}"#, "record 1, key part 1 (/id): empty"),
        (br#"{"items":[{"id":1e400}]}"#, "record 1, key part 1 (/id): a number with an exponent"),
        (br#"{"items":[{"id":"1","id":"2"}]}"#, "a name that stands more than once"),
        (br#"{"items":[{"id":"1","at":"yesterday"}]}"#, "record 1, update time (/at): not a time"),
        (br#"{"items":[{"id":"1","at":1.5}]}"#, "record 1, update time (/at): a number with a fraction"),
    ] {
        let fault = read_as(&plain(), body).unwrap_err().to_string();
        assert!(fault.contains(name), "{}: {fault}", String::from_utf8_lossy(body));
    }
}

#[test]
fn i3_a_deletion_that_could_be_an_older_one_is_refused_where_records_are_listed_again() {
    let body = br#"{"items":[{"id":"1","at":1},{"id":"2","at":null,"event":"e"}]}"#;
    let feed = Feed { event_id: pointers("/event"), ..plain() };
    assert_eq!(read_as(&feed, body).unwrap().records.len(), 2);
    assert_eq!(read_as(&Feed { relists: true, ..feed }, body), Err(PageFault::Undated { number: 2 }));
}

#[test]
fn a_page_far_larger_than_asked_for_is_refused_and_a_larger_one_is_not() {
    let page = |records: usize| {
        let items = vec![r#"{"id":"1"}"#; records].join(",");
        read_as(
            &Feed { paging: by_page("", "", ""), ..feed() },
            format!(r#"{{"items":[{items}]}}"#).as_bytes(),
        )
    };
    assert_eq!(page(20).unwrap().records.len(), 20);
    assert_eq!(page(21), Err(PageFault::Oversized { asked: 2, got: 21 }));
}
