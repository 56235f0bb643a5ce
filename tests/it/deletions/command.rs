//! `expunged delete --dry-run`: what would go, said by target and by table.

use serde_json::json;

use crate::support::crash::home::NEWER_EVERY;
use crate::support::crash::{Home, Setup};

#[tokio::test]
async fn a_dry_run_tells_the_rows_of_every_table_and_records_nothing() {
    let home = Home::new(Setup { listings: NEWER_EVERY, ..Setup::default() }).await;
    let mut daemon = home.serve();
    daemon.listening().await;
    daemon.kill();
    let keys = [1, 2, 1, NEWER_EVERY, 999].map(|number| format!("2\tW{number}\n")).concat();
    let file = home.path("keys");
    std::fs::write(&file, keys).unwrap();
    let asked = ["delete", "--entity", "listing", "--file", file.to_str().unwrap(), "--dry-run"];
    let said = home.succeed(&asked);
    let at_replica =
        "replica: 2 of 4 records would go (rows: images 4, listings 2), 1 not_found, 1 superseded\n";
    // The index has no guard.
    let at_search = "search: 3 of 4 records would go (rows: documents 3), 1 not_found\n";
    assert_eq!(said, [at_replica, at_search].concat());

    let said: serde_json::Value =
        serde_json::from_str(&home.succeed(&[&asked[..], &["--json"]].concat())).unwrap();
    let at_replica = json!({
        "target": "replica",
        "records": { "deleted": 2, "not_found": 1, "superseded": 1 },
        "rows": { "images": 4, "listings": 2 },
    });
    assert_eq!(said[0], at_replica);
    assert_eq!(home.journal().of_kind("heard").count(), 0);
    home.assert_gone_exactly(&[].into()).await;
}
