//! Compares the index's schema with the configuration.
//!
//! Exists because Tantivy does not: deleting by a field that is analysed silently deletes nothing, and by one
//! that the schema lacks panics. It may not touch the index; it sees a schema and says what it thinks.

use tantivy::schema::{FieldEntry, FieldType, STORED, STRING, Schema};

use super::super::{Finding, Severity};
use super::Setting;
use crate::config::target::{Template, TemplatePiece};

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

/// The schema of an index that is created here: the id fields, whole and stored.
pub(super) fn minimal(setting: &Setting) -> Schema {
    let mut builder = Schema::builder();
    let mut fields: Vec<&str> = setting.documents.values().map(|document| document.field.as_str()).collect();
    fields.sort_unstable();
    fields.dedup();
    for field in fields {
        builder.add_text_field(field, STRING | STORED);
    }
    builder.build()
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
