//! `expunged check`: the configuration is valid, now for what it points at.

use std::process::ExitCode;

use serde_json::json;

use super::{Context, print};
use crate::app::{self, Parts};
use crate::config::source::{Meaning, Source};
use crate::domain::Action;
use crate::store::OpenError;
use crate::store::sqlite::expect_journal;
use crate::targets::{Finding, Severity, TargetError};

pub async fn run(context: Context) -> anyhow::Result<ExitCode> {
    let Context { config, clock, json, .. } = context;
    let mut findings: Vec<Finding> = config.sources.iter().filter_map(repeats_harm).collect();
    match expect_journal(&config.state.path) {
        Ok(()) => {
            Parts::open(config.clone(), clock.clone(), false).await?;
            if !json {
                println!("state: {} opens", config.state.path.display());
            }
        }
        Err(OpenError::Missing { path }) => findings.push(not_begun(&path)),
        Err(error) => return Err(error.into()),
    }
    for target in app::targets(&config, &clock).await? {
        let found = target.check().await.unwrap_or_else(|error| vec![unreachable(target.name(), &error)]);
        if !json && found.is_empty() {
            println!("target {}: fits its configuration", target.name());
        }
        findings.extend(found);
    }
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.place.cmp(&b.place)));
    if json {
        print::json(&findings.iter().map(as_json).collect::<Vec<_>>())?;
    } else {
        for finding in &findings {
            println!("{}: {}: {}\n    {}", word(finding.severity), finding.place, finding.what, finding.mend);
        }
    }
    let faulty = findings.iter().any(|finding| finding.severity == Severity::Fault);
    Ok(ExitCode::from(u8::from(faulty)))
}

/// A deletion that is delivered again after the record was listed again, and that nothing shows to be an old one.
fn repeats_harm(source: &Source) -> Option<Finding> {
    let tells = |action| source.events.values().any(|rule| rule.may_mean(Meaning::Notice(action)));
    let harmful = tells(Action::Delete) && tells(Action::Relisted) && !source.payload.proves();
    harmful.then(|| Finding {
        severity: Severity::Warning,
        place: format!("sources.{}.payload.deleted_at", source.name),
        what: "missing, as are updated_at and event_id: a deletion that is delivered once more after a re-listing \
               would be carried out"
            .into(),
        mend: "say where an item has the time of its deletion or an id, if the upstream gives one".into(),
    })
}

/// A check begins no journal either: commands would take it for the daemon's.
fn not_begun(path: &str) -> Finding {
    Finding {
        severity: Severity::Note,
        place: "state.url".into(),
        what: format!("{path} is not there; relative paths start at the current directory"),
        mend: "before the daemon's first start, nothing; after it, check where the daemon runs".into(),
    }
}

fn unreachable(target: &str, error: &TargetError) -> Finding {
    Finding {
        severity: Severity::Fault,
        place: format!("targets.{target}"),
        what: error.to_string(),
        mend: "deletions wait for it, without end and without harm to the others".into(),
    }
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Fault => "fault",
    }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({
        "severity": word(finding.severity),
        "place": finding.place,
        "what": finding.what,
        "mend": finding.mend,
    })
}
