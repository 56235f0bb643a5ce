//! I10: no log of a whole run of the tests holds a secret, a key, a token or a phone number.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{logs, project, secrets};

#[test]
#[ignore = "is run by tests/run, after all others"]
fn i10_no_log_of_the_whole_run_holds_a_secret() {
    let found = logs::searched(&logs::folder());
    assert!(found.files > 1 && found.debug_lines > 0, "no logs of a whole run: {found:?}");
    assert!(found.leaks.is_empty(), "{}", found.leaks.join("\n"));
    println!("{} files, {} lines of the most talkative level", found.files, found.debug_lines);
}

#[test]
fn i10_a_secret_in_a_log_is_found_and_its_place_named_without_it() {
    let pair = STANDARD.encode(format!("client:{}", secrets::API_KEY));
    let made_up = format!("expunged_{}", "aB3-_".repeat(9).split_at(43).0);
    for (leak, name) in [
        (secrets::HOOK_SECRET, "HOOK_SECRET"),
        (secrets::WRITER, "WRITER"),
        (secrets::PHONE, "PHONE"),
        ("+49301234567", "PHONE_START"),
        ("sandbox-token-17", "SANDBOX_TOKEN"),
        (&pair, "API_KEY"),
        (&made_up, "a token of `expunged token`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.log");
        let innocent = "{\"level\":\"DEBUG\",\"message\":\"expunged_secret_last_used_timestamp_seconds\"}";
        fs::write(&file, format!("{innocent}\nfetching {leak}, again\n")).unwrap();
        let found = logs::searched(folder.path());
        assert_eq!((found.files, found.debug_lines), (1, 1));
        assert_eq!(found.leaks, [format!("{}:2: {name}", file.display())]);
        assert!(!found.leaks[0].contains(leak));
    }
}

#[test]
fn what_the_tests_keep_secret_stands_in_one_place() {
    let mut faults = Vec::new();
    look(&project("tests/it"), &mut faults);
    assert!(
        faults.is_empty(),
        "belongs into support/secrets.rs, so that logs are searched for it: {faults:#?}"
    );
}

fn look(folder: &Path, faults: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look(&path, faults);
        } else if !path.ends_with("support/secrets.rs") && !path.ends_with("it/logs.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().enumerate().filter(|(_, line)| tells_a_secret(line));
            faults.extend(lines.map(|(at, _)| format!("{}:{}", path.display(), at + 1)));
        }
    }
}

/// Whether a line makes a secret out of a text that stands in it.
fn tells_a_secret(line: &str) -> bool {
    let constant = line.split_once("const ").and_then(|(_, rest)| rest.split_once(": &str = \""));
    let kept = ["SECRET", "API_KEY", "TOKEN", "PHONE"];
    line.contains("Secret::new(\"")
        || line.contains("\"x-hook-secret\", \"")
        || constant
            .is_some_and(|(name, _)| kept.iter().any(|word| name.contains(word)) && !name.starts_with("BY_"))
}
