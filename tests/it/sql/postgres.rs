//! What only PostgreSQL's servers and poolers do to us.

use expunged::config::target::{OnDelete, Table};
use expunged::targets::{Batch, Severity, Target as _, TargetError};

use super::bench::{Bench, Database, child, code, delete, removed, says, table, target, with_children};
use super::lies::with_extension;
use super::outages::{family, schema, through};
use crate::support::proxy::Proxy;
use crate::support::servers::{self, Kind as _, Server, pgbouncer::PgBouncer, postgres};
use sqlx::Connection as _;

#[tokio::test]
async fn a_server_that_became_read_only_is_left_for_the_one_that_took_its_place() {
    if !servers::available(&postgres::Postgres) {
        return;
    }
    let (old, new) = (Server::start(&postgres::Postgres).await, Server::start(&postgres::Postgres).await);
    let (left, taken) = (old.database().await, new.database().await);
    new.kind.execute(&taken.url, &schema(Database::Postgres, 2)).await.unwrap();
    left.sql(&schema(Database::Postgres, 2)).await;
    // The same name on both, as after a failover.
    let name = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    let home = new.url(new.kind.home());
    new.kind
        .execute(&home, &format!("ALTER DATABASE {} RENAME TO {}", name(&taken.url), name(&left.url)))
        .await
        .unwrap();
    let proxy = Proxy::to(old.port).await;
    let target = target(&through(Database::Postgres, &left.url, proxy.port), family());
    let batch = |id: &str| Batch { number: 1, removals: vec![delete(&[id])] };
    assert_eq!(target.apply(&batch("1")).await.unwrap(), [removed(2)]);
    left.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", name(&left.url))).await;
    left.kind
        .execute(
            &old.url("postgres"),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'expunged'",
        )
        .await
        .unwrap();
    for _ in 0..2 {
        let refused = target.apply(&batch("2")).await;
        assert!(matches!(refused, Err(TargetError::Unavailable(_))), "{refused:?}");
    }
    proxy.lead_to(new.port);
    assert_eq!(target.apply(&batch("2")).await.unwrap(), [removed(2)]);
    assert_eq!(left.lines("SELECT id FROM listings").await, ["2"], "not the old one");
    assert_eq!(new.kind.lines(&new.url(&name(&left.url)), "SELECT id FROM listings").await.unwrap(), ["1"]);
}

#[tokio::test]
async fn a_pooler_that_changes_connections_between_transactions_is_no_obstacle() {
    let Some(database) = postgres::database().await else { return };
    database.sql(&schema(Database::Postgres, 200)).await;
    let Some(pooler) = PgBouncer::before(&database.url).await else { return };
    let url = through(Database::Postgres, &database.url, pooler.port);
    let targets = [target(&url, family()), target(&url, family()), target(&url, family())];
    let deleting = targets.iter().enumerate().map(|(place, target)| async move {
        for id in (place + 1..=200).step_by(3) {
            let batch = Batch { number: 1, removals: vec![delete(&[&id.to_string()])] };
            assert_eq!(target.apply(&batch).await.unwrap(), [removed(2)]);
        }
    });
    // At the same time, so that one gets the connection that another has just had.
    let [first, second, third] = deleting.collect::<Vec<_>>().try_into().ok().unwrap();
    tokio::join!(first, second, third);
    assert_eq!(database.lines("SELECT count(*) FROM listings").await, ["0"]);
    // Who comes after us on a connection finds it as it was.
    let settings = ["lock_timeout", "statement_timeout", "row_security", "search_path", "datestyle"];
    let settings = settings.map(|name| format!("current_setting('{name}')")).join(" || '|' || ");
    let after = postgres::Postgres.lines(&url, &format!("SELECT {settings}")).await.unwrap();
    assert_eq!(after, database.lines(&format!("SELECT {settings}")).await);
}

/// What another client of the pooler has left on a connection: it gets each of the two in turn.
#[tokio::test]
async fn i12_a_temporary_table_that_a_pooler_passes_on_hides_nothing() {
    let Some(database) = postgres::database().await else { return };
    database.sql(&schema(Database::Postgres, 3)).await;
    let Some(pooler) = PgBouncer::before(&database.url).await else { return };
    let url = through(Database::Postgres, &database.url, pooler.port);
    let target = target(&url, family());
    let apply = async |id: &str| {
        let batch = Batch { number: 1, removals: vec![delete(&[id])] };
        target.apply(&batch).await.unwrap()
    };
    assert_eq!(apply("1").await, [removed(2)]);
    let temporary = "CREATE TEMPORARY TABLE listings(id bigint PRIMARY KEY);
        INSERT INTO pg_temp.listings VALUES (2), (3);";
    let mut customers = [postgres::connect(&url).await.unwrap(), postgres::connect(&url).await.unwrap()];
    for customer in &mut customers {
        sqlx::raw_sql("BEGIN").execute(&mut *customer).await.unwrap();
    }
    for mut customer in customers {
        sqlx::raw_sql(temporary).execute(&mut customer).await.unwrap();
        sqlx::raw_sql("COMMIT").execute(&mut customer).await.unwrap();
        customer.close().await.unwrap();
    }
    assert_eq!(apply("2").await, [removed(2)]);
    let fresh = super::bench::target(&url, family());
    let batch = Batch { number: 1, removals: vec![delete(&["3"])] };
    assert_eq!(fresh.apply(&batch).await.unwrap(), [removed(2)]);
    assert_eq!(database.lines("SELECT count(*) FROM public.listings").await, ["0"]);
}

