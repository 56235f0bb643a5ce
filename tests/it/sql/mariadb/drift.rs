//! Migrations of MariaDB's own kinds while deletions run; the runner is that of all servers.

use expunged::config::target::{OnDelete, Table, Value};

use super::super::bench::{Database, child, guarded};
use super::super::drift::{
    Drift,
    Then::{Absent, Fails, Goes, Refused, Stays, Waits},
    drift,
};
use crate::support::servers::mariadb::is_mysql;

const SCHEMA: &str = "CREATE TABLE listings(id BIGINT PRIMARY KEY, mls VARCHAR(20), updated_at VARCHAR(40), status VARCHAR(9));
    CREATE TABLE images(n BIGINT PRIMARY KEY, listing_id BIGINT, url VARCHAR(40), KEY images_of(listing_id),
        CONSTRAINT images_fk FOREIGN KEY (listing_id) REFERENCES listings(id));
    CREATE TABLE visits(n BIGINT PRIMARY KEY, listing_id BIGINT, KEY visits_of(listing_id));
    CREATE TABLE notes(n BIGINT PRIMARY KEY, listing_id BIGINT, CONSTRAINT notes_fk FOREIGN KEY (listing_id) REFERENCES listings(id) ON DELETE CASCADE);
    CREATE TABLE calls(n BIGINT PRIMARY KEY);
    INSERT INTO listings(id) VALUES (1), (2); INSERT INTO images VALUES (10,1,''), (20,2,''); INSERT INTO visits VALUES (30,2);
    INSERT INTO calls VALUES (50);";

fn configured() -> Table {
    let children =
        vec![child("images", "listing_id", OnDelete::Delete), child("visits", "listing_id", OnDelete::Keep)];
    let deactivate = vec![("status".to_owned(), Value::Text("off".to_owned()))];
    Table { children, deactivate, ..guarded(&["id"], None) }
}

const NO_KEYS: &str =
    "ALTER TABLE images DROP FOREIGN KEY images_fk; ALTER TABLE notes DROP FOREIGN KEY notes_fk;";

const DRIFTS: [Drift; 34] = [
    ("SET foreign_key_checks = 0; DROP TABLE listings", Waits("no table \"listings\"")),
    ("ALTER TABLE listings RENAME TO houses", Waits("no table \"listings\"")),
    ("ALTER TABLE listings RENAME COLUMN id TO number", Waits("no column \"id\"")),
    ("{no_keys} ALTER TABLE listings DROP PRIMARY KEY, DROP COLUMN id", Waits("no column \"id\"")),
    ("ALTER TABLE listings RENAME COLUMN updated_at TO changed_at", Waits("no column \"updated_at\"")),
    ("ALTER TABLE listings DROP COLUMN updated_at", Waits("no column \"updated_at\"")),
    ("ALTER TABLE listings DROP COLUMN status", Waits("no column \"status\"")),
    ("DROP TABLE images", Waits("no table \"images\"")),
    ("ALTER TABLE images RENAME TO pictures", Waits("no table \"images\"")),
    ("ALTER TABLE images RENAME COLUMN listing_id TO house_id", Waits("no column \"listing_id\"")),
    ("ALTER TABLE visits DROP COLUMN listing_id", Waits("no column \"listing_id\"")),
    ("DROP TABLE visits", Waits("no table \"visits\"")),
    ("{no_keys} ALTER TABLE images MODIFY listing_id VARCHAR(20)", Waits("same type")),
    ("{no_keys} ALTER TABLE listings DROP PRIMARY KEY", Waits("not unique")),
    ("{no_keys} ALTER TABLE listings MODIFY id DOUBLE", Waits("no exact type")),
    ("{no_keys} ALTER TABLE listings ENGINE = MyISAM", Waits("no transactions")),
    ("{no_keys} ALTER TABLE images ENGINE = Aria", Waits("no transactions")),
    (
        "ALTER TABLE visits ADD FOREIGN KEY (listing_id) REFERENCES listings(id) ON DELETE CASCADE",
        Waits("ON DELETE CASCADE"),
    ),
    ("ALTER TABLE visits ADD FOREIGN KEY (listing_id) REFERENCES listings(id)", Refused("foreign_key")),
    (
        "ALTER TABLE calls ADD listing_id BIGINT NOT NULL DEFAULT 2, ADD FOREIGN KEY (listing_id) REFERENCES listings(id)",
        Refused("foreign_key"),
    ),
    (
        "CREATE TRIGGER no BEFORE DELETE ON listings FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'",
        Refused("trigger"),
    ),
    (
        "CREATE TRIGGER back AFTER DELETE ON images FOR EACH ROW INSERT INTO images VALUES (old.n + 1, old.listing_id, '')",
        Refused("trigger"),
    ),
    ("UPDATE listings SET updated_at = 'soon'", Fails("guard_unreadable")),
    (
        "ALTER TABLE listings DROP COLUMN updated_at, ADD updated_at DATETIME(6) NOT NULL DEFAULT '2100-01-01'",
        Stays,
    ),
    (
        "CREATE TABLE rooms(n BIGINT PRIMARY KEY, listing_id BIGINT, FOREIGN KEY (listing_id) REFERENCES listings(id) ON DELETE CASCADE); INSERT INTO rooms VALUES (40,2), (41,2)",
        Goes(4),
    ),
    (
        "CREATE TABLE pages(n BIGINT PRIMARY KEY, note BIGINT, FOREIGN KEY (note) REFERENCES notes(n) ON DELETE CASCADE); INSERT INTO notes VALUES (60,2); INSERT INTO pages VALUES (70,60), (71,60)",
        Goes(5),
    ),
    ("ALTER TABLE notes RENAME COLUMN listing_id TO house_id; INSERT INTO notes VALUES (60,2)", Goes(3)),
    (
        "{no_keys} ALTER TABLE images MODIFY listing_id INTEGER; ALTER TABLE listings MODIFY id INTEGER",
        Goes(2),
    ),
    (
        "{no_keys} ALTER TABLE images MODIFY listing_id VARCHAR(20); ALTER TABLE visits MODIFY listing_id VARCHAR(20); ALTER TABLE listings MODIFY id VARCHAR(20)",
        Goes(2),
    ),
    ("ALTER TABLE listings ADD extra TEXT FIRST, ADD KEY(mls); DROP INDEX visits_of ON visits", Goes(2)),
    ("ALTER TABLE images DROP FOREIGN KEY images_fk, DROP KEY images_of", Goes(2)),
    ("OPTIMIZE TABLE listings; ANALYZE TABLE listings", Goes(2)),
    (
        "RENAME TABLE listings TO old; CREATE TABLE listings LIKE old",
        Absent,
    ),
    (
        "ALTER TABLE images DROP FOREIGN KEY images_fk; UPDATE images SET listing_id = 3; SET foreign_key_checks = 0;
         ALTER TABLE images ADD FOREIGN KEY (listing_id) REFERENCES listings(id) ON DELETE SET NULL",
        Goes(1),
    ),
];

#[tokio::test]
async fn thirty_kinds_of_drift_are_noticed_before_the_next_deletion_and_none_deletes_wrongly() {
    if !Database::MariaDb.available() {
        return;
    }
    for (ddl, then) in &DRIFTS {
        let ddl = ddl.replace("{no_keys}", NO_KEYS);
        // One of MariaDB's own; MySQL has the other.
        let ddl = if is_mysql() { ddl.replace("Aria", "MyISAM") } else { ddl };
        drift(Database::MariaDb, SCHEMA, configured(), &ddl, then).await;
    }
}
