//! Every preset loads with the least that a user must add, and says what its upstream's documents say.

use super::super::source::{EventFrom, EventRule, HmacAlgorithm, Meaning, Paging, Piece, Scheme};
use super::super::{Source, presets};
use super::{STANDARD_SECRET, parse};
use crate::domain::Action;

/// What each preset leaves to the user.
fn own_keys(preset: &str) -> &'static str {
    match preset {
        "repliers" => "secret = { env = \"SECRET\" }\napi_key = { env = \"SECRET\" }",
        "pipedrive" => "secret = { env = \"BASIC\" }\napi_key = { env = \"SECRET\" }",
        "leadlex" | "shopify" | "hubspot_v3" => "secret = { env = \"SECRET\" }",
        "stripe" => {
            "secret = { env = \"STANDARD\" }\nentity = \"customer\"\nevents.\"customer.deleted\" = \"delete\""
        }
        "hookbridge" => {
            "secret = { env = \"SECRET\" }\nentity = \"deal\"\npayload.key = [\"/data/id\"]\n\
             payload.event = \"/type\"\nevents.\"deal.deleted\" = \"delete\""
        }
        "standard_webhooks" | "svix" => {
            "secret = { env = \"STANDARD\" }\nentity = \"deal\"\npayload.key = [\"/data/id\"]\n\
             events.\"deal.deleted\" = \"delete\""
        }
        "github" | "slack" => {
            "secret = { env = \"SECRET\" }\nentity = \"deal\"\npayload.key = [\"/id\"]\n\
             payload.event = \"/action\"\nevents.deleted = \"delete\""
        }
        other => panic!("say what {other} needs"),
    }
}

const TARGETS: &str = r#"
[server]
public_url = "https://hooks.example.com"
[targets.replica]
kind = "sql"
url = "sqlite://data/replica.db"
[targets.replica.entities]
listing = { table = "listings", key = ["board_id", "mls_number"] }
deal = { table = "deals", key = ["id"] }
customer = { table = "customers", key = ["id"] }
product = { table = "products", key = ["id"] }
"#;

fn load(preset: &str) -> Source {
    let text = format!("[sources.s]\npreset = \"{preset}\"\n{}\n{TARGETS}", own_keys(preset));
    parse(&text).unwrap_or_else(|faults| panic!("{preset}: {faults:#?}")).sources.remove(0)
}

fn scheme(preset: &str) -> Scheme {
    load(preset).auth.unwrap().scheme
}

#[test]
fn every_preset_loads_with_the_least_that_a_user_must_add() {
    for preset in presets::names() {
        let source = load(preset);
        assert!(source.auth.is_some(), "{preset}");
        assert_eq!(source.feed.is_some(), matches!(preset, "repliers" | "pipedrive"), "{preset}");
    }
}

