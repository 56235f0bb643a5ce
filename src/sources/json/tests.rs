//! Exact reading: what comes out is what was sent, or a fault with its place.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::domain::{Evidence, Key};

/// One alternative for each text, in the notation of the configuration.
pub(crate) fn pointers(texts: &[&str]) -> Pointers {
    let pointer = |text: &&str| {
        let tokens = text.trim_start_matches('#').split('/').skip(1);
        let tokens = tokens.map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
        Pointer { whole: text.starts_with('#'), tokens }
    };
    texts.iter().map(pointer).collect()
}

fn exact(body: &str, place: &str) -> Result<String, Fault> {
    let document = Document::parse(body.as_bytes())?;
    document.root().exact_text(&pointers(&[place])).map(Cow::into_owned)
}

#[test]
fn i11_integers_keep_every_digit() {
    for digits in [
        "0",
        "-0",
        "-1",
        "9007199254740993",
        "18446744073709551616",
        "12345678901234567890123",
        "-9223372036854775809",
    ] {
        assert_eq!(exact(&format!(r#"{{"id": {digits} }}"#), "/id").as_deref(), Ok(digits));
    }
}

#[test]
fn i11_strings_are_kept_byte_for_byte() {
    for (json, text) in [
        (r#""007""#, "007"),
        (r#"" W1 ""#, " W1 "),
        (r#""1.0""#, "1.0"),
        (r#""a\"b\\c\/d""#, "a\"b\\c/d"),
        (r#""\u00e9""#, "é"),
        (r#""é""#, "é"),
        ("\"e\u{301}\"", "e\u{301}"),
        (r#""\ud83d\ude00""#, "😀"),
        ("\"\u{202e}abc\u{feff}\"", "\u{202e}abc\u{feff}"),
        (r#""\u0000""#, "\0"),
        (r#""""#, ""),
    ] {
        assert_eq!(exact(&format!(r#"{{"id":{json}}}"#), "/id").as_deref(), Ok(text), "{json}");
    }
    assert_ne!(exact("{\"id\":\"é\"}", "/id"), exact("{\"id\":\"e\u{301}\"}", "/id"));
}

#[test]
fn i11_what_is_not_exact_text_is_refused_by_name() {
    for (json, fault) in [
        ("1.0", Fault::Fraction),
        ("0.1", Fault::Fraction),
        ("1e3", Fault::Exponent),
        ("1E+3", Fault::Exponent),
        ("1.5e3", Fault::Exponent),
        ("true", Fault::Boolean),
        ("false", Fault::Boolean),
        ("null", Fault::Null),
        ("{}", Fault::Object),
        ("[1]", Fault::Array),
        (r#""\ud83d""#, Fault::NotUnicode),
        (r#""\ude00\ud83d""#, Fault::NotUnicode),
    ] {
        assert_eq!(exact(&format!(r#"{{"id":{json}}}"#), "/id"), Err(fault), "{json}");
    }
    assert_eq!(exact("{}", "/id"), Err(Fault::Missing));
    for json in ["01", "+1", "1.", ".5", "0x1", "NaN", "1_000", "'1'", "\"a\nb\"", "\"\\x\""] {
        let fault = exact(&format!("{{\"id\":{json}}}"), "/id");
        assert!(matches!(fault, Err(Fault::NotJson { line: 1 | 2, .. })), "{json}");
    }
}

#[test]
fn twins_are_refused_where_they_are_asked_for_however_they_are_written() {
    for body in [
        r#"{"id":1,"id":2}"#,
        r#"{"id":1,"id":1}"#,
        r#"{"id":1,"\u0069d":2}"#,
        r#"{"\u0069\u0064":1,"x":0,"id":2}"#,
    ] {
        assert_eq!(exact(body, "/id"), Err(Fault::Duplicate), "{body}");
    }
    assert_eq!(exact(r#"{"a":{"id":1},"a":{"id":1}}"#, "/a/id"), Err(Fault::Duplicate));
    assert_eq!(exact(r#"{"id":1,"note":"a","note":"b","ID":2}"#, "/id").as_deref(), Ok("1"));
    assert_eq!(exact(r#"{"\u0069d":7}"#, "/id").as_deref(), Ok("7"));
}

#[test]
fn pointers_follow_rfc_6901() {
    let body = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"i\\j":5,"k\"l":6," ":7,"m~n":8,"~1":9}"#;
    for (place, text) in [
        ("/foo/0", "bar"),
        ("/foo/1", "baz"),
        ("/", "0"),
        ("/a~1b", "1"),
        ("/c%d", "2"),
        ("/i\\j", "5"),
        ("/k\"l", "6"),
        ("/ ", "7"),
        ("/m~0n", "8"),
        ("/~01", "9"),
    ] {
        assert_eq!(exact(body, place).as_deref(), Ok(text), "{place}");
        assert_eq!(written(&pointers(&[place])), place);
    }
    for place in ["/foo/2", "/foo/00", "/foo/01", "/foo/-", "/foo/+1", "/foo/", "/foo/99999999999999999999"] {
        assert_eq!(exact(body, place), Err(Fault::Missing), "{place}");
    }
    assert_eq!(exact(body, "/foo/0/x"), Err(Fault::Missing));
    assert_eq!(exact("\"alone\"", "").as_deref(), Ok("alone"));
    assert_eq!(exact(body, ""), Err(Fault::Object));
}

#[test]
fn the_first_alternative_that_is_there_counts() {
    let document = Document::parse(br#"{"a":null,"b":{"id":2},"c":3}"#).unwrap();
    let root = document.root();
    assert_eq!(root.exact_text(&pointers(&["/x", "/b/id", "/c"])).as_deref(), Ok("2"));
    // A key that is null is a fault of the upstream's; what may be left out is left out by null as well.
    assert_eq!(root.exact_text(&pointers(&["/a", "/c"])), Err(Fault::Null));
    assert_eq!(root.text(&pointers(&["/a", "/c"])), Ok(Some("3".into())));
    assert_eq!(root.text(&pointers(&["/a", "/x"])), Ok(None));
    assert_eq!(root.text(&pointers(&["/b", "/c"])), Err(Fault::Object));
    assert_eq!(root.text(&Pointers::new()), Ok(None));
    assert_eq!(written(&pointers(&["#/a", "/b/c", ""])), "#/a or /b/c or \"\"");
}

#[test]
fn items_are_the_elements_or_the_one_object() {
    let count = |body: &str, places: &[&str]| {
        let document = Document::parse(body.as_bytes()).unwrap();
        document.items(&pointers(places)).map(|items| items.len())
    };
    assert_eq!(count("[]", &[]), Ok(0));
    assert_eq!(count("[{},{}]", &[]), Ok(2));
    assert_eq!(count("{}", &[]), Ok(1));
    assert_eq!(count(r#"{"data":[{},1]}"#, &["/data", ""]), Ok(2));
    assert_eq!(count(r#"{"data":{}}"#, &["/data", ""]), Ok(1));
    assert_eq!(count("[{},{},{}]", &["/data", ""]), Ok(3));
    assert_eq!(count(r#"{"data":null}"#, &["/data", ""]), Err(Fault::Null));
    assert_eq!(count(r#"{"data":"x"}"#, &["/data"]), Err(Fault::Scalar));
    assert_eq!(count("7", &[]), Err(Fault::Scalar));
    assert_eq!(count("{}", &["/data"]), Err(Fault::Missing));
    assert_eq!(count(r#"{"data":[],"data":[{}]}"#, &["/data"]), Err(Fault::Duplicate));
}

#[test]
fn whole_pointers_start_at_the_document() {
    let document = Document::parse(br#"{"id":"outer","data":[{"id":"first"},"second"]}"#).unwrap();
    let items = document.items(&pointers(&["/data"])).unwrap();
    assert_eq!(items[0].exact_text(&pointers(&["/id"])).as_deref(), Ok("first"));
    assert_eq!(items[0].exact_text(&pointers(&["#/id"])).as_deref(), Ok("outer"));
    assert_eq!(items[1].exact_text(&pointers(&[""])).as_deref(), Ok("second"));
    assert_eq!(items[1].exact_text(&pointers(&["#/data/0/id"])).as_deref(), Ok("first"));
}

#[test]
fn a_time_that_is_there_but_unreadable_is_never_taken_for_none() {
    let at = Some(Timestamp::from_seconds(1_614_265_330));
    let time = |json: &str, format| {
        let body = format!(r#"{{"t":{json}}}"#);
        let document = Document::parse(body.as_bytes()).unwrap();
        document.root().time(&pointers(&["/t"]), format)
    };
    assert_eq!(time("1614265330", TimeFormat::UnixSeconds), Ok(at));
    assert_eq!(time("\"1614265330\"", TimeFormat::UnixSeconds), Ok(at));
    assert_eq!(time("1614265330000", TimeFormat::UnixMillis), Ok(at));
    assert_eq!(time("\"2021-02-25T15:02:10Z\"", TimeFormat::Iso8601), Ok(at));
    assert_eq!(time("null", TimeFormat::Iso8601), Ok(None));
    for (json, format, fault) in [
        ("\"\"", TimeFormat::Iso8601, Fault::NotATime),
        ("\"soon\"", TimeFormat::Iso8601, Fault::NotATime),
        ("1614265330", TimeFormat::Iso8601, Fault::NotATime),
        ("\"2021-02-25T15:02:10Z\"", TimeFormat::UnixSeconds, Fault::NotATime),
        ("9223372036854775807", TimeFormat::UnixSeconds, Fault::NotATime),
        ("1614265330.5", TimeFormat::UnixSeconds, Fault::Fraction),
        ("1.6e9", TimeFormat::UnixSeconds, Fault::Exponent),
        ("true", TimeFormat::UnixSeconds, Fault::Boolean),
    ] {
        assert_eq!(time(json, format), Err(fault), "{json}");
    }
}

#[test]
fn counts_are_whole_and_never_negative() {
    let count = |json: &str| {
        let body = format!(r#"{{"n":{json}}}"#);
        Document::parse(body.as_bytes()).unwrap().root().integer(&pointers(&["/n"]))
    };
    assert_eq!(count("0"), Ok(Some(0)));
    assert_eq!(count("\"12\""), Ok(Some(12)));
    assert_eq!(count("18446744073709551615"), Ok(Some(u64::MAX)));
    assert_eq!(count("null"), Ok(None));
    for json in ["-1", "18446744073709551616", "\"\"", "\"+1\"", "\"a\"", "\"١\""] {
        assert_eq!(count(json), Err(Fault::NotACount), "{json}");
    }
    assert_eq!(count("1.0"), Err(Fault::Fraction));
}

#[test]
fn labels_may_be_booleans() {
    let document = Document::parse(br#"{"deleted":true,"status":"Ter","n":1.5}"#).unwrap();
    let label = |place| document.root().label(&pointers(&[place]));
    assert_eq!(label("/deleted"), Ok(Some("true".into())));
    assert_eq!(label("/status"), Ok(Some("Ter".into())));
    assert_eq!(label("/n"), Err(Fault::Fraction));
    assert_eq!(label("/none"), Ok(None));
}

#[test]
fn bytes_that_are_no_json_are_refused_with_their_place() {
    let fault = |body: &[u8]| Document::parse(body).unwrap_err();
    assert_eq!(fault(b"{\"id\":\"\xff\"}"), Fault::NotUtf8(7));
    assert_eq!(fault(b"{\"id\":\"\xc0\xaf\"}"), Fault::NotUtf8(7));
    assert_eq!(fault(b"{\"id\":\"\xed\xa0\x80\"}"), Fault::NotUtf8(7));
    assert_eq!(fault(b"\xff\xfe{\0}\0"), Fault::NotUtf8(0));
    assert_eq!(fault(b""), Fault::NotJson { line: 1, column: 0 });
    for body in [&b"{} {}"[..], b"{}x", b"{", b"{\"a\":1,}", b"[1,]", b"{a:1}", b"{\"a\":1}\0", b"//x\n{}"] {
        assert!(matches!(fault(body), Fault::NotJson { .. }), "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(exact("\u{feff} {\"id\":1}\n", "/id").as_deref(), Ok("1"));
    assert!(matches!(exact("\u{feff}\u{feff}{}", "/id"), Err(Fault::NotJson { .. })));
}

#[test]
fn odd_text_elsewhere_does_not_lose_a_key() {
    let body = r#"{"id":"W1","remarks":"\ud83d cut","deep":{"\ud83d":1},"price":1e400}"#;
    assert_eq!(exact(body, "/id").as_deref(), Ok("W1"));
    assert_eq!(exact(body, "/deep/x"), Err(Fault::NotUnicode));
}

#[test]
fn depth_costs_no_stack() {
    let depth = 500_000;
    let deep = format!(r#"{{"x":{}{},"id":"W1"}}"#, "[".repeat(depth), "]".repeat(depth));
    assert_eq!(exact(&deep, "/id").as_deref(), Ok("W1"));
    assert_eq!(exact(&deep, "/x/0/0/0"), Err(Fault::Array));
    assert!(matches!(exact(&"[".repeat(depth), "/id"), Err(Fault::NotJson { .. })));
}

#[test]
fn many_members_are_read_up_to_the_limit() {
    let members = |count: usize| {
        let mut body = String::from("{\"id\":1");
        for number in 1..count {
            write!(body, ",\"k{number}\":0").unwrap();
        }
        body + "}"
    };
    assert_eq!(exact(&members(100_000), "/id").as_deref(), Ok("1"));
    assert_eq!(exact(&members(CHILDREN_MAX), "/k77").as_deref(), Ok("0"));
    assert_eq!(exact(&members(CHILDREN_MAX + 1), "/id"), Err(Fault::TooMany));

    let elements = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
    let count = |body: &str| Document::parse(body.as_bytes()).unwrap().items(&[]).map(|items| items.len());
    assert_eq!(count(&elements(CHILDREN_MAX)), Ok(CHILDREN_MAX));
    assert_eq!(count(&elements(CHILDREN_MAX + 1)), Err(Fault::TooMany));
}

#[test]
fn a_field_fault_names_part_and_place() {
    let parts = [pointers(&["/boardId"]), pointers(&["/mlsNumber", "/mls"])];
    let fault =
        |body: &str| Document::parse(body.as_bytes()).unwrap().root().key(&parts).unwrap_err().to_string();
    assert_eq!(fault(r#"{"boardId":2}"#), "key part 2 (/mlsNumber or /mls): missing");
    assert_eq!(fault(r#"{"boardId":2.5,"mls":"W1"}"#), "key part 1 (/boardId): a number with a fraction");
    assert_eq!(fault(r#"{"boardId":2,"mls":""}"#), "key part 2 (/mlsNumber or /mls): empty");
    let nul = fault(r#"{"boardId":2,"mls":"W\u0000"}"#);
    assert_eq!(nul, "key part 2 (/mlsNumber or /mls): a text with a NUL character, which no database stores");
    assert!(
        fault(&format!(r#"{{"boardId":"{}","mls":"W"}}"#, "x".repeat(513)))
            .ends_with("longer than 512 bytes")
    );
    let none = Document::parse(b"{}").unwrap().root().key(&[]).unwrap_err();
    assert_eq!(none.to_string(), "key part 1 (): a key has 1 to 8 parts");
}

#[test]
fn key_and_evidence_are_read_together() {
    let (key, deleted_at, updated_at) = ([pointers(&["/id"])], pointers(&["/d"]), pointers(&["/u"]));
    let event_id = pointers(&["#/event"]);
    let fields = Fields {
        key: &key,
        deleted_at: &deleted_at,
        updated_at: &updated_at,
        time_format: TimeFormat::UnixSeconds,
        event_id: &event_id,
    };
    let read = |body: &str| Document::parse(body.as_bytes()).unwrap().root().read(&fields);
    let (key, evidence) = read(r#"{"id":"a","d":1,"u":"2","event":12345678901234567890}"#).unwrap();
    assert_eq!(key, Key::new(vec!["a".into()]).unwrap());
    assert_eq!(evidence.event_id.as_deref(), Some("12345678901234567890"));
    assert_eq!(evidence.deleted_at, Some(Timestamp::from_seconds(1)));
    assert_eq!(evidence.updated_at, Some(Timestamp::from_seconds(2)));
    assert_eq!(read(r#"{"id":"a","event":"","d":null}"#).unwrap().1, Evidence::default());
    let fault = |body: &str| read(body).unwrap_err().to_string();
    assert_eq!(fault(r#"{"id":"a","u":"x"}"#), "update time (/u): not a time in the configured format");
    assert_eq!(fault(r#"{"id":"a","d":true}"#), "deletion time (/d): a boolean");
    assert_eq!(fault(r#"{"id":"a","event":{}}"#), "event id (#/event): an object");
}

proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(document) = Document::parse(&body) {
            let _ = document.items(&[]);
            let _ = document.root().label(&pointers(&["/a/0", ""]));
        }
    }

    #[test]
    fn no_near_json_panics(body in r#"([\[\]{},:"\\]|"a"|"id"|0|1e5|-|\\u00|\\ud83d|true|nul|null| |é){0,40}"#) {
        if let Ok(document) = Document::parse(body.as_bytes()) {
            for item in document.items(&[]).unwrap_or_default() {
                let _ = item.read(&Fields {
                    key: &[pointers(&["/a", "/id", "#/0/a", ""])],
                    deleted_at: &pointers(&["/a"]),
                    updated_at: &pointers(&["/id"]),
                    time_format: TimeFormat::Iso8601,
                    event_id: &pointers(&["#"]),
                });
            }
        }
    }

    #[test]
    fn i11_any_text_comes_back_as_it_was_sent(text in any::<String>(), number in any::<i128>()) {
        let body = serde_json::json!({ "text": text, "escaped\u{1}": 0 }).to_string();
        prop_assert_eq!(exact(&body, "/text"), Ok(text.clone()));
        let ascii: String = text.encode_utf16().fold(String::new(), |mut all, unit| {
            write!(all, "\\u{unit:04x}").unwrap();
            all
        });
        prop_assert_eq!(exact(&format!(r#"{{"text":"{ascii}"}}"#), "/text"), Ok(text));
        prop_assert_eq!(exact(&format!("[{number}]"), "/0"), Ok(number.to_string()));
    }
}
