//! Which module may use what: the floors of `lib.rs`, and the one place for each thing.

use std::collections::BTreeMap;

use crate::support::code::{Source, sources};
use crate::support::text_of;

/// Lines of a file: what a reader can hold in mind.
const LINES_MAX: usize = 400;

/// What may stand in some places alone: words of code, the places, and why.
///
/// A place is a file, a folder that ends in a slash, or a module, which is both.
const ONLY: &[(&[&str], &[&str], &str)] = &[
    (&["Utc::now", "Local::now", "SystemTime"], &["clock"], "tests and simulations set the time of day"),
    (
        &["std::env"],
        &["config/environment"],
        "what the program takes from its environment, a test hands to it",
    ),
    (
        &["fs::read(", "fs::read_to_string", "File::open("],
        &["config/environment", "cli/delete", "web/capacity"],
        "files are input; besides the configuration there are an operator's keys and the kernel's limits",
    ),
    (
        &["sqlx::"],
        &["store", "targets/sql", "cli/demo/"],
        "our own state, the customer's database, the demo's",
    ),
    (&["tantivy::"], &["targets/search", "cli/demo/"], "the search index, and the one that the demo makes"),
    (
        &["reqwest::"],
        &["outbound", "sources/http", "sources/feed/client", "targets/api", "sandbox", "config/read/feed"],
        "requests go to upstreams, and to vendors that take deletions; the configuration judges a header's name by the client's own rule",
    ),
    (
        &["axum::"],
        &["web", "app", "sources/payload", "sources/pull/read", "sources/signature"],
        "requests are answered in one place; sources read their headers, and the wiring hands a router over",
    ),
    (
        &["hyper::", "hyper_util::"],
        &["web", "sandbox"],
        "connections are served in one place, and simulated in one",
    ),
    (
        &["hmac::"],
        &["sources/signature", "sandbox"],
        "signatures are judged in one place, and simulated in one",
    ),
    (
        &["tokio::spawn", "thread::spawn", "thread::Builder", "JoinSet", "TaskTracker"],
        &["app", "cli", "lifecycle", "sandbox", "web/listener"],
        "a task that nobody watches can end unnoticed",
    ),
    (&["spawn_blocking"], &["targets/search"], "the index has no asynchronous way in"),
    (&["tokio_cron_scheduler::"], &["schedule"], "when something is due is decided in one place"),
    (&["tokio::signal"], &["lifecycle", "cli/sandbox"], "the process ends in one way"),
    (&["sd_notify::"], &["lifecycle"], "the service manager hears one voice"),
    (&["fastrand::"], &["backoff"], "chance is handed in, so that a test can load the dice"),
    (&["prometheus_client::"], &["telemetry"], "callers name what happened, and no series"),
    (&["tracing_subscriber::"], &["telemetry"], "who reads the log is decided in one place"),
    (
        &["toml::"],
        &["config/file", "sandbox/plan"],
        "the configuration is read once, with its lines; a fault plan is none of it",
    ),
    (&["crate::sandbox"], &["cli"], "a simulated upstream has no business in the daemon"),
    (&["clap::"], &["cli"], "arguments end at the command line"),
    (&["anyhow::"], &["app", "cli"], "below these, errors are types that callers can tell apart"),
    (&["println!", "eprintln!"], &["cli"], "everything else speaks through the log"),
    (&["process::exit", "ExitCode"], &["cli", "main"], "the process ends in one place"),
];

/// Floor and step of each module, as the table in `lib.rs` has them.
fn floors() -> BTreeMap<String, (usize, usize)> {
    let text = text_of("src/lib.rs");
    let mut floors = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let Some((floor, rest)) = line.split_once(" | ") else { continue };
        let Ok(floor) = floor.parse() else { continue };
        for (step, modules) in rest.split(" then ").enumerate() {
            for name in modules.split("[`").skip(1).filter_map(|part| part.split_once("`]")) {
                floors.insert(name.0.to_owned(), (floor, step));
            }
        }
    }
    floors
}

fn names_behind<'a>(code: &'a str, path: &str) -> Vec<&'a str> {
    let starts = code.match_indices(path).map(|(at, found)| (at, &code[at + found.len()..]));
    // `my_crate::` ends like `crate::` and is none.
    let whole = |at: usize| !code[..at].ends_with(|char: char| char.is_alphanumeric() || char == '_');
    starts
        .filter(|(at, _)| whole(*at))
        .map(|(_, rest)| {
            &rest[..rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len())]
        })
        .collect()
}

fn is_in(source: &Source, place: &str) -> bool {
    let module = source.path.trim_end_matches(".rs");
    let folder = format!("{}/", place.trim_end_matches('/'));
    module == place || source.path.starts_with(&folder)
}

#[test]
fn every_module_stands_on_a_floor() {
    let root = text_of("src/lib.rs");
    let declared: Vec<&str> =
        root.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(declared.len() > 10, "{declared:?}");
    let floors = floors();
    assert_eq!(
        declared,
        floors.keys().collect::<Vec<_>>(),
        "the modules, and those of the table in src/lib.rs"
    );
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let floors = floors();
    let mut faults = Vec::new();
    for source in sources() {
        let module = source.module();
        let Some(own) = module.first() else { continue };
        for used in names_behind(&source.code, "crate::") {
            match floors.get(used) {
                None => {
                    faults.push(format!("{}: write `crate::` with a module behind it: {used}", source.path));
                }
                Some(below) if used != *own && *below >= floors[*own] => {
                    faults.push(format!("{}: {own} may not use {used}", source.path));
                }
                Some(_) => {}
            }
        }
        if source.code.contains(&"super::".repeat(module.len())) {
            faults.push(format!(
                "{}: write `crate::`, not `super::`, for what lies outside {own}",
                source.path
            ));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn each_thing_has_one_place() {
    let sources = sources();
    let mut faults = Vec::new();
    for (words, places, why) in ONLY {
        let users: Vec<&Source> =
            sources.iter().filter(|source| words.iter().any(|word| source.code.contains(word))).collect();
        for source in users.iter().filter(|source| !places.iter().any(|place| is_in(source, place))) {
            faults.push(format!("{}: {words:?} only in {places:?}, since {why}", source.path));
        }
        for place in places.iter().filter(|place| !users.iter().any(|source| is_in(source, place))) {
            faults.push(format!("{place} does not use {words:?}: it needs no leave to"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut faults = Vec::new();
    for Source { path, text, .. } in sources() {
        if !text.starts_with("//! ") {
            faults.push(format!("{path}: opens with no `//!`"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{path}: {lines} lines, more than {LINES_MAX}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
