//! Migrations while deletions run: each is noticed before the next deletion, and named.

use expunged::config::target::{OnDelete, Table, Value};
use expunged::domain::Action;
use expunged::targets::{Effect, TargetError};

use super::bench::{Bench, Database, NOW, child, delete, guarded, removal, removed};

const SCHEMA: &str = "CREATE TYPE kind AS ENUM ('sale', 'rent');
    CREATE TABLE listings(id bigint PRIMARY KEY, kind kind NOT NULL DEFAULT 'sale', updated_at timestamptz, status text);
    CREATE TABLE images(n bigint PRIMARY KEY, listing_id bigint REFERENCES listings(id), url text);
    CREATE INDEX images_of ON images(listing_id);
    CREATE TABLE visits(n bigint PRIMARY KEY, listing_id bigint);
    CREATE TABLE notes(n bigint PRIMARY KEY, listing_id bigint REFERENCES listings(id) ON DELETE CASCADE);
    INSERT INTO listings(id) VALUES (1), (2); INSERT INTO images VALUES (10,1), (20,2); INSERT INTO visits VALUES (30,2);
    CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN old; END';
    CREATE TRIGGER pass BEFORE DELETE ON listings FOR EACH ROW EXECUTE FUNCTION pass();";

fn configured() -> Table {
    let children =
        vec![child("images", "listing_id", OnDelete::Delete), child("visits", "listing_id", OnDelete::Keep)];
    let deactivate = vec![("status".to_owned(), Value::Text("off".to_owned()))];
    Table { children, deactivate, ..guarded(&["id"], None) }
}

