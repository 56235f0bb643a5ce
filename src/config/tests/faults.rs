//! Faulty configurations, each with the exact lines that are said about it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{given, parse, parse_in};

/// Sound; each case replaces one line of it.
const SOUND: &str = r#"[sources.crm]
entity = "deal"
secret = { env = "SECRET" }
auth = { scheme = "hmac", header = "x-sig" }
payload = { event = "/event", key = ["/id"] }
events = { "deal.deleted" = "delete" }
[sources.crm.feed]
url = "https://api.crm.example/deleted"
retention = "30d"
window = { from = "since", format = "date_time" }
paging = { kind = "none" }
[targets.replica]
kind = "sql"
url = "sqlite://data/replica.db"
[targets.replica.entities.deal]
table = "deals"
key = ["id"]
[targets.search]
kind = "tantivy"
path = "data/search"
[targets.search.entities.deal]
field = "id"
id = "{0}"
[server]
[brake]
[state]
"#;

/// Blocks, split by empty lines: `@` and the number of the line that is replaced, what stands there instead,
/// and after `>` each line that is said. A `#` starts a heading.
const CASES: &str = include_str!("faults.txt");

struct Case {
    line: usize,
    text: String,
    expected: Vec<String>,
}

fn cases() -> Vec<Case> {
    let blocks = CASES.split("\n\n").filter_map(|block| block.trim().strip_prefix('@'));
    let case = |block: &str| {
        let mut lines = block.lines();
        let line = lines.next().unwrap().parse().unwrap();
        let (expected, text): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("> "));
        let expected = expected.iter().map(|line| line[2..].to_owned()).collect();
        Case { line, text: text.join("\n"), expected }
    };
    blocks.map(case).collect()
}

#[test]
fn every_fault_says_where_it_is_what_it_is_and_how_to_mend_it() {
    assert_eq!(parse(SOUND).map(|_| ()), Ok(()));
    let cases = cases();
    assert!(cases.len() > 100, "{}", cases.len());
    for Case { line, text, expected } in cases {
        let mut lines: Vec<&str> = SOUND.lines().collect();
        lines[line - 1] = &text;
        let said = parse(&lines.join("\n")).err().unwrap_or_default();
        assert_eq!(said, expected, "line {line} as {text:?}");
    }
}

#[test]
fn a_text_with_many_faults_names_them_all_in_its_order() {
    let text = r#"
[server]
hooks = "everywhere"
[brake]
mode = "maybe"
[sources.repliers]
preset = "repliers"
secret = "hunter22hunter22"
feed = { overlap = "two days", shedule = "0 0 3 * * *" }
[sources.leadlex]
preset = "leadlex"
secret = { env = "UNSET" }
[targets.replica]
kind = "sql"
url = "sqlite://data/replica.db"
[targets.replica.entities.listing]
table = "listings"
key = ["mls_number"]
gaurd = "updated_at"
"#;
    let faults = parse(text).unwrap_err();
    let places: Vec<_> = faults.iter().map(|fault| fault.split(": ").take(2).collect::<Vec<_>>()).collect();
    let expected = [
        ["t.toml:3", "server.hooks"],
        ["t.toml:5", "brake.mode"],
        ["t.toml:6", "sources.repliers.api_key"],
        ["t.toml:8", "sources.repliers.secret"],
        ["t.toml:9", "sources.repliers.feed.overlap"],
        ["t.toml:9", "sources.repliers.feed.shedule"],
        ["t.toml:12", "sources.leadlex.secret.env"],
        ["t.toml:18", "targets.replica.entities.listing.key"],
        ["t.toml:19", "targets.replica.entities.listing.gaurd"],
    ];
    assert_eq!(places, expected, "{faults:#?}");
}

#[test]
fn i10_no_fault_shows_what_may_be_a_secret() {
    for text in [
        "secret = \"hunter22hunter22\"",
        "secret = { env = \"hunter22-hunter22\" }",
        "secret = { env = \"SECRET\" }\nbase_url = \"https://user:hunter22@crm.example\"",
        "secret = { env = \"SECRET\" }\napi_key = \"hunter22hunter22\"",
        "secret = { env = \"SECRET\" }\n\"x\" = \"hunter22hunter22",
    ] {
        let faults = parse(&SOUND.replace("secret = { env = \"SECRET\" }", text)).unwrap_err();
        assert!(!faults.is_empty());
        assert!(!faults.join("\n").contains("hunter22"), "{faults:#?}");
    }
}

#[test]
fn children_go_eight_levels_deep() {
    let nested = |levels: usize| {
        let child = "table = \"t\", column = \"c\", references = \"id\", on_delete = \"delete\"";
        let open = format!("[{{ {child}, children = ").repeat(levels - 1);
        let text = format!("key = [\"id\"]\nchildren = {open}[{{ {child} }}]{}", " }]".repeat(levels - 1));
        parse(&SOUND.replacen("key = [\"id\"]", &text, 1))
    };
    // The first replacement must be the table's, not the payload's.
    assert!(!SOUND.split("[targets").next().unwrap().contains("\nkey = [\"id\"]"));
    assert!(nested(8).is_ok(), "{:?}", nested(8).err());
    let faults = nested(9).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(
        faults[0].ends_with(
            "children go deeper than 8 levels; name the deeper tables as children of a nearer one"
        )
    );
}

#[test]
fn secrets_are_as_long_as_their_scheme_wants_them() {
    let load = |scheme: &str, secret: String| {
        let auth = format!("auth = {{ scheme = \"{scheme}\" }}");
        let text = SOUND.replace("auth = { scheme = \"hmac\", header = \"x-sig\" }", &auth);
        parse_in(&text, &given().with("SECRET", secret)).is_ok()
    };
    let encoded = |prefix: &str, bytes: usize| format!("{prefix}{}", STANDARD.encode(vec![7; bytes]));
    for (bytes, taken) in [(23, false), (24, true), (64, true), (65, false)] {
        assert_eq!(load("standard_webhooks", encoded("whsec_", bytes)), taken, "{bytes}");
    }
    for (bytes, taken) in [(31, false), (32, true), (33, false)] {
        assert_eq!(load("standard_webhooks", encoded("whpk_", bytes)), taken, "{bytes}");
    }
    for (bytes, taken) in [(32, false), (64, true)] {
        assert_eq!(load("standard_webhooks", encoded("whsk_", bytes)), taken, "{bytes}");
    }
    assert!(!load("standard_webhooks", "whsec_not base64".to_owned()));
    for (secret, taken) in [
        ("user:1234567", false),
        ("user:12345678", true),
        (":12345678", false),
        ("12345678901234567890", false),
    ] {
        assert_eq!(load("basic", secret.to_owned()), taken, "{secret}");
    }
    for (secret, taken) in
        [("1234567", false), ("12345678", true), ("12345678\n", false), ("1234567 ", false)]
    {
        assert_eq!(load("bearer", secret.to_owned()), taken, "{secret:?}");
    }
}
