//! What `check` finds.

use super::*;
use crate::config::target::Value;
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
async fn a_fitting_configuration_has_a_clean_bill() {
    let schema =
        "CREATE TABLE listings(id INTEGER PRIMARY KEY, board_id INTEGER, mls TEXT, updated_at DATETIME, \
            UNIQUE(mls, board_id));
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INT REFERENCES listings);
        CREATE INDEX rooms_listing ON rooms(listing_id);
        CREATE VIEW broken AS SELECT * FROM nowhere;";
    let children = vec![child("rooms", "listing_id", OnDelete::Nullify)];
    let table = Table { children, ..guarded(&["board_id", "mls"], None) };
    assert_eq!(check(schema, table).await, []);
}

#[tokio::test]
async fn what_is_missing_or_no_table_is_a_fault() {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE VIEW listings AS SELECT id FROM t;";
    let soft = Table {
        deleted_at: Some("gone".to_owned()),
        deactivate: vec![("status".to_owned(), Value::Null)],
        children: vec![child("nope", "x", OnDelete::Delete)],
        ..guarded(&["idd"], None)
    };
    let found = check(schema, soft.clone()).await;
    for (place, words) in [
        (".table", "view"),
        (".key", "idd"),
        (".guard", "updated_at"),
        (".deleted_at", "gone"),
        (".deactivate", "status"),
        (".children[0].table", "nope"),
    ] {
        assert!(says(&found, Severity::Fault, place, words), "{place}: {found:#?}");
    }
    let found = check("CREATE TABLE other(id)", soft).await;
    assert!(says(&found, Severity::Fault, ".table", "no table"), "{found:#?}");
}

#[tokio::test]
async fn keys_must_be_unique_exact_and_typed() {
    for (schema, words) in [
        ("CREATE TABLE listings(id TEXT)", "CREATE UNIQUE INDEX \"listings_id\" ON \"listings\" (\"id\");"),
        ("CREATE TABLE listings(id TEXT, b, UNIQUE(id, b))", "CREATE UNIQUE INDEX"),
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
async fn guards_are_looked_at() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at INTEGER, synced_at TEXT)";
    assert!(says(&check(schema, table(&["id"])).await, Severity::Warning, ".guard", "listed again"));
    assert!(says(&check(schema, guarded(&["id"], None)).await, Severity::Fault, ".guard", "unix_seconds"));
    assert_eq!(check(schema, guarded(&["id"], Some(TimeFormat::UnixSeconds))).await, []);
    let guard = Some(Guard { column: "synced_at".to_owned(), format: None });
    let local = Table { guard, ..table(&["id"]) };
    assert!(says(&check(schema, local).await, Severity::Warning, ".guard", "shield"));
}

#[tokio::test]
async fn children_are_looked_at() {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, mls TEXT);
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER NOT NULL, mls TEXT, as_text TEXT);
        CREATE TRIGGER t AFTER DELETE ON rooms BEGIN SELECT 1; END;";
    let by_mls = Child { references: "mls".to_owned(), ..child("rooms", "mls", OnDelete::Delete) };
    let children = vec![
        child("rooms", "listing_id", OnDelete::Nullify),
        child("rooms", "as_text", OnDelete::Delete),
        by_mls,
        child("rooms", "nope", OnDelete::Delete),
    ];
    let found = check(schema, with_children(children)).await;
    for (severity, place, words) in [
        (
            Severity::Warning,
            ".children[0].column",
            "CREATE INDEX \"rooms_listing_id\" ON \"rooms\" (\"listing_id\");",
        ),
        (Severity::Fault, ".children[0].column", "NOT NULL"),
        (Severity::Warning, ".children[0]", "triggers (t)"),
        (Severity::Fault, ".children[1].column", "same type"),
        (Severity::Fault, ".children[2].references", "not unique"),
        (Severity::Fault, ".children[3].column", "nope"),
    ] {
        assert!(says(&found, severity, place, words), "{place} {words}: {found:#?}");
    }
}

#[tokio::test]
async fn foreign_keys_that_the_configuration_forgets_or_contradicts_are_told() {
    for (action, on_delete, severity, words) in [
        ("CASCADE", None, Severity::Warning, "go too"),
        ("SET NULL", None, Severity::Warning, "no longer refer"),
        ("RESTRICT", None, Severity::Fault, "refuses"),
        ("NO ACTION", None, Severity::Fault, "refuses"),
        ("CASCADE", Some(OnDelete::Keep), Severity::Fault, "CASCADE"),
        ("SET NULL", Some(OnDelete::Keep), Severity::Warning, "to NULL"),
        ("RESTRICT", Some(OnDelete::Keep), Severity::Fault, "refuses"),
    ] {
        let schema = format!(
            "CREATE TABLE listings(id INTEGER PRIMARY KEY);
             CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES Listings ON DELETE {action});"
        );
        let children = on_delete.map(|on_delete| child("rooms", "listing_id", on_delete));
        let place = if children.is_some() { ".children[0].on_delete" } else { ".children" };
        let found = check(&schema, with_children(children.into_iter().collect())).await;
        assert!(says(&found, severity, place, words), "{action}: {found:#?}");
        let soft = format!("{schema} ALTER TABLE listings ADD gone TEXT;");
        let table = Table { deleted_at: Some("gone".to_owned()), ..table(&["id"]) };
        assert!(!says(&check(&soft, table).await, severity, ".children", "rooms"), "a mark moves no key");
    }
}

#[tokio::test]
async fn columns_that_cannot_be_written_are_faults() {
    let schema =
        "CREATE TABLE listings(id INTEGER PRIMARY KEY, gone TEXT NOT NULL, shown AS (gone), s TEXT NOT NULL)";
    let set = |name: &str| (name.to_owned(), Value::Null);
    let marks = Table {
        deleted_at: Some("gone".to_owned()),
        deactivate: vec![set("shown"), set("s")],
        ..table(&["id"])
    };
    let found = check(schema, marks).await;
    assert!(says(&found, Severity::Fault, ".deleted_at", "NOT NULL"));
    assert!(says(&found, Severity::Fault, ".deactivate", "computed"));
    assert!(says(&found, Severity::Fault, ".deactivate", "\"s\" is NOT NULL"));
}
