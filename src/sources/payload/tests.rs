//! From a delivery to notices: envelopes, events, keys, and what is told of the rest.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::config::source::Pointers;
use crate::domain::{Evidence, Key, Timestamp, timestamp::TimeFormat};
use crate::sources::json::tests::pointers;

const UNSIGNED: Verified = Verified { secret: 0, delivery_id: None };

fn delete() -> EventRule {
    EventRule::Means(Meaning::Notice(Action::Delete))
}

fn source(payload: Payload, events: Vec<(&str, EventRule)>) -> Source {
    Source {
        name: "upstream".to_owned(),
        entity: Entity::new("listing"),
        auth: None,
        payload,
        events: events.into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect(),
        rate_per_second: 5_000,
        retry_horizon: Duration::from_hours(24),
        feed: None,
        pull: None,
        subscriptions: None,
    }
}

fn payload(event: EventFrom, items: &[&str], key: &[&[&str]]) -> Payload {
    Payload {
        items: pointers(items),
        key: key.iter().map(|alternatives| pointers(alternatives)).collect(),
        deleted_at: Pointers::new(),
        updated_at: Pointers::new(),
        time_format: TimeFormat::Iso8601,
        event_id: Pointers::new(),
        event_id_from_delivery: false,
        event,
    }
}

/// Repliers: the event in the path, one item or many, a key of two parts, terminated is not deleted.
fn listings() -> Parser {
    let mut payload = payload(EventFrom::Path, &["/data", ""], &[&["/boardId"], &["/mlsNumber"]]);
    payload.updated_at = pointers(&["/updatedOn", "/timestamps/listingUpdated"]);
    let by = EventRule::By {
        pointer: pointers(&["/lastStatus", "/standardStatus"]),
        values: BTreeMap::from([
            ("Ter".to_owned(), Meaning::Notice(Action::Deactivate)),
            ("Canceled".to_owned(), Meaning::Notice(Action::Deactivate)),
            ("Lc".to_owned(), Meaning::Ignore),
        ]),
        otherwise: Meaning::Notice(Action::Relisted),
    };
    Parser::new(&source(
        payload,
        vec![
            ("listing.deleted", delete()),
            ("listing.updated", by),
            ("listing.created", EventRule::Means(Meaning::Ignore)),
        ],
    ))
}

/// LeadLex: the event in the body, the key in one of three places.
fn deals() -> Parser {
    let event = EventFrom::Body(pointers(&["#/event"]));
    let mut payload = payload(event, &[], &[&["/data/id", "/data/deal/id", "/data/deal_id"]]);
    payload.deleted_at = pointers(&["/timestamp"]);
    Parser::new(&source(payload, vec![("deal.deleted", delete())]))
}

fn parse(parser: &Parser, body: &str, path: Option<&str>) -> Result<Parsed, Unreadable> {
    parser.parse(body.as_bytes(), &HeaderMap::new(), path, &UNSIGNED)
}

fn keys(parsed: &Parsed) -> Vec<String> {
    parsed.notices.iter().map(|notice| notice.key.canonical()).collect()
}

fn faults(parsed: &Parsed) -> Vec<String> {
    parsed.faults.iter().map(ToString::to_string).collect()
}