/// Statements of a migration, and what comes after them.
pub type Drift = (&'static str, Then);

/// What the next deletion of listing 2, which has one image, comes to.
pub enum Then {
    /// It goes, with this many rows.
    Goes(u64),
    Absent,
    /// Its entity waits; the reason says this.
    Waits(&'static str),
    /// The record fails with this code.
    Fails(&'static str),
    /// The record alone is refused with this code.
    Refused(&'static str),
    Stays,
}

use Then::{Absent, Fails, Goes, Refused, Stays, Waits};

const NO_KEYS: &str = "ALTER TABLE images DROP CONSTRAINT images_listing_id_fkey; ALTER TABLE notes DROP CONSTRAINT notes_listing_id_fkey;";

const DRIFTS: [Drift; 38] = [
    ("DROP TABLE listings CASCADE", Waits("no table \"listings\"")),
    ("ALTER TABLE listings RENAME TO houses", Waits("no table \"listings\"")),
    ("CREATE SCHEMA old; ALTER TABLE listings SET SCHEMA old", Waits("no table \"listings\"")),
    ("ALTER TABLE listings RENAME id TO number", Waits("no column \"id\"")),
    ("ALTER TABLE listings DROP COLUMN id CASCADE", Waits("no column \"id\"")),
    ("ALTER TABLE listings RENAME updated_at TO changed_at", Waits("no column \"updated_at\"")),
    ("ALTER TABLE listings DROP COLUMN updated_at", Waits("no column \"updated_at\"")),
    ("ALTER TABLE listings DROP COLUMN status", Waits("no column \"status\"")),
    ("DROP TABLE images", Waits("no table \"images\"")),
    ("ALTER TABLE images RENAME TO pictures", Waits("no table \"images\"")),
    ("ALTER TABLE images RENAME listing_id TO house_id", Waits("no column \"listing_id\"")),
    (
        "ALTER TABLE images DROP CONSTRAINT images_listing_id_fkey; ALTER TABLE images ALTER listing_id TYPE text",
        Waits("same type"),
    ),
    ("DROP TABLE visits", Waits("no table \"visits\"")),
    (
        "ALTER TABLE images DROP CONSTRAINT images_listing_id_fkey; ALTER TABLE listings DROP CONSTRAINT listings_pkey CASCADE",
        Waits("not unique"),
    ),
    ("{no_keys} ALTER TABLE listings ALTER id TYPE double precision", Waits("no exact type")),
    (
        "ALTER TABLE visits ADD FOREIGN KEY (listing_id) REFERENCES listings ON DELETE CASCADE",
        Waits("ON DELETE CASCADE"),
    ),
    ("CREATE RULE r AS ON DELETE TO listings DO INSTEAD NOTHING", Waits("DELETE RETURNING")),
    ("CREATE RULE r AS ON DELETE TO images DO ALSO DELETE FROM visits", Waits("DO ALSO")),
    (
        "ALTER TABLE listings RENAME TO stored; CREATE MATERIALIZED VIEW listings AS SELECT * FROM stored",
        Waits("materialized"),
    ),
    (
        "ALTER TABLE images REPLICA IDENTITY NOTHING; CREATE PUBLICATION all_tables FOR ALL TABLES",
        Waits("\"images\" because it does not have a replica identity"),
    ),
    (
        "CREATE TABLE calls(); INSERT INTO calls DEFAULT VALUES; ALTER TABLE listings RENAME TO stored; CREATE VIEW listings AS SELECT s.* FROM stored s, calls",
        Waits("cannot delete from view \"listings\""),
    ),
    ("ALTER TABLE visits ADD FOREIGN KEY (listing_id) REFERENCES listings", Refused("foreign_key")),
    (
        "CREATE TRIGGER keep BEFORE DELETE ON listings FOR EACH ROW EXECUTE FUNCTION keep()",
        Fails("still_there"),
    ),
    (
        "CREATE TRIGGER keep BEFORE DELETE ON images FOR EACH ROW EXECUTE FUNCTION keep()",
        Refused("foreign_key"),
    ),
    (
        "CREATE OR REPLACE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        Fails("still_there"),
    ),
    ("ALTER TABLE listings ALTER updated_at TYPE text USING 'soon'", Fails("guard_unreadable")),
    ("ALTER TABLE listings ALTER updated_at TYPE text USING '2100-01-01'", Stays),
    (
        "CREATE TABLE rooms(n bigint PRIMARY KEY, listing_id bigint REFERENCES listings ON DELETE CASCADE); INSERT INTO rooms VALUES (40,2), (41,2)",
        Goes(4),
    ),
    (
        "CREATE TABLE pages(n bigint PRIMARY KEY, note bigint REFERENCES notes ON DELETE CASCADE); INSERT INTO notes VALUES (60,2); INSERT INTO pages VALUES (70,60), (71,60)",
        Goes(5),
    ),
    ("ALTER TABLE notes RENAME listing_id TO house_id; INSERT INTO notes VALUES (60,2)", Goes(3)),
    (
        "{no_keys} ALTER TABLE images ALTER listing_id TYPE integer; ALTER TABLE listings ALTER id TYPE integer",
        Goes(2),
    ),
    (
        "{no_keys} ALTER TABLE images ALTER listing_id TYPE text; ALTER TABLE visits ALTER listing_id TYPE text; ALTER TABLE listings ALTER id TYPE text",
        Goes(2),
    ),
    ("DROP INDEX images_of; ALTER TABLE listings ADD extra text; ALTER TYPE kind ADD VALUE 'swap'", Goes(2)),
    ("ALTER TABLE images DROP CONSTRAINT images_listing_id_fkey", Goes(2)),
    ("VACUUM FULL listings", Goes(2)),
    (
        "ALTER TABLE listings RENAME TO old; ALTER TABLE old RENAME CONSTRAINT listings_pkey TO old_pkey; CREATE TABLE listings(LIKE old INCLUDING ALL)",
        Absent,
    ),
    (
        "ALTER TABLE images DROP CONSTRAINT images_listing_id_fkey; UPDATE images SET listing_id = 3; ALTER TABLE images ADD FOREIGN KEY (listing_id) REFERENCES listings ON DELETE SET NULL NOT VALID",
        Goes(1),
    ),
    ("ALTER TABLE listings ALTER updated_at TYPE bigint USING 5", Fails("guard_unreadable")),
];

#[tokio::test]
async fn thirty_kinds_of_drift_are_noticed_before_the_next_deletion_and_none_deletes_wrongly() {
    if !Database::Postgres.available() {
        return;
    }
    for (ddl, then) in &DRIFTS {
        drift(Database::Postgres, SCHEMA, configured(), &ddl.replace("{no_keys}", NO_KEYS), then).await;
    }
}

/// Deletes listing 1, migrates, and deletes listing 2.
pub async fn drift(database: Database, schema: &str, configured: Table, ddl: &str, then: &Then) {
    let bench = Bench::new(database, schema, configured).await;
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(2)], "{ddl}");
    let before = bench.lines("SELECT count(*) FROM visits").await;
    bench.sql(ddl).await;
    let result = bench.apply(vec![delete(&["2"])]).await;
    match (then, &result) {
        (Goes(rows), Ok(effects)) => assert_eq!(effects[..], [removed(*rows)], "{ddl}"),
        (Absent, Ok(effects)) => assert_eq!(effects[..], [Effect::Absent], "{ddl}"),
        (Stays, Ok(effects)) => assert_eq!(effects[..], [Effect::Newer], "{ddl}"),
        (Waits(words), Ok(effects)) => {
            assert!(
                matches!(&effects[..], [Effect::Unfit(said)] if said.contains(words)),
                "{ddl}: {effects:?}"
            );
        }
        (Fails(code), Ok(effects)) => {
            assert_eq!(super::bench::code(&effects[0]), *code, "{ddl}: {effects:?}");
        }
        (Refused(code), Err(TargetError::Refused { code: told, .. })) => assert_eq!(told, code, "{ddl}"),
        _ => panic!("{ddl}: {result:?}"),
    }
    if !ddl.contains("visits") {
        assert_eq!(bench.lines("SELECT count(*) FROM visits").await, before, "{ddl}");
    }
}

#[tokio::test]
async fn i6_an_entity_whose_table_does_not_fit_keeps_no_other_waiting_and_goes_on_when_it_does() {
    use expunged::config::{
        Secret,
        target::{Limits, Sql},
    };
    use expunged::domain::Entity;
    use expunged::targets::sql::SqlTarget;
    use expunged::targets::{Batch, Removal, Target as _};

    if !Database::Postgres.available() {
        return;
    }
    let bench = Bench::new(Database::Postgres, SCHEMA, configured()).await;
    let deals = Table { table: "deals".to_owned(), ..super::bench::table(&["id"]) };
    let entities = [(Entity::new("listing"), configured()), (Entity::new("deal"), deals)].into();
    let target = SqlTarget::connect(
        "replica",
        &Sql { url: Secret::new(bench.url()), limits: Limits::default(), entities },
    )
    .unwrap();
    let deal = Removal { entity: Entity::new("deal"), ..delete(&["1"]) };
    let batch = |id: &str| Batch {
        number: 1,
        removals: vec![deal.clone(), delete(&[id]), removal(Action::Deactivate, &["2"], NOW)],
    };
    let effects = target.apply(&batch("1")).await.unwrap();
    assert!(
        matches!(&effects[0], Effect::Unfit(said) if said.contains("deal: there is no table")),
        "{effects:?}"
    );
    assert_eq!(effects[1..], [removed(2), Effect::Deactivated]);
    // What is found out only by asking is left out in the same way.
    bench.sql("CREATE TABLE deals(id bigint PRIMARY KEY); INSERT INTO deals VALUES (1); CREATE RULE r AS ON DELETE TO deals DO INSTEAD NOTHING").await;
    let effects = target.apply(&batch("7")).await.unwrap();
    assert!(matches!(&effects[0], Effect::Unfit(_)), "{effects:?}");
    assert_eq!(effects[1..], [Effect::Absent, Effect::Deactivated]);
    bench.sql("DROP RULE r ON deals; ALTER TABLE deals REPLICA IDENTITY NOTHING; CREATE PUBLICATION all_tables FOR ALL TABLES").await;
    let effects = target.apply(&batch("7")).await.unwrap();
    assert!(matches!(&effects[0], Effect::Unfit(said) if said.contains("replica identity")), "{effects:?}");
    assert_eq!(effects[1..], [Effect::Absent, Effect::Deactivated]);
    bench.sql("DROP PUBLICATION all_tables").await;
    assert_eq!(target.apply(&batch("7")).await.unwrap()[0], removed(1));
}