#[test]
fn a_preset_that_knows_no_entity_says_what_to_add() {
    let text = format!("[sources.s]\npreset = \"github\"\nsecret = {{ env = \"SECRET\" }}\n{TARGETS}");
    let faults = parse(&text).unwrap_err();
    let starts = [
        "t.toml:1: sources.s.entity: missing; name the kind of record",
        "t.toml:1: sources.s.payload.key: missing; say where the parts of the key stand",
        "t.toml:1: sources.s.payload.event: missing; say where the event's name stands",
        "t.toml:1: sources.s.events: missing, so no delivery would do anything; say what they mean",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for start in starts {
        assert!(faults.iter().any(|fault| fault.starts_with(start)), "{start} in {faults:#?}");
    }
}

#[test]
fn the_entity_of_a_preset_and_that_of_a_target_must_meet() {
    let text = format!("[sources.s]\npreset = \"repliers\"\n{}\n{TARGETS}", own_keys("repliers"));
    let faults = parse(&text.replace("listing = {", "lisitng = {").replace("deal = {", "# ")).unwrap_err();
    let said = "t.toml:1: sources.s.entity: no target carries \"listing\", so its deletions would go \
                nowhere; a target carries \"lisitng\", of which no source tells: give both one name";
    assert_eq!(faults, [said]);
}

#[test]
fn repliers_deletes_marks_and_relists() {
    let source = load("repliers");
    assert_eq!(source.payload.event, EventFrom::Path);
    assert_eq!(source.events["listing.deleted"], EventRule::Means(Meaning::Notice(Action::Delete)));
    assert_eq!(source.events["listing.created"], EventRule::Means(Meaning::Notice(Action::Relisted)));
    let EventRule::By { values, otherwise, .. } = &source.events["listing.updated"] else { panic!("by") };
    assert_eq!(values["Ter"], Meaning::Notice(Action::Deactivate));
    assert_eq!(*otherwise, Meaning::Notice(Action::Relisted));
    let feed = source.feed.unwrap();
    assert!(matches!(feed.paging, Paging::Page { size: 100, first: 1, .. }));
    assert_eq!(feed.window.from.as_deref(), Some("minUpdatedOn"));
    assert_eq!(feed.rate_per_second, 5);
    assert_eq!(feed.schedule.unwrap().zone, "UTC");
}

#[test]
fn signed_content_is_what_each_upstream_signs() {
    use Piece::{Body, Method, Timestamp, Url};
    let text = |text: &str| Piece::Text(text.to_owned());
    for (preset, signed) in [
        ("leadlex", vec![Body]),
        ("github", vec![Body]),
        ("shopify", vec![Body]),
        ("slack", vec![text("v0:"), Timestamp, text(":"), Body]),
        ("stripe", vec![Timestamp, text("."), Body]),
        ("hookbridge", vec![Timestamp, text("."), Body]),
        ("hubspot_v3", vec![Method, Url, Body, Timestamp]),
    ] {
        let Scheme::Hmac(hmac) = scheme(preset) else { panic!("{preset} signs with HMAC") };
        assert_eq!(hmac.signed, signed, "{preset}");
        assert_eq!(hmac.algorithm, HmacAlgorithm::Sha256, "{preset}");
    }
    assert_eq!(scheme("pipedrive"), Scheme::Basic);
    let Scheme::StandardWebhooks { prefixes, .. } = scheme("svix") else { panic!("svix") };
    assert_eq!(prefixes, ["svix", "webhook"]);
}

#[test]
fn the_secret_of_stripe_is_the_whole_text_and_only_old_times_are_refused() {
    let auth = load("stripe").auth.unwrap();
    assert_eq!(auth.secrets[0].expose(), STANDARD_SECRET.as_bytes());
    let Scheme::Hmac(hmac) = auth.scheme else { panic!("hmac") };
    let time = hmac.timestamp.unwrap();
    assert_eq!((hmac.separator, time.field.as_deref(), time.refuse_future), (Some(','), Some("t"), false));
}

#[test]
fn every_feed_of_a_preset_can_be_pointed_at_a_simulator() {
    for preset in ["repliers", "pipedrive"] {
        let own = format!("{}\nbase_url = \"http://127.0.0.1:9000/sandbox/\"", own_keys(preset));
        let text = format!("[sources.s]\npreset = \"{preset}\"\n{own}\n{TARGETS}");
        let feed = parse(&text).unwrap().sources.remove(0).feed.unwrap();
        assert!(feed.url.starts_with("http://127.0.0.1:9000/sandbox/"), "{}", feed.url);
        assert!(!feed.url.contains("sandbox//"), "{}", feed.url);
    }
}

/// A source with the preset's pull endpoint and more.
fn pulled(source: &str, pull: &str) -> Result<Source, Vec<String>> {
    let own = own_keys(source);
    let pull = format!("pull = {{ preset = \"hookbridge\", api_key = {{ env = \"SECRET\" }}, {pull} }}");
    parse(&format!("[sources.s]\npreset = \"{source}\"\n{own}\n{pull}\n{TARGETS}"))
        .map(|mut config| config.sources.remove(0))
}

#[test]
fn the_pull_endpoint_of_hookbridge_is_what_its_documents_say() {
    let source = pulled("leadlex", "endpoints = [\"e1\"]").unwrap();
    let pull = source.pull.unwrap();
    assert!(pull.verify, "what was kept is verified");
    assert_eq!(pull.access.headers[0].0, "authorization");
    assert_eq!(pull.access.headers[0].1.expose(), b"Bearer a secret of good length");
    assert_eq!(pull.listing.url, "https://api.hookbridge.io/v1/pull-endpoints/{endpoint}/events");
    assert_eq!(pull.listing.queries.concat().len(), 2, "stored, and fetched before a crash");
    assert_eq!((pull.acknowledge.ids.as_str(), pull.acknowledge.max), ("event_ids", 1_000));
    let discard = pull.discard.unwrap();
    assert_eq!((discard.ids.as_str(), discard.max), ("message_ids", 100));
    let kept = pulled("leadlex", "endpoints = [\"e1\"], discard = false, base_url = \"http://127.0.0.1:9\"");
    let kept = kept.unwrap().pull.unwrap();
    assert_eq!(kept.discard, None);
    assert_eq!(kept.acknowledge.url, "http://127.0.0.1:9/v1/pull-endpoints/{endpoint}/events/ack");
}

#[test]
fn an_endpoint_names_its_event_where_the_source_has_one_url_an_event() {
    let source =
        pulled("repliers", "endpoints = { \"listing.deleted\" = \"e1\", \"listing.updated\" = \"e2\" }");
    let endpoints = source.unwrap().pull.unwrap().endpoints;
    assert_eq!(endpoints[1].event.as_deref(), Some("listing.updated"));
    let faults = pulled("repliers", "endpoints = [\"e1\"]").unwrap_err();
    assert!(
        faults[0].contains("pull.endpoints: says no event, while this source has one URL an event"),
        "{faults:?}"
    );
}

#[test]
fn what_is_pulled_can_be_verified_or_somebody_says_that_it_need_not() {
    let faults = pulled("hubspot_v3", "endpoints = [\"e1\"]").unwrap_err();
    assert!(faults[0].contains("pull.verify: the signature covers the URL"), "{faults:?}");
    let text = "[sources.s]\npreset = \"repliers\"\napi_key = { env = \"SECRET\" }\npull = { preset = \"hookbridge\", \
                api_key = { env = \"SECRET\" }, endpoints = { \"listing.deleted\" = \"e1\" } }";
    let faults = parse(&format!("{text}\n{TARGETS}")).unwrap_err();
    assert!(
        faults[0].contains("pull.verify: nothing can be verified, since the source has no secret"),
        "{faults:?}"
    );
    assert!(!pulled("hubspot_v3", "endpoints = [\"e1\"], verify = false").unwrap().pull.unwrap().verify);
}

#[test]
fn faults_of_a_pull_endpoint_name_their_place() {
    for (pull, said) in [
        ("endpoints = []", "pull.endpoints: is an empty list"),
        ("endpoints = {}", "pull.endpoints: is empty"),
        ("every = \"5s\"", "pull.endpoints: missing"),
        (
            "endpoints = [\"e\"], listing.url = \"/events\"",
            "pull.listing.url: has not the places {endpoint} alone",
        ),
        ("endpoints = [\"e\"], reading.url = \"/{endpoint}\"", "pull.reading.url: has not the places"),
        ("endpoints = [\"e\"], reading.url = \"http://h/{event}\"", "pull.reading.url: is not encrypted"),
        ("endpoints = [\"e\"], acknowledge.url = \"/{endpoint}?a=b\"", "pull.acknowledge.url: has a query"),
        (
            "endpoints = [\"e\"], credential = { header = \"x\", prefx = \"\" }",
            "pull.credential.prefx: unknown key",
        ),
        ("endpoints = [\"e\"], reading.gone = [200]", "pull.reading.gone[0]: 200 is out of range"),
        ("endpoints = [\"e\"], discard.max = 0", "pull.discard.max: 0 is out of range"),
    ] {
        let faults = pulled("leadlex", pull).unwrap_err();
        assert!(faults.iter().any(|fault| fault.contains(said)), "{pull}: {faults:#?}");
    }
}

#[test]
fn a_secret_may_be_missing_only_where_the_upstream_offers_it() {
    let without = |preset: &str, more: &str| {
        let text = format!(
            "[sources.s]\npreset = \"{preset}\"\napi_key = {{ env = \"SECRET\" }}\n{more}\n{TARGETS}"
        );
        parse(&text).map(|mut config| config.sources.remove(0))
    };
    let source = without("repliers", "").unwrap();
    assert_eq!(source.auth.unwrap().secrets, []);
    let subscriptions = source.subscriptions.unwrap();
    assert_eq!(subscriptions.url, "https://api.repliers.io/webhooks");
    assert_eq!(subscriptions.access.headers[0].0, "repliers-api-key");
    let faults = without("repliers", "subscriptions = false").unwrap_err();
    assert!(faults[0].contains("secret: missing, and without it no delivery can be trusted"), "{faults:?}");
}