/// What the documentation says that the daemon needs.
#[tokio::test]
async fn the_privileges_that_are_documented_are_enough_and_no_more_than_needed() {
    let readme = crate::support::text_of("README.md");
    let block = readme.split("```sql\n").nth(1).expect("the README grants").split("```").next().unwrap();
    let grants = block.replace("PASSWORD 'secret'", "");
    if !Database::Postgres.available() {
        return;
    }
    let listings = "CREATE TABLE listings(id bigint PRIMARY KEY); INSERT INTO listings VALUES (1), (2);
        CREATE TABLE images(n bigint PRIMARY KEY, listing_id bigint REFERENCES listings); INSERT INTO images VALUES (10,1);
        CREATE TABLE bookings(n bigint PRIMARY KEY, listing_id bigint REFERENCES listings); INSERT INTO bookings VALUES (20,1);";
    let table = || {
        with_children(vec![
            child("images", "listing_id", OnDelete::Delete),
            child("bookings", "listing_id", OnDelete::Nullify),
        ])
    };
    let bench = Bench::new(Database::Postgres, listings, table()).await;
    // Roles belong to the whole server.
    let database = bench.url().rsplit('/').next().unwrap().to_owned();
    let role = format!("expunged_{database}");
    bench
        .sql(
            &grants
                .replace("DATABASE replica", &format!("DATABASE {database}"))
                .replace(" expunged", &format!(" {role}")),
        )
        .await;
    let own = target(&bench.url().replace("owner@", &format!("{role}@")), table());
    let batch = Batch { number: 1, removals: vec![delete(&["1"])] };
    assert_eq!(own.apply(&batch).await.unwrap(), [removed(2)]);
    assert_eq!(bench.lines("SELECT n, listing_id FROM bookings").await, ["20|NULL"]);
    bench.sql(&format!("REVOKE DELETE ON images FROM {role}")).await;
    let refused = own.apply(&Batch { number: 2, removals: vec![delete(&["2"])] }).await.unwrap();
    assert_eq!(code(&refused[0]), "schema");
}

/// As a trigger finds them, within the transaction that deletes.
#[tokio::test]
async fn each_transaction_brings_its_settings_along() {
    if !Database::Postgres.available() {
        return;
    }
    let settings = [
        ("transaction_isolation", "read committed"),
        ("lock_timeout", "2s"),
        ("statement_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("row_security", "off"),
        ("application_name", "expunged"),
    ];
    let told = settings.map(|(name, _)| format!("current_setting('{name}')")).join(", ");
    let schema = format!(
        "CREATE TABLE listings(id bigint PRIMARY KEY); INSERT INTO listings VALUES (1); CREATE TABLE told(setting text);
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
         $$BEGIN INSERT INTO told SELECT unnest(ARRAY[{told}]); RETURN old; END$$;
         CREATE TRIGGER tell BEFORE DELETE ON listings FOR EACH ROW EXECUTE FUNCTION tell();"
    );
    let bench = Bench::new(Database::Postgres, &schema, table(&["id"])).await;
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)]);
    assert_eq!(bench.lines("SELECT setting FROM told").await, settings.map(|(_, value)| value));
}

/// Rows that are elsewhere, or computed.
#[tokio::test]
async fn check_tells_of_foreign_tables_and_views() {
    let schema = "CREATE EXTENSION postgres_fdw; CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
        CREATE FOREIGN TABLE listings(id bigint) SERVER elsewhere;
        CREATE TABLE stored(id bigint PRIMARY KEY);
        CREATE VIEW shown AS SELECT id FROM stored; CREATE MATERIALIZED VIEW copied AS SELECT id FROM stored;";
    let Some(bench) = with_extension("postgres_fdw", schema).await else { return };
    for (named, words) in
        [("listings", "another server deletes"), ("shown", "is a view"), ("copied", "nothing can be deleted")]
    {
        let named = Table { table: named.to_owned(), ..table(&["id"]) };
        let found = bench.other(named).check().await.unwrap();
        assert!(says(&found, Severity::Fault, words), "{words}: {found:#?}");
    }
}
