//! Configurations that load, and what they load as.

use std::path::PathBuf;
use std::time::Duration;

use super::super::source::{EventRule, Meaning, Paging, Scheme};
use super::super::target::{FieldGuard, Guard, Kind, OnDelete, Value};
use super::super::{Brake, Config, LogLevel, ProcessEnvironment, Secret, Server, State};
use super::{Given, given, parse, parse_in};
use crate::domain::Action;
use crate::domain::timestamp::TimeFormat;

/// The example of the documentation, key for key.
const EXAMPLE: &str = r#"
[server]
hooks = "0.0.0.0:8080"
admin = "127.0.0.1:8081"

[state]
url = "sqlite://data/expunged.db"

[sources.repliers]
preset  = "repliers"
secret  = { file = "/run/credentials/repliers" }
api_key = { env = "REPLIERS_API_KEY" }
feed    = { schedule = "0 15 3 * * *", overlap = "48h" }

[sources.leadlex]
preset = "leadlex"
secret = { env = "LEADLEX_SECRET" }

[targets.replica]
kind = "sql"
url  = { env = "REPLICA_URL" }

[targets.replica.entities.listing]
table    = "listings"
key      = ["board_id", "mls_number"]
guard    = "updated_at"
children = [
  { table = "images",   column = "listing_id", references = "id", on_delete = "delete" },
  { table = "bookings", column = "listing_id", references = "id", on_delete = "nullify" },
]

[targets.search]
kind = "tantivy"
path = "data/search"
entities.listing = { field = "id", id = "{0}:{1}" }   # how the target names a record, from the parts of the key
"#;

fn example_env() -> Given {
    Given::default()
        .with("/run/credentials/repliers", "hook-secret-1\r\n")
        .with("REPLIERS_API_KEY", "key-2")
        .with("LEADLEX_SECRET", "leadlex-secret-3")
        .with("REPLICA_URL", "sqlite://data/replica-4.db")
}

#[test]
fn the_example_of_the_documentation_loads() {
    let config = parse_in(EXAMPLE, &example_env()).unwrap();
    let names: Vec<_> = config.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["leadlex", "repliers"]);
    let repliers = &config.sources[1];
    assert_eq!(repliers.auth.as_ref().unwrap().secrets, [Secret::new("hook-secret-1")]);
    let feed = repliers.feed.as_ref().unwrap();
    assert_eq!(feed.url, "https://api.repliers.io/listings/deleted");
    assert_eq!(feed.headers, [("repliers-api-key".to_owned(), Secret::new("key-2"))]);
    assert_eq!(feed.overlap, Duration::from_hours(48));
    assert_eq!(feed.first, Duration::from_hours(720));
    assert_eq!(feed.key, repliers.payload.key);
    let Kind::Sql(sql) = &config.targets[0].kind else { panic!("replica is a database") };
    assert_eq!(sql.url, Secret::new("sqlite://data/replica-4.db"));
    let listings = sql.entities.values().find(|table| table.table == "listings").unwrap();
    assert_eq!(listings.guard, Some(Guard { column: "updated_at".to_owned(), format: None }));
    assert_eq!(listings.children[1].on_delete, OnDelete::Nullify);
    let Kind::Tantivy(index) = &config.targets[1].kind else { panic!("search is an index") };
    let document = index.entities.values().next().unwrap();
    assert_eq!(document.id.render(&["2".into(), "W1".into()]).as_deref(), Some("2:W1"));
}

