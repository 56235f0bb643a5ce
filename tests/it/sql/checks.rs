//! What `check` finds on every database alike.

use expunged::config::target::{Child, Guard, OnDelete, Table, Value};
use expunged::domain::timestamp::TimeFormat;
use expunged::targets::{Finding, Severity};

use super::bench::{Bench, Database, child, guarded, table, with_children};

super::on_every_database!(
    a_fitting_configuration_has_a_clean_bill,
    what_is_missing_or_no_table_is_a_fault,
    keys_must_be_unique_and_exact,
    guards_are_looked_at,
    a_guard_without_a_time_zone_is_told,
    children_are_looked_at,
    foreign_keys_that_the_configuration_forgets_or_contradicts_are_told,
    columns_that_cannot_be_written_are_faults,
);

async fn check(database: Database, schema: &str, table: Table) -> Vec<Finding> {
    Bench::new(database, schema, table).await.check().await
}

/// Whether a finding of this severity at this place says this, in its text or its mend.
fn says(findings: &[Finding], severity: Severity, place: &str, words: &str) -> bool {
    let place = format!("targets.replica.entities.listing{place}");
    let here: Vec<_> = findings.iter().filter(|finding| finding.place == place).cloned().collect();
    super::bench::says(&here, severity, words)
}

async fn a_fitting_configuration_has_a_clean_bill(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, board_id INTEGER, mls {key}, updated_at {time}, UNIQUE(mls, board_id));
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER, FOREIGN KEY (listing_id) REFERENCES listings(id));
        CREATE INDEX rooms_listing ON rooms(listing_id);";
    let children = vec![child("rooms", "listing_id", OnDelete::Nullify)];
    let table = Table { children, ..guarded(&["board_id", "mls"], None) };
    assert_eq!(check(database, schema, table).await, []);
}

async fn what_is_missing_or_no_table_is_a_fault(database: Database) {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE VIEW listings AS SELECT id FROM t;";
    let soft = Table {
        deleted_at: Some("gone".to_owned()),
        deactivate: vec![("status".to_owned(), Value::Null)],
        children: vec![child("nope", "x", OnDelete::Delete)],
        ..guarded(&["idd"], None)
    };
    let found = check(database, schema, soft.clone()).await;
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
    let found = check(database, "CREATE TABLE other(id INTEGER)", soft).await;
    assert!(says(&found, Severity::Fault, ".table", "no table"), "{found:#?}");
}

async fn keys_must_be_unique_and_exact(database: Database) {
    for (schema, words) in [
        ("CREATE TABLE listings(id {key})", "CREATE UNIQUE INDEX"),
        ("CREATE TABLE listings(id {key}, b INTEGER, UNIQUE(id, b))", "CREATE UNIQUE INDEX"),
        ("CREATE TABLE listings(id {real} PRIMARY KEY)", "does not hold keys exactly"),
    ] {
        let found = check(database, schema, table(&["id"])).await;
        assert!(says(&found, Severity::Fault, ".key", words), "{schema}: {found:#?}");
    }
}

async fn guards_are_looked_at(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at INTEGER, synced_at {text})";
    let check = async |table| check(database, schema, table).await;
    assert!(says(&check(table(&["id"])).await, Severity::Warning, ".guard", "listed again"));
    assert!(says(&check(guarded(&["id"], None)).await, Severity::Fault, ".guard", "unix_seconds"));
    assert_eq!(check(guarded(&["id"], Some(TimeFormat::UnixSeconds))).await, []);
    let guard = Some(Guard { column: "synced_at".to_owned(), format: None });
    let local = Table { guard, ..table(&["id"]) };
    assert!(says(&check(local).await, Severity::Warning, ".guard", "shield"));
}

async fn a_guard_without_a_time_zone_is_told(database: Database) {
    let (local, told) = match database {
        // Text, whatever it is called.
        Database::Sqlite => ("DATETIME", false),
        Database::Postgres => ("timestamp(3)", true),
        Database::MariaDb => ("DATETIME(3)", true),
    };
    for (declared, told) in [(local, told), ("{time}", false)] {
        let schema = format!("CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at {declared})");
        let found = check(database, &schema, guarded(&["id"], None)).await;
        assert_eq!(says(&found, Severity::Note, ".guard", "no time zone"), told, "{declared}: {found:#?}");
    }
}

async fn children_are_looked_at(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, mls {key});
        CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER NOT NULL, mls {key}, as_text {text});";
    let by_mls = Child { references: "mls".to_owned(), ..child("rooms", "mls", OnDelete::Delete) };
    let children = vec![
        child("rooms", "listing_id", OnDelete::Nullify),
        child("rooms", "as_text", OnDelete::Delete),
        by_mls,
        child("rooms", "nope", OnDelete::Delete),
    ];
    let found = check(database, schema, with_children(children)).await;
    for (severity, place, words) in [
        (Severity::Warning, ".children[0].column", "has no index"),
        (Severity::Warning, ".children[0].column", "CREATE INDEX "),
        (Severity::Fault, ".children[0].column", "NOT NULL"),
        (Severity::Fault, ".children[1].column", "same type"),
        (Severity::Fault, ".children[2].references", "not unique"),
        (Severity::Fault, ".children[3].column", "nope"),
    ] {
        assert!(says(&found, severity, place, words), "{place} {words}: {found:#?}");
    }
}

async fn foreign_keys_that_the_configuration_forgets_or_contradicts_are_told(database: Database) {
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
            "CREATE TABLE listings(id INTEGER PRIMARY KEY, gone {{time}});
             CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER, FOREIGN KEY (listing_id) REFERENCES listings(id) ON DELETE {action});"
        );
        let children = on_delete.map(|on_delete| child("rooms", "listing_id", on_delete));
        let place = if children.is_some() { ".children[0].on_delete" } else { ".children" };
        let bench = Bench::new(database, &schema, with_children(children.into_iter().collect())).await;
        let found = bench.check().await;
        assert!(says(&found, severity, place, words), "{action}: {found:#?}");
        let soft = bench.other(Table { deleted_at: Some("gone".to_owned()), ..table(&["id"]) });
        let found = expunged::targets::Target::check(&soft).await.unwrap();
        assert!(!says(&found, severity, ".children", "rooms"), "a mark moves no key");
    }
}

async fn columns_that_cannot_be_written_are_faults(database: Database) {
    let schema = "CREATE TABLE listings(id INTEGER PRIMARY KEY, gone {text} NOT NULL, shown {text} GENERATED ALWAYS AS (gone) STORED, s {text} NOT NULL)";
    let set = |name: &str| (name.to_owned(), Value::Null);
    let marks = Table {
        deleted_at: Some("gone".to_owned()),
        deactivate: vec![set("shown"), set("s")],
        ..table(&["id"])
    };
    let found = check(database, schema, marks).await;
    assert!(says(&found, Severity::Fault, ".deleted_at", "NOT NULL"), "{found:#?}");
    assert!(says(&found, Severity::Fault, ".deactivate", "computed"), "{found:#?}");
    assert!(says(&found, Severity::Fault, ".deactivate", "\"s\" is NOT NULL"), "{found:#?}");
}
