//! Batch-deletion APIs: what the presets say, what a user may say by hand, and what is a fault.

use super::super::api::{Api, Auth, ErrorMeans, Method, Unlisted, WhenUnproven};
use super::super::presets;
use super::super::target::Kind;
use super::{Config, parse};
use crate::domain::Entity;

const SOURCE: &str = r#"[sources.crm]
entity = "deal"
secret = { env = "SECRET" }
auth = { scheme = "hmac", header = "x-sig" }
payload = { event = "/event", key = ["/workspace", "/id"] }
events = { "deal.deleted" = "delete" }
"#;

/// Sound; each case replaces one line of it.
const VENDOR: &str = r#"[targets.vendor]
kind = "api"
base_url = "https://api.vendor.example/"
method = "POST"
path = "/v1/{list}/bulk-delete"
limit = 50
body = { ids = "{ids}" }
api_key = { env = "SECRET" }
auth = { scheme = "bearer" }
answer = { deleted = "/deleted", unlisted = "counted" }
dry_run = { body = { dry_run = true } }
quota = { stats = "/v1/stats", total = "/total" }
kinds = { code = { item = { code = "{id}" } } }
[targets.vendor.entities.deal]
kind = "code"
id = "{1}"
params = { list = "7" }
"#;

fn api(config: Config) -> Api {
    match config.targets.into_iter().next().unwrap().kind {
        Kind::Api(api) => *api,
        other => panic!("{other:?}"),
    }
}

fn preset(name: &str, more: &str) -> Result<Config, Vec<String>> {
    parse(&format!(
        "{SOURCE}[targets.vendor]\npreset = \"{name}\"\napi_key = {{ env = \"SECRET\" }}\n\
         entities.deal = {{ id = \"{{1}}\"{more} }}\n"
    ))
}

/// What Talkdesk's account has of its own.
fn talkdesk(more: &str) -> String {
    format!(
        "{SOURCE}[targets.vendor]\npreset = \"talkdesk\"\napi_key = {{ env = \"SECRET\" }}\n\
         auth.client_id = \"client\"\nauth.token_url = \"https://acme.talkdeskid.com/oauth/token\"\n\
         entities.deal = {{ id = \"{{1}}\", params = {{ record_list_id = \"7\" }} }}\n{more}"
    )
}

#[test]
fn a_vendor_takes_three_lines() {
    let calmyx = api(preset("calmyx", "").unwrap());
    assert_eq!((calmyx.limit, calmyx.method, calmyx.idempotency.clone()), (100, Method::Post, None));
    assert_eq!((calmyx.answer.unlisted, calmyx.answer.unproven), (Unlisted::Counted, WhenUnproven::Halve));
    let Auth::Header { name, value } = &calmyx.auth else { panic!("a header") };
    assert_eq!((name.as_str(), value.expose()), ("authorization", &b"a secret of good length"[..]));
    assert!(calmyx.quota.counts_deletions());

    let leadlex = api(preset("leadlex", "").unwrap());
    assert_eq!((leadlex.limit, leadlex.idempotency.as_deref()), (500, Some("idempotency-key")));
    let Auth::Header { value, .. } = &leadlex.auth else { panic!("a header") };
    assert_eq!(value.expose(), b"Bearer a secret of good length");
    assert!(!leadlex.quota.counts_deletions() && !leadlex.dry_run.unwrap().weigh);
    let deal = &leadlex.entities[&Entity::new("deal")];
    assert_eq!(
        (deal.path.as_str(), deal.stats.as_deref()),
        ("/v1/deals/bulk-delete", Some("/v1/deals?per_page=1"))
    );

    let talkdesk = api(parse(&talkdesk("")).unwrap());
    assert_eq!((talkdesk.limit, talkdesk.method, talkdesk.answer.accepted), (100, Method::Delete, vec![202]));
    let Auth::Oauth(oauth) = talkdesk.auth else { panic!("oauth") };
    assert_eq!(oauth.lifetime.as_secs(), 600);
    assert_eq!(talkdesk.errors["404"], ErrorMeans::Misconfigured);
}

#[test]
fn every_preset_can_be_pointed_at_a_simulator() {
    for name in presets::target_names() {
        let tokens = "auth.client_id = \"client\"\nauth.token_url = \"/oauth/token\"\n";
        let text = format!(
            "{SOURCE}[targets.vendor]\npreset = \"{name}\"\napi_key = {{ env = \"SECRET\" }}\n{}\
             base_url = \"http://127.0.0.1:9000/sandbox/\"\n\
             entities.deal = {{ params = {{ record_list_id = \"7\" }} }}\n",
            if name == "talkdesk" { tokens } else { "" }
        );
        let api = api(parse(&text).unwrap_or_else(|faults| panic!("{name}: {faults:#?}")));
        assert_eq!(api.base_url, "http://127.0.0.1:9000/sandbox", "{name}");
        if let Auth::Oauth(oauth) = api.auth {
            assert_eq!(oauth.token_url, "http://127.0.0.1:9000/sandbox/oauth/token");
        }
    }
}

