//! That the indexes serve: a statement that reads a whole table is a hundred times slower than it may be.

use super::*;
use crate::targets::sql::statements::{Statements, Steps};

/// Every line of the query plans of a deletion.
async fn explain(schema: &str, table: Table) -> Vec<String> {
    let mut bench = Bench::new(schema, table).await;
    bench.sql("PRAGMA foreign_keys = ON").await;
    let open = bench.target.take(&mut None).await.unwrap();
    let (plan, _) = open.prepared[&Entity::new("listing")].as_ref().unwrap();
    let statements = Statements::write(plan, 0);
    for sql in &statements.create {
        bench.sql(sql).await;
    }
    let mut lines = Vec::new();
    let Steps { children, own, standing, .. } = &statements.delete;
    let children = children.iter().flat_map(|step| std::iter::once(&step.all).chain(&step.listed));
    let steps = children.chain([own, &statements.find, standing]);
    for sql in steps {
        let plan = bench.owner.fetch_all(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).await.unwrap();
        lines.extend(plan.iter().map(|row| row.get::<String, _>(3)));
    }
    lines
}

/// Whole readings of tables that are not our own staging tables.
fn scans(lines: &[String]) -> Vec<&String> {
    let ours = ["SCAN f", "SCAN b", "SCAN temp."];
    let foreign = |line: &&String| !ours.iter().any(|scan| line.starts_with(scan));
    lines.iter().filter(|line| line.starts_with("SCAN")).filter(foreign).collect()
}

const IMAGES: &str = "CREATE TABLE images(n INTEGER PRIMARY KEY, listing_id REFERENCES listings(id));
    CREATE INDEX images_listing ON images(listing_id);
    CREATE TABLE sizes(n INTEGER PRIMARY KEY, image INTEGER REFERENCES images(n));
    CREATE INDEX sizes_image ON sizes(image);";

fn with_images(table: Table) -> Table {
    let sizes = Child { references: "n".to_owned(), ..child("sizes", "image", OnDelete::Delete) };
    let images = Child { children: vec![sizes], ..child("images", "listing_id", OnDelete::Delete) };
    Table { children: vec![images], ..table }
}

#[tokio::test]
async fn indexes_serve_every_statement_of_a_deletion() {
    let composite = guarded(&["board_id", "mls"], None);
    let columns =
        "id INTEGER UNIQUE, board_id INTEGER, mls TEXT, updated_at TEXT, PRIMARY KEY(board_id, mls)";
    let by_mls = guarded(&["mls"], None);
    let loose =
        "id INTEGER UNIQUE, mls TEXT COLLATE NOCASE, updated_at TEXT, PRIMARY KEY(mls COLLATE BINARY)";
    let images = IMAGES.replace("listing_id ", "listing_id INTEGER ");
    for (schema, table, served) in [
        (
            format!("CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at TEXT); {images}"),
            guarded(&["id"], None),
            "SEARCH main.listings USING INTEGER PRIMARY KEY (rowid=?)",
        ),
        (
            format!("CREATE TABLE listings({columns}); {images}"),
            composite.clone(),
            "SEARCH main.listings USING INTEGER PRIMARY KEY (rowid=?)",
        ),
        (
            format!("CREATE TABLE listings({columns}) WITHOUT ROWID; {images}"),
            composite,
            "SEARCH main.listings USING PRIMARY KEY (board_id=? AND mls=?)",
        ),
        (
            format!(
                "CREATE TABLE listings({}) WITHOUT ROWID; {images}",
                columns.replace("board_id, mls)", "mls)")
            ),
            by_mls.clone(),
            "SEARCH main.listings USING PRIMARY KEY (mls=?)",
        ),
        (
            format!("CREATE TABLE listings({loose}) WITHOUT ROWID; {images}"),
            by_mls,
            "SEARCH main.listings USING PRIMARY KEY (mls=?)",
        ),
    ] {
        let lines = explain(&schema, with_images(table)).await;
        assert_eq!(scans(&lines), Vec::<&String>::new(), "{lines:#?}");
        assert!(lines.iter().any(|line| line == served), "{served}: {lines:#?}");
    }
}