#[test]
fn one_listing_or_many_are_read_from_either_envelope() {
    let item =
        r#"{"mlsNumber":"W10440893","boardId":2,"timestamps":{"listingUpdated":"2024-11-19T21:25:27.869Z"}}"#;
    let expected = Notice {
        entity: Entity::new("listing"),
        key: Key::new(vec!["2".to_owned(), "W10440893".to_owned()]).unwrap(),
        action: Action::Delete,
        evidence: Evidence {
            updated_at: Some(Timestamp::from_micros(1_732_051_527_869_000)),
            ..Evidence::default()
        },
    };
    for body in [
        item.to_owned(),
        format!("[{item}]"),
        format!(r#"{{"data":{item}}}"#),
        format!(r#"{{"data":[{item}]}}"#),
    ] {
        let parsed = parse(&listings(), &body, Some("listing.deleted")).unwrap();
        assert_eq!(parsed.notices, std::slice::from_ref(&expected), "{body}");
        assert_eq!(parsed.unreadable + parsed.ignored, 0);
    }
}

#[test]
fn the_key_is_found_in_any_of_its_places() {
    for data in [r#"{"id":"d-1"}"#, r#"{"deal":{"id":"d-1"}}"#, r#"{"deal_id":"d-1"}"#] {
        let body = format!(r#"{{"event":"deal.deleted","timestamp":"2026-02-24T10:00:00Z","data":{data}}}"#);
        let parsed = parse(&deals(), &body, None).unwrap();
        assert_eq!(keys(&parsed), [r#"["d-1"]"#]);
        let at = Timestamp::parse("2026-02-24T10:00:00Z", TimeFormat::Iso8601);
        assert_eq!(parsed.notices[0].evidence.deleted_at, at);
    }
}

#[test]
fn terminated_is_not_deleted() {
    let action = |status: &str| {
        let body = format!(r#"{{"boardId":2,"mlsNumber":"W1"{status}}}"#);
        let parsed = parse(&listings(), &body, Some("listing.updated")).unwrap();
        parsed.notices.first().map(|notice| notice.action)
    };
    assert_eq!(action(r#","lastStatus":"Ter""#), Some(Action::Deactivate));
    assert_eq!(action(r#","lastStatus":"ter""#), Some(Action::Relisted));
    assert_eq!(action(r#","lastStatus":"Sld""#), Some(Action::Relisted));
    assert_eq!(action(r#","lastStatus":"Lc""#), None);
    assert_eq!(action(""), Some(Action::Relisted));
    let odd = r#"{"boardId":2,"mlsNumber":"W1","lastStatus":{}}"#;
    let parsed = parse(&listings(), odd, Some("listing.updated")).unwrap();
    assert_eq!(faults(&parsed), ["item 1: state (/lastStatus): an object"]);
}

#[test]
fn events_that_mean_nothing_need_no_key() {
    let parsed = parse(&listings(), r#"[{"agentid":909},{}]"#, Some("listing.created")).unwrap();
    assert_eq!((parsed.ignored, parsed.unknown, parsed.unreadable), (2, 0, 0));
    let parsed = parse(&listings(), r#"[{"agentid":909}]"#, Some("agent.created")).unwrap();
    assert_eq!((parsed.ignored, parsed.unknown, parsed.unreadable), (1, 1, 0));
    let parsed = parse(&listings(), "[{}]", Some("LISTING.DELETED")).unwrap();
    assert_eq!(parsed.unknown, 1);
}

#[test]
fn an_empty_list_is_a_sign_of_life() {
    let parser = Parser::new(&source(
        payload(EventFrom::Body(pointers(&["/action"])), &["/events"], &[&["/resource/gid"]]),
        vec![("deleted", delete())],
    ));
    assert_eq!(parse(&parser, r#"{"events":[]}"#, None), Ok(Parsed::default()));
    assert_eq!(parse(&listings(), "[]", None), Ok(Parsed::default()));
    let body = r#"{"events":[{"action":"deleted","resource":{"gid":"1"}},{"action":"added"}]}"#;
    let parsed = parse(&parser, body, None).unwrap();
    assert_eq!((keys(&parsed).len(), parsed.unknown), (1, 1));
}

#[test]
fn the_event_falls_back_to_the_path() {
    let item = r#"{"data":{"id":"d-1"}}"#;
    assert_eq!(parse(&deals(), item, Some("deal.deleted")).unwrap().notices.len(), 1);
    let named = r#"{"event":"deal.created","data":{"id":"d-1"}}"#;
    assert_eq!(parse(&deals(), named, Some("deal.deleted")).unwrap().unknown, 1);
    for body in [item, r#"{"event":null,"data":{}}"#, r#"{"event":""}"#] {
        assert_eq!(faults(&parse(&deals(), body, None).unwrap()), ["item 1: event (#/event): missing"]);
    }
    let twins = r#"{"event":"deal.deleted","event":"deal.created","data":{"id":"d-1"}}"#;
    let parsed = parse(&deals(), twins, Some("deal.deleted")).unwrap();
    assert_eq!(faults(&parsed), ["item 1: event (#/event): a name that stands more than once"]);
    let parsed = parse(&listings(), "{}", None).unwrap();
    assert_eq!(faults(&parsed), ["item 1: event (path): missing"]);
}

#[test]
fn the_event_is_read_from_a_header() {
    let event = EventFrom::Header("x-topic".to_owned());
    let parser = Parser::new(&source(payload(event, &[], &[&["/id"]]), vec![("products/delete", delete())]));
    let with = |values: &[&[u8]], path| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HeaderName::from_static("x-topic"), HeaderValue::from_bytes(value).unwrap());
        }
        parser.parse(br#"{"id":1}"#, &headers, path, &UNSIGNED).unwrap()
    };
    assert_eq!(with(&[b"products/delete"], None).notices.len(), 1);
    assert_eq!(with(&[b"products/update"], Some("products/delete")).unknown, 1);
    assert_eq!(with(&[], Some("products/delete")).notices.len(), 1);
    assert_eq!(faults(&with(&[], None)), ["item 1: event (header x-topic): missing"]);
    let twice = with(&[b"products/delete", b"products/update"], None);
    assert_eq!(faults(&twice), ["item 1: event (header x-topic): a name that stands more than once"]);
    assert_eq!(with(&[b"\xff"], None).unreadable, 1);
}

#[test]
fn i3_a_delivery_id_is_evidence_only_where_the_source_says_so() {
    let event_id = |from_delivery, body: &str, delivery_id: Option<&str>| {
        let mut payload = payload(EventFrom::Path, &[], &[&["/id"]]);
        payload.event_id = pointers(&["/event_id"]);
        payload.event_id_from_delivery = from_delivery;
        let parser = Parser::new(&source(payload, vec![("gone", delete())]));
        let verified = Verified { secret: 0, delivery_id: delivery_id.map(str::to_owned) };
        let parsed = parser.parse(body.as_bytes(), &HeaderMap::new(), Some("gone"), &verified).unwrap();
        parsed.notices[0].evidence.event_id.clone()
    };
    let bare = r#"{"id":1}"#;
    assert_eq!(event_id(true, bare, Some("msg_1")).as_deref(), Some("msg_1"));
    assert_eq!(event_id(false, bare, Some("msg_1")), None);
    assert_eq!(event_id(true, bare, None), None);
    let own = r#"{"id":1,"event_id":77}"#;
    assert_eq!(event_id(true, own, Some("msg_1")).as_deref(), Some("77"));
}

#[test]
fn i6_one_unreadable_item_does_not_lose_the_others() {
    let body = r#"[{"boardId":2,"mlsNumber":"W1"},{"boardId":2},{"boardId":2,"mlsNumber":1.5},7,
        {"boardId":2,"mlsNumber":"W2","updatedOn":"soon"},{"boardId":2,"mlsNumber":"W3","\u006dlsNumber":"W4"},
        {"boardId":2,"mlsNumber":"W5\u0000"},{"boardId":2,"mlsNumber":"W6\ud83d"},{"boardId":"2","mlsNumber":"W7"}]"#;
    let parsed = parse(&listings(), body, Some("listing.deleted")).unwrap();
    assert_eq!(keys(&parsed), [r#"["2","W1"]"#, r#"["2","W7"]"#]);
    assert_eq!(parsed.unreadable, 7);
    let faults = faults(&parsed);
    assert_eq!(faults[0], "item 2: key part 2 (/mlsNumber): missing");
    assert_eq!(faults[1], "item 3: key part 2 (/mlsNumber): a number with a fraction");
    assert_eq!(faults[2], "item 4: key part 1 (/boardId): missing");
    assert_eq!(
        faults[3],
        "item 5: update time (/updatedOn or /timestamps/listingUpdated): not a time in the configured format"
    );
    assert_eq!(faults[4], "item 6: key part 2 (/mlsNumber): a name that stands more than once");
}

#[test]
fn i11_keys_are_carried_digit_by_digit() {
    let parsed = |id: &str| {
        let body = format!(r#"{{"event":"deal.deleted","data":{{"id":{id}}}}}"#);
        keys(&parse(&deals(), &body, None).unwrap())
    };
    assert_eq!(parsed("9007199254740993"), [r#"["9007199254740993"]"#]);
    assert_eq!(parsed("12345678901234567890123"), [r#"["12345678901234567890123"]"#]);
    assert_eq!(parsed(r#""007""#), [r#"["007"]"#]);
    assert_ne!(parsed("\"é\""), parsed("\"e\u{301}\""));
}

#[test]
fn i10_faults_tell_places_and_never_content() {
    let bodies = [
        r#"{"event":"deal.deleted","data":{"id":{"s3cret":"s3cret"}}}"#,
        r#"{"event":{"s3cret":1}}"#,
        r#"{"event":"deal.deleted","timestamp":"s3cret","data":{"id":1}}"#,
    ];
    for body in bodies {
        let told = faults(&parse(&deals(), body, None).unwrap());
        assert!(told.len() == 1 && !told[0].contains("s3cret"), "{told:?}");
    }
    let told = parse(&deals(), "{\"s3cret\": s3cret", None).unwrap_err().to_string();
    assert_eq!(told, "body: not JSON, from line 1, column 12 on");
}

#[test]
fn bodies_that_say_nothing_are_refused_as_a_whole() {
    let fault = |body: &[u8]| {
        let parsed = listings().parse(body, &HeaderMap::new(), Some("listing.deleted"), &UNSIGNED);
        parsed.unwrap_err().to_string()
    };
    assert_eq!(fault(b""), "body: not JSON, from line 1, column 0 on");
    assert_eq!(fault(b"\xff"), "body: not UTF-8 from byte 0 on");
    assert_eq!(fault(b"\"text\""), "items (/data or \"\"): neither an object nor an array");
    assert_eq!(fault(br#"{"data":null}"#), "items (/data or \"\"): null");
    assert_eq!(
        fault(br#"{"data":[],"d\u0061ta":[]}"#),
        "items (/data or \"\"): a name that stands more than once"
    );
}

#[test]
fn limits_of_items_and_of_told_faults_are_reached() {
    let items = |count: usize| format!("[{}]", vec![r#"{"boardId":2}"#; count].join(","));
    let parsed = parse(&listings(), &items(ITEMS_MAX), Some("listing.deleted")).unwrap();
    assert_eq!(parsed.unreadable as usize, ITEMS_MAX);
    assert_eq!(parsed.faults.len(), FAULTS_MAX);
    let more = parse(&listings(), &items(ITEMS_MAX + 1), Some("listing.deleted"));
    assert_eq!(more, Err(Unreadable::TooManyItems));
}

proptest! {
    #[test]
    fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for parser in [listings(), deals()] {
            let _ = parser.parse(&body, &HeaderMap::new(), Some("listing.deleted"), &UNSIGNED);
        }
    }

    #[test]
    fn every_item_is_counted_once(
        items in proptest::collection::vec(r#"\{("boardId":[12],?)?("mlsNumber":("W1"|1|null|1\.5))?\}|null|[0-9]"#, 0..12),
        path in prop_oneof![Just("listing.deleted"), Just("listing.updated"), Just("listing.created"), Just("x")],
    ) {
        let body = format!("[{}]", items.join(","));
        if let Ok(parsed) = parse(&listings(), &body, Some(path)) {
            let told = parsed.notices.len() + (parsed.ignored + parsed.unreadable) as usize;
            prop_assert_eq!(told, items.len());
            prop_assert_eq!(parsed.faults.len(), parsed.unreadable as usize);
        }
    }
}

#[test]
fn a_state_that_means_nothing_in_one_place_leaves_the_other_to_decide() {
    for (states, action) in [
        (r#""lastStatus":"Ter""#, Action::Deactivate),
        (r#""lastStatus":"New","standardStatus":"Canceled""#, Action::Deactivate),
        (r#""lastStatus":null,"standardStatus":"Canceled""#, Action::Deactivate),
        (r#""lastStatus":"Sc","standardStatus":"Pending""#, Action::Relisted),
    ] {
        let body = format!(r#"{{"data":{{"boardId":2,"mlsNumber":"W1",{states}}}}}"#);
        let parsed = parse(&listings(), &body, Some("listing.updated")).unwrap();
        assert_eq!(parsed.notices[0].action, action, "{states}");
    }
}