#[test]
fn a_vendor_without_a_preset_is_described_by_hand() {
    let api = api(parse(&format!("{SOURCE}{VENDOR}")).unwrap());
    assert_eq!((api.base_url.as_str(), api.limit), ("https://api.vendor.example", 50));
    assert_eq!(api.entities[&Entity::new("deal")].path, "/v1/7/bulk-delete");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn every_fault_of_a_vendor_says_how_to_mend_it() {
    let url =
        "targets.vendor.base_url: is not encrypted; write https://; http:// is for loopback addresses only";
    for (line, with, said) in [
        (3, "base_url = \"http://api.vendor.example\"", url),
        (
            3,
            "",
            "targets.vendor.base_url: missing; name its address, like base_url = \"https://api.example.com\"",
        ),
        (
            4,
            "method = \"GET\"",
            "targets.vendor.method: \"GET\" is not known here; write one of \"POST\", \"PUT\", \"PATCH\", \"DELETE\"",
        ),
        (
            5,
            "path = \"v1\"",
            "targets.vendor.path: \"v1\" is not a path; write it like \"/v1/deals/bulk-delete\"",
        ),
        (
            5,
            "path = \"/v1/{other}\"",
            "targets.vendor.entities.deal.params: leaves a path open: \"/v1/{other}\" has an unknown place {other}; say what stands there, like params = { list_id = \"…\" }",
        ),
        (6, "limit = 0", "targets.vendor.limit: 0 is out of range; write 1 to 10000"),
        (
            7,
            "body = { ids = \"ids\" }",
            "targets.vendor.body: has not one place for the ids (\"{ids}\"); write it like { ids = \"{ids}\" }, or \"{ids}\" for a body that is the list itself",
        ),
        (
            7,
            "body = [\"{ids}\", \"{ids}\"]",
            "targets.vendor.body: has not one place for the ids (\"{ids}\"); write it like { ids = \"{ids}\" }, or \"{ids}\" for a body that is the list itself",
        ),
        (8, "", "targets.vendor.api_key: missing; write api_key = { env = \"NAME\" } or { file = \"…\" }"),
        (
            8,
            "api_key = \"hunter22hunter22\"",
            "targets.vendor.api_key: a secret can't stand in the configuration itself; write { file = \"/run/credentials/NAME\" } or { env = \"NAME\" }, or a list of those, the current first",
        ),
        (
            9,
            "auth = { scheme = \"none\" }",
            "targets.vendor.api_key: is used by nothing; leave it out, or choose another auth.scheme",
        ),
        (
            9,
            "auth = { scheme = \"oauth\", client_id = \"c\", token_url = \"/t\", lifetime = \"1m\" }",
            "targets.vendor.auth.renew_before: is as long as a token is good for; write less than lifetime, or each request would ask for a token",
        ),
        (
            10,
            "answer = { unlisted = \"counted\" }",
            "targets.vendor.answer.deleted: missing, while records that are not named go by it; say where the answer counts them, like deleted = \"/deleted_count\"",
        ),
        (
            10,
            "answer = { unlisted = \"unproven\" }",
            "targets.vendor.answer.items: missing, so nothing would ever be proven; say where the answer lists records, like items = \"/results\"",
        ),
        (
            11,
            "dry_run = { body = {} }",
            "targets.vendor.dry_run.body: is not a table with keys; write it like { dry_run = true }",
        ),
        (
            12,
            "quota = { total = \"/total\" }",
            "targets.vendor.quota.total: is read from the answer to stats, which is missing; name the request, like stats = \"/v1/stats\"",
        ),
        (
            13,
            "kinds = { code = { item = \"{list}\" } }",
            "targets.vendor.kinds.code.item: \"{list}\" has an unknown place {list}; write \"{id}\" for the vendor's id, \"{0}\" for a part of the key",
        ),
        (
            13,
            "kinds = { code = { item = {} } }",
            "targets.vendor.kinds.code.item: is empty; say what names a record, like { id = \"{id}\" }",
        ),
        (
            15,
            "kind = \"cod\"",
            "targets.vendor.entities.deal.kind: \"cod\" is no kind of identifier here; kinds are code",
        ),
        (15, "", "targets.vendor.entities.deal.kind: missing; write one of code"),
        (
            16,
            "id = \"{2}\"",
            "targets.vendor.entities.deal.id: names part {2}, while a key of sources.crm has 2 parts; parts are \"{0}:{1}\"",
        ),
        (
            16,
            "id = \"{0}{1}\"",
            "targets.vendor.entities.deal.id: has two parts with nothing between them, so records would share a name; put something between them, like \"{0}:{1}\"",
        ),
        (
            17,
            "params = { list = \"../x\" }",
            "targets.vendor.entities.deal.params.list: \"../x\" can't stand in a path; write letters, digits, \"-\", \".\", \"_\" and \"~\" alone",
        ),
    ] {
        let mut lines: Vec<&str> = VENDOR.lines().collect();
        lines[line - 1] = with;
        let faults = parse(&format!("{SOURCE}{}", lines.join("\n"))).err().unwrap_or_default();
        let faults: Vec<_> = faults.iter().map(|fault| fault.split_once(": ").unwrap().1).collect();
        assert_eq!(faults, [said], "line {line} as {with:?}");
    }
}

#[test]
fn a_preset_of_a_target_that_does_not_exist_is_told() {
    let faults = preset("calmix", "").unwrap_err();
    assert_eq!(
        faults,
        ["t.toml:8: targets.vendor.preset: \"calmix\" is not known here; did you mean \"calmyx\"?"]
    );
    let faults = preset("talkdesk", ", params = { record_list_id = \"7\" }").unwrap_err();
    let said: Vec<_> = faults.iter().map(|fault| fault.split("; ").next().unwrap()).collect();
    assert_eq!(
        said,
        [
            "t.toml:7: targets.vendor.auth.token_url: missing",
            "t.toml:7: targets.vendor.auth.client_id: missing"
        ]
    );
}
