//! What the README tells its reader to write and to run, works as it stands there.
//!
//! Blocks marked `sh` are run in their order, in one empty folder. Blocks marked `console` need a machine of
//! their own: of these, every command of the program is looked up. The block marked `toml` is loaded.

use std::io;
use std::path::Path;
use std::process::Command;

use expunged::config::{Config, Environment};
use expunged::sandbox::plan::System;
use expunged::sandbox::{Faults, Outbox, Plan};

use crate::support::shell::{PROGRAM, blocks, sh};
use crate::support::{project, text_of};

/// How a reader without an installed program calls it.
const BY_CARGO: &str = "cargo run --release -- ";

/// An environment that holds a secret under every name.
struct Everything;

impl Environment for Everything {
    fn var(&self, _name: &str) -> Option<String> {
        Some("a secret of good length".to_owned())
    }

    fn read(&self, _path: &Path, _bytes_max: u64) -> io::Result<Vec<u8>> {
        Ok(b"a secret of good length".to_vec())
    }
}

/// Line and text of the blocks that are marked so.
fn of_language(language: &str) -> Vec<(usize, String)> {
    let blocks = blocks(&text_of("README.md")).into_iter().filter(|block| block.language == language);
    blocks.map(|block| (block.line, block.text)).collect()
}

#[test]
fn its_commands_run() {
    let folder = tempfile::tempdir().unwrap();
    let scripts = of_language("sh");
    assert!(!scripts.is_empty());
    for (line, text) in scripts {
        let script = format!("# README.md, line {line}\n{}", text.replace(BY_CARGO, "expunged "));
        sh(&script, folder.path());
    }
}

#[test]
fn its_configuration_is_the_example_and_loads() {
    let texts = of_language("toml");
    assert_eq!(texts.len(), 1, "the README has one configuration");
    let text = &texts[0].1;
    assert!(text.lines().count() <= 35, "the README promises a short one");
    let example = text_of("config/expunged.toml");
    assert!(example.ends_with(text.as_str()), "config/expunged.toml and the README differ");
    let config = Config::parse(text, "README.md", &Everything).unwrap_or_else(|error| panic!("{error}"));
    assert!(!config.sources.is_empty() && !config.targets.is_empty());
}

/// A place for everything that the README's sources tell of.
const TARGETS: &str = r#"
[targets.replica]
kind = "sql"
url = "sqlite://data/replica.db"
entities.listing = { table = "listings", key = ["board_id", "mls_number"] }
entities.deal = { table = "deals", key = ["id"] }
"#;

/// Sources of everything that the README's vendors take.
const SOURCES: &str = r#"
[sources.repliers]
preset = "repliers"
secret = { env = "A" }
feed = false
[sources.leadlex]
preset = "leadlex"
secret = { env = "B" }
"#;

#[test]
fn each_system_that_it_shows_loads_in_ten_lines() {
    let (sources, targets) = (of_language("toml source"), of_language("toml target"));
    assert!(sources.len() >= 4 && targets.len() >= 3, "{} and {}", sources.len(), targets.len());
    let sources = sources.into_iter().map(|(line, text)| (line, format!("{text}{TARGETS}"), text));
    let targets = targets.into_iter().map(|(line, text)| (line, format!("{SOURCES}{text}"), text));
    for (line, whole, text) in sources.chain(targets) {
        assert!(text.lines().count() <= 10, "README.md, line {line}: more than ten lines");
        let loaded = Config::parse(&whole, "README.md", &Everything);
        assert!(loaded.is_ok(), "README.md, line {line}: {}", loaded.unwrap_err());
    }
}

#[test]
fn its_fault_plan_can_be_followed() {
    let texts = of_language("toml plan");
    assert_eq!(texts.len(), 1);
    let (one, two, three) = (Faults::default(), Faults::default(), Faults::default());
    let systems = [("repliers", &one), ("leadlex", &two), ("hookbridge", &three)];
    let outbox = Outbox::new(&[], 1.0).unwrap();
    let systems = systems.map(|(name, faults)| System { name, faults, webhooks: Some(&outbox) });
    Plan::parse(&texts[0].1).unwrap().apply(&systems).unwrap();
}

#[test]
fn commands_that_are_only_shown_exist_with_their_flags() {
    let mut seen = 0;
    for (line, text) in of_language("console") {
        for call in text.lines().filter(|text| !text.starts_with('#')).filter_map(calls) {
            exists(&call).unwrap_or_else(|fault| panic!("README.md, from line {line}: {call}: {fault}"));
            seen += 1;
        }
    }
    assert!(seen > 0);
}

/// The arguments that a line hands to the program.
fn calls(line: &str) -> Option<String> {
    let line = line.replace(BY_CARGO, "expunged ");
    // The last one: another command may name the program, and hand the rest to it.
    let (_, arguments) =
        line.rsplit_once(" expunged ").or_else(|| Some(("", line.strip_prefix("expunged ")?)))?;
    Some(arguments.split(['|', '>', ';', '#']).next()?.trim().to_owned())
}

/// Whether the help of the command that these arguments call knows their flags.
fn exists(arguments: &str) -> Result<(), String> {
    let mut words = arguments.split_whitespace().peekable();
    let (mut command, mut flags) = (Vec::new(), Vec::new());
    while let Some(word) = words.next() {
        if word.starts_with("--") {
            flags.push(word);
            if word == "--config" {
                words.next();
            }
        } else if flags.iter().all(|flag| *flag == "--config")
            && word.chars().all(|char| char.is_ascii_lowercase())
        {
            command.push(word);
        }
    }
    let help = Command::new(PROGRAM).args(&command).arg("--help").output().unwrap();
    if !help.status.success() {
        return Err(String::from_utf8_lossy(&help.stderr).into_owned());
    }
    let help = String::from_utf8_lossy(&help.stdout);
    let unknown = flags.iter().find(|flag| !help.split_whitespace().any(|word| word == **flag));
    unknown.map_or(Ok(()), |flag| Err(format!("{flag} is no flag of {command:?}")))
}

#[test]
fn every_file_that_it_links_to_is_there() {
    let text = text_of("README.md");
    let links: Vec<&str> =
        text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link).collect();
    assert!(!links.is_empty());
    for link in links {
        assert!(link.starts_with("https://") || project(link).exists(), "the README links to {link}");
    }
}

#[test]
fn every_series_that_it_names_is_there() {
    let text = text_of("README.md");
    let is_name = |char: char| char.is_ascii_lowercase() || char == '_';
    let words = text.split(|char| !is_name(char)).filter_map(|word| word.strip_prefix("expunged_"));
    let named: Vec<&str> = words.map(|word| word.trim_end_matches("_total")).collect();
    assert!(!named.is_empty());
    let families = text_of("src/telemetry/metrics/families.rs");
    for name in named {
        assert!(families.contains(&format!("\"{name}\",")), "the README names expunged_{name}");
    }
}
