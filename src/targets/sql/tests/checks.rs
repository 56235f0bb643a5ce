//! What `check` finds on SQLite alone; the rest is held for all databases by the integration tests.

use super::*;
use crate::targets::{Finding, Severity};

async fn check(schema: &str, table: Table) -> Vec<Finding> {
    Bench::new(schema, table).await.target.check().await.unwrap()
}

/// Whether a finding of this severity at this place says this, in its text or its mend.
fn says(findings: &[Finding], severity: Severity, place: &str, words: &str) -> bool {
    let place = format!("targets.replica.entities.listing{place}");
    findings.iter().any(|finding| {
        finding.severity == severity
            && finding.place == place
            && (finding.what.contains(words) || finding.mend.contains(words))
    })
}

#[tokio::test]
async fn a_view_that_leads_nowhere_disturbs_nothing() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at DATETIME);
        CREATE VIEW broken AS SELECT * FROM nowhere;";
    assert_eq!(check(schema, guarded(&["id"], None)).await, []);
}

#[tokio::test]
async fn keys_must_be_unique_exact_and_typed() {
    for (schema, words) in [
        ("CREATE TABLE listings(id TEXT)", "CREATE UNIQUE INDEX \"listings_id\" ON \"listings\" (\"id\");"),
        (
            "CREATE TABLE listings(id TEXT); CREATE UNIQUE INDEX u ON listings(id) WHERE id > 'a'",
            "CREATE UNIQUE INDEX",
        ),
        ("CREATE TABLE listings(id TEXT COLLATE NOCASE PRIMARY KEY)", "COLLATE BINARY"),
        ("CREATE TABLE listings(id REAL PRIMARY KEY)", "INTEGER or TEXT"),
        ("CREATE TABLE listings(id PRIMARY KEY)", "INTEGER or TEXT"),
    ] {
        let found = check(schema, table(&["id"])).await;
        assert!(says(&found, Severity::Fault, ".key", words), "{schema}: {found:#?}");
    }
}

#[tokio::test]
async fn triggers_of_children_and_references_in_other_letters_are_seen() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER);
        CREATE TABLE notes(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES Listings);
        CREATE TRIGGER t AFTER DELETE ON rooms BEGIN SELECT 1; END;";
    let found = check(schema, with_children(vec![child("rooms", "listing_id", OnDelete::Delete)])).await;
    for (severity, place, words) in [
        (Severity::Warning, ".children[0]", "triggers (t)"),
        (
            Severity::Warning,
            ".children[0].column",
            "CREATE INDEX \"rooms_listing_id\" ON \"rooms\" (\"listing_id\");",
        ),
        (Severity::Fault, ".children", "notes"),
    ] {
        assert!(says(&found, severity, place, words), "{place} {words}: {found:#?}");
    }
}