#[test]
fn i10_no_secret_shows_in_the_debug_text_of_a_configuration() {
    let config = parse_in(EXAMPLE, &example_env()).unwrap();
    let shown = format!("{config:?} {config:#?}");
    for secret in ["hook-secret-1", "key-2", "leadlex-secret-3", "replica-4"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn the_file_that_comes_with_the_daemon_loads() {
    let text = include_str!("../../../config/expunged.toml");
    let given = Given::default()
        .with("/run/credentials/expunged.service/secret_repliers", "hook-secret-1\n")
        .with("/run/credentials/expunged.service/secret_repliers-api-key", "key-2\n");
    let config = parse_in(text, &given).unwrap();
    assert_eq!(config.state, State::default());
    assert_eq!(config.targets.len(), 2);
}

/// A source and a target, as short as can be.
const SHORT: &str = r#"
sources.leadlex = { preset = "leadlex", secret = { env = "SECRET" } }
[targets.replica]
kind = "sql"
url = "sqlite://data/replica.db"
entities.deal = { table = "deals", key = ["id"] }
"#;

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse(SHORT).unwrap();
    assert_eq!(config.server.hooks, Server::HOOKS);
    assert!(config.server.admin.ip().is_loopback());
    assert_eq!(config.server.limits.body_bytes_max, 1_048_576);
    assert_eq!(config.state.path, PathBuf::from("data/expunged.db"));
    assert_eq!(config.brake, Brake::default());
    assert_eq!(config.log.level, LogLevel::Info);
    let leadlex = &config.sources[0];
    assert_eq!(leadlex.rate_per_second, 5_000);
    assert_eq!(leadlex.feed, None);
}

#[test]
fn i5_a_threshold_of_zero_means_the_default_and_off_must_be_said() {
    let brake = |text: &str| parse(&format!("{text}\n{SHORT}")).unwrap().brake;
    assert_eq!(brake("brake = { rows = 0, percent = 0.0 }"), Brake::default());
    assert_eq!(brake("brake = { percent = 0 }"), Brake::default());
    assert_eq!(
        brake("brake = { rows = 7, percent = 0.5 }"),
        Brake { rows: 7, percent: 0.5, ..Brake::default() }
    );
    assert!(!brake("brake.mode = \"off\"").on);
}

#[test]
fn the_users_keys_win_over_the_presets_and_tables_merge() {
    let text = SHORT.replace(
        "preset = \"leadlex\",",
        "preset = \"leadlex\", auth.prefix = \"hmac=\", events.\"deal.lost\" = \"ignore\",",
    );
    let config = parse(&text).unwrap();
    let source = &config.sources[0];
    let Scheme::Hmac(hmac) = &source.auth.as_ref().unwrap().scheme else { panic!("hmac") };
    assert_eq!((hmac.prefix.as_str(), hmac.header.as_str()), ("hmac=", "x-leadlex-signature"));
    assert_eq!(source.events["deal.lost"], EventRule::Means(Meaning::Ignore));
    assert_eq!(source.events["deal.deleted"], EventRule::Means(Meaning::Notice(Action::Delete)));
}

#[test]
fn another_scheme_or_kind_replaces_the_presets_table() {
    let text =
        SHORT.replace("preset = \"leadlex\",", "preset = \"leadlex\", auth = { scheme = \"bearer\" },");
    assert_eq!(parse(&text).unwrap().sources[0].auth.as_ref().unwrap().scheme, Scheme::Bearer);

    let text = r#"
[sources.repliers]
preset = "repliers"
secret = { env = "SECRET" }
api_key = { env = "SECRET" }
feed.paging = { kind = "link" }
[targets.search]
kind = "tantivy"
path = "data/search"
entities.listing = { field = "id", id = "{0}:{1}" }
"#;
    let config = parse(text).unwrap();
    let paging = &config.sources[0].feed.as_ref().unwrap().paging;
    assert_eq!(*paging, Paging::Link { size_param: None, size: Paging::SIZE });
}

#[test]
fn false_takes_a_presets_feed_or_schedule_away() {
    let repliers = |feed: &str| {
        parse(&format!(
            "[sources.repliers]\npreset = \"repliers\"\nsecret = {{ env = \"SECRET\" }}\n{feed}\n\
             [targets.search]\nkind = \"tantivy\"\npath = \"s\"\n\
             entities.listing = {{ field = \"id\", id = \"{{0}}:{{1}}\" }}\n"
        ))
        .unwrap()
        .sources
        .remove(0)
    };
    assert_eq!(repliers("feed = false").feed, None);
    let by_command = repliers("feed.schedule = false\napi_key = { env = \"SECRET\" }");
    assert_eq!(by_command.feed.unwrap().schedule, None);
}

#[test]
fn a_source_may_be_polled_alone() {
    let text = r#"
[sources.old]
entity = "deal"
feed.url = "http://127.0.0.1:9000/deleted"
feed.retention = "14d"
feed.window = { format = "date_time" }
feed.paging = { kind = "none" }
feed.key = ["/id"]
[targets.replica]
kind = "sql"
url = "sqlite://data/replica.db"
entities.deal = { table = "deals", key = ["id"] }
"#;
    let source = parse(text).unwrap().sources.remove(0);
    assert_eq!(source.auth, None);
    let feed = source.feed.unwrap();
    assert_eq!(feed.first, Duration::from_hours(14 * 24), "not further back than the feed goes");
}

#[test]
fn a_rotation_keeps_its_order_and_a_file_loses_its_last_line_break_only() {
    let given = given().with("/new", "new secret\r\n").with("/odd", "odd secret\n\n");
    let text = SHORT.replace("{ env = \"SECRET\" }", "[{ file = \"/new\" }, { file = \"/odd\" }]");
    let config = parse_in(&text, &given).unwrap();
    let secrets = &config.sources[0].auth.as_ref().unwrap().secrets;
    assert_eq!(*secrets, [Secret::new("new secret"), Secret::new("odd secret\n")]);
}

#[test]
fn guards_and_deactivations_take_every_kind_of_value() {
    let text = SHORT.replace(
        "key = [\"id\"]",
        "key = [\"id\"], guard = { column = \"at\", format = \"unix_millis\" }, \
         deactivate = { a = \"x\", b = 1, c = true, d = { now = true }, e = { null = true } }",
    );
    let config = parse(&text).unwrap();
    let Kind::Sql(sql) = &config.targets[0].kind else { panic!("a database") };
    let table = sql.entities.values().next().unwrap();
    assert_eq!(table.guard.as_ref().unwrap().format, Some(TimeFormat::UnixMillis));
    let values: Vec<_> = table.deactivate.iter().map(|(_, value)| value.clone()).collect();
    let expected = [Value::Text("x".into()), Value::Integer(1), Value::Bool(true), Value::Now, Value::Null];
    assert_eq!(values, expected);
}

#[test]
fn a_guard_of_documents_is_a_field_or_a_field_and_what_it_counts() {
    let guard = |guard: &str| {
        let text = EXAMPLE.replace("field = \"id\",", &format!("field = \"id\", guard = {guard},"));
        let config = parse_in(&text, &example_env()).map_err(|faults| faults.join("; "))?;
        let Kind::Tantivy(index) = &config.targets[1].kind else { panic!("search is an index") };
        Ok::<_, String>(index.entities.values().next().unwrap().guard.clone().unwrap())
    };
    let field = || "updated_at".to_owned();
    assert_eq!(guard("\"updated_at\""), Ok(FieldGuard { field: field(), format: None }));
    let counted = guard("{ field = \"updated_at\", format = \"unix_seconds\" }");
    assert_eq!(counted, Ok(FieldGuard { field: field(), format: Some(TimeFormat::UnixSeconds) }));
    let error = guard("{ column = \"updated_at\" }").unwrap_err();
    assert!(error.contains("name the field with the upstream's modification time"), "{error}");
}

#[test]
fn a_file_is_loaded_by_its_path_and_secret_files_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret from the disk\n").unwrap();
    let file = folder.path().join("t.toml");
    let with_file = format!("{{ file = {:?} }}", secret.to_str().unwrap());
    std::fs::write(&file, SHORT.replace("{ env = \"SECRET\" }", &with_file)).unwrap();
    let config = Config::load(&file, &ProcessEnvironment).unwrap();
    assert_eq!(config.sources[0].auth.as_ref().unwrap().secrets, [Secret::new("a secret from the disk")]);
}

#[test]
fn a_secret_file_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    let with_file = format!("{{ file = {:?} }}", secret.to_str().unwrap());
    let load = |bytes: usize| {
        std::fs::write(&secret, vec![b'x'; bytes]).unwrap();
        let text = SHORT.replace("{ env = \"SECRET\" }", &with_file);
        Config::parse(&text, "t.toml", &ProcessEnvironment)
    };
    assert!(load(64 << 10).is_ok());
    let error = load((64 << 10) + 1).unwrap_err().to_string();
    assert!(error.contains("longer than 65536 bytes; check the path"), "{error}");
}

#[test]
fn what_can_not_be_read_as_text_says_so_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.toml");
    let error = |path| Config::load(path, &ProcessEnvironment).unwrap_err().to_string();
    assert!(error(&path).starts_with(&format!("{}: can't read the configuration: ", path.display())));
    assert!(error(&path).ends_with("; name a readable file with --config FILE"));
    std::fs::write(&path, [0xff]).unwrap();
    assert!(error(&path).contains("the configuration is not UTF-8"));
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(error(&path).contains("longer than 1048576 bytes"));
}
