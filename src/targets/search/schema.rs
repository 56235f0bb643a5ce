//! Compares the index's schema with the configuration.
//!
//! Exists because Tantivy does not: deleting by a field that is analysed silently deletes nothing, and by one
//! that the schema lacks panics. It may not touch the index; it sees a schema and says what it thinks.

use std::collections::BTreeMap;

use tantivy::schema::{DateOptions, DateTimePrecision, FAST, FieldEntry, FieldType, STORED, STRING, Schema};

use super::super::{Finding, Severity, tells_of_copying};
use super::Setting;
use super::guard::Guard;
use crate::config::target::{FieldGuard, Template, TemplatePiece};
use crate::domain::timestamp::TimeFormat;

/// The tokenizer that keeps a text whole, and that every index has under this name.
const RAW: &str = "raw";

/// What is wrong or risky about the target's entities.
pub(super) fn findings(setting: &Setting, schema: &Schema) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (entity, document) in &setting.documents {
        let place = format!("targets.{}.entities.{entity}", setting.name);
        if let Some((what, mend)) = field_fault(schema, &document.field) {
            findings.push(Finding { severity: Severity::Fault, place: format!("{place}.field"), what, mend });
        }
        findings.extend(template_finding(&format!("{place}.id"), &document.id));
        findings.extend(guard_finding(format!("{place}.guard"), document.guard.as_ref(), schema));
    }
    findings
}

/// The faults among `findings` as one text; `None` if there are none.
pub(super) fn faults(findings: &[Finding]) -> Option<String> {
    let faults: Vec<String> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Fault)
        .map(|fault| format!("{}: {}; {}", fault.place, fault.what, fault.mend))
        .collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// An index without documents: what a mistyped path looks like.
pub(super) fn empty(setting: &Setting) -> Finding {
    Finding {
        severity: Severity::Warning,
        place: format!("targets.{}.path", setting.name),
        what: "the index holds no documents: every deletion finds nothing".into(),
        mend: "make sure that this is the folder which the search reads".into(),
    }
}

/// The schema of an index that is created here: the id fields, whole and stored, and the guards.
pub(super) fn minimal(setting: &Setting) -> Schema {
    // By name, since a schema can't have a field twice. One that is asked to be both id and guard is an id:
    // the index is then opened, and refused for it.
    let guards = setting.documents.values().filter_map(|document| document.guard.as_ref());
    let mut fields: BTreeMap<&str, Option<&FieldGuard>> =
        guards.map(|guard| (guard.field.as_str(), Some(guard))).collect();
    fields.extend(setting.documents.values().map(|document| (document.field.as_str(), None)));
    let mut builder = Schema::builder();
    for (name, guard) in fields {
        match guard.map(|guard| guard.format) {
            None => builder.add_text_field(name, STRING | STORED),
            Some(None | Some(TimeFormat::Iso8601)) => {
                let options = DateOptions::from(FAST).set_precision(DateTimePrecision::Microseconds);
                builder.add_date_field(name, options.set_stored())
            }
            Some(Some(TimeFormat::UnixSeconds | TimeFormat::UnixMillis)) => {
                builder.add_i64_field(name, FAST | STORED)
            }
        };
    }
    builder.build()
}

fn guard_finding(place: String, guard: Option<&FieldGuard>, schema: &Schema) -> Option<Finding> {
    let own_time = "name the FAST field that holds the upstream's own modification time";
    let finding = |severity, what, mend| Some(Finding { severity, place, what, mend });
    let Some(guard) = guard else {
        let what =
            "without a guard, a late notice deletes the document of a record that was listed again since";
        return finding(Severity::Warning, what.into(), own_time.into());
    };
    if let Err((what, mend)) = Guard::find(guard, schema) {
        return finding(Severity::Fault, what, mend);
    }
    if tells_of_copying(&guard.field) {
        let what = format!(
            "field {} looks like the time of our own copying, which would shield every document",
            guard.field
        );
        return finding(Severity::Warning, what, own_time.into());
    }
    None
}

fn field_fault(schema: &Schema, name: &str) -> Option<(String, String)> {
    let Ok(field) = schema.get_field(name) else {
        let known: Vec<&str> = schema.fields().map(|(_, entry)| entry.name()).collect();
        return Some((
            format!("the index has no field {name}; deletions by it are impossible"),
            format!("name one of its fields: {}", known.join(", ")),
        ));
    };
    let what = entry_fault(schema.get_field_entry(field))?;
    Some((
        what,
        "name a text field that is indexed with the tokenizer raw (STRING), or index the ids in one".into(),
    ))
}

fn entry_fault(entry: &FieldEntry) -> Option<String> {
    let name = entry.name();
    let FieldType::Str(options) = entry.field_type() else {
        let kind = entry.field_type().value_type().name();
        return Some(format!("field {name} holds {kind}, not text; ids are text, byte for byte"));
    };
    match options.get_indexing_options() {
        None => Some(format!("field {name} is not indexed; deletions would find nothing")),
        Some(indexing) if indexing.tokenizer() != RAW => Some(format!(
            "field {name} is cut into words by the tokenizer {}; deletions would find nothing, or other documents",
            indexing.tokenizer()
        )),
        Some(_) => None,
    }
}

/// Ids that several records share would take each other's documents.
fn template_finding(place: &str, id: &Template) -> Option<Finding> {
    let is_part = |piece: &TemplatePiece| matches!(piece, TemplatePiece::Part(_));
    let finding = |severity, what: &str, mend: &str| Finding {
        severity,
        place: place.to_owned(),
        what: what.into(),
        mend: mend.into(),
    };
    if !id.0.iter().any(is_part) {
        return Some(finding(
            Severity::Fault,
            "the id holds no part of the key: every record would have the same document",
            "name the parts, as in {0}:{1}",
        ));
    }
    id.0.windows(2).any(|pair| pair.iter().all(is_part)).then(|| {
        finding(
            Severity::Warning,
            "two parts of the key stand side by side: different records may have the same id",
            "put a separator between them if the index does so, as in {0}:{1}",
        )
    })
}
