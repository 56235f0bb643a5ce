//! The ways in which a DELETE says that it worked and did not, or takes more than it should.

use expunged::config::target::OnDelete;
use expunged::config::target::Table;
use expunged::targets::sql::SqlTarget;
use expunged::targets::{Batch, Effect, Severity, Target as _, TargetError};

use super::bench::{Bench, Database, child, code, delete, removed, says, table, with_children};
use crate::support::rig::until;

const LISTINGS: &str = "CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at {time});
    INSERT INTO listings(id) VALUES (1), (2), (3);";

async fn postgres(schema: &str, table: Table) -> Option<Bench> {
    if !Database::Postgres.available() {
        return None;
    }
    Some(Bench::new(Database::Postgres, schema, table).await)
}

async fn left(bench: &Bench) -> Vec<String> {
    bench.lines("SELECT id FROM listings ORDER BY id").await
}

/// A role that is not the owner, and a target that connects as it.
async fn as_role(bench: &Bench, grants: &str, table: Table) -> SqlTarget {
    let url = bench.url();
    let name = format!("role_{}", url.rsplit('/').next().unwrap());
    bench.sql(&format!("CREATE ROLE {name} LOGIN; {}", grants.replace("{role}", &name))).await;
    super::bench::target(&url.replace("owner@", &format!("{name}@")), table)
}

#[tokio::test]
async fn i12_row_security_is_an_error_and_not_an_absence() {
    let schema = format!(
        "{LISTINGS} ALTER TABLE listings ENABLE ROW LEVEL SECURITY;
        CREATE POLICY part ON listings USING (id <> 2);"
    );
    let Some(bench) = postgres(&schema, table(&["id"])).await else { return };
    let target = as_role(&bench, "GRANT SELECT, UPDATE, DELETE ON listings TO {role}", table(&["id"])).await;
    let batch = Batch { number: 1, removals: vec![delete(&["1"]), delete(&["2"])] };
    let effects = target.apply(&batch).await.unwrap();
    assert!(effects.iter().all(|effect| code(effect) == "schema"), "{effects:?}");
    assert_eq!(left(&bench).await, ["1", "2", "3"]);
    let found = target.check().await.unwrap();
    assert!(says(&found, Severity::Fault, "BYPASSRLS"), "{found:#?}");
    bench.sql("ALTER TABLE listings DISABLE ROW LEVEL SECURITY").await;
    assert_eq!(target.apply(&batch).await.unwrap(), [removed(1), removed(1)], "noticed without a restart");
}

#[tokio::test]
async fn i12_a_rule_that_rewrites_the_deletion_is_refused_and_told() {
    for rule in [
        "INSTEAD NOTHING",
        "INSTEAD UPDATE listings SET updated_at = now() WHERE id = old.id",
        "ALSO DELETE FROM listings",
    ] {
        let schema = format!("{LISTINGS} CREATE RULE r AS ON DELETE TO listings DO {rule};");
        let Some(bench) = postgres(&schema, table(&["id"])).await else { return };
        assert_eq!(code(&bench.delete(&[&["1"]]).await[0]), "schema", "{rule}");
        assert_eq!(left(&bench).await, ["1", "2", "3"]);
        assert!(says(&bench.check().await, Severity::Fault, "rules of table"));
    }
}

#[tokio::test]
async fn i12_a_trigger_that_keeps_a_row_is_told_and_the_others_go() {
    let schema = format!(
        "{LISTINGS} CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN IF old.id = 2 THEN RETURN NULL; END IF; RETURN old; END';
        CREATE TRIGGER keep BEFORE DELETE ON listings FOR EACH ROW EXECUTE FUNCTION keep();"
    );
    let Some(bench) = postgres(&schema, table(&["id"])).await else { return };
    let effects = bench.delete(&[&["1"], &["2"], &["3"]]).await;
    assert_eq!((&effects[0], code(&effects[1]), &effects[2]), (&removed(1), "still_there", &removed(1)));
    assert_eq!(left(&bench).await, ["2"]);
    assert!(says(&bench.check().await, Severity::Warning, "triggers (keep)"));
}

#[tokio::test]
async fn i10_what_a_trigger_raises_refuses_the_record_and_is_not_repeated() {
    let schema = format!(
        "{LISTINGS} CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''booked by Smith''; END';
        CREATE TRIGGER no BEFORE DELETE ON listings FOR EACH ROW WHEN (old.id = 2) EXECUTE FUNCTION no();"
    );
    let Some(bench) = postgres(&schema, table(&["id"])).await else { return };
    let refused = bench.apply(vec![delete(&["1"]), delete(&["2"])]).await.unwrap_err();
    assert!(matches!(refused, TargetError::Refused { code: "trigger", .. }), "{refused:?}");
    assert!(!refused.to_string().contains("Smith"));
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)]);
}

const BOARDS: &str =
    "CREATE TABLE listings(id INTEGER, board INTEGER, PRIMARY KEY (id, board)) PARTITION BY LIST (board);
    CREATE TABLE one PARTITION OF listings FOR VALUES IN (1);
    CREATE TABLE two PARTITION OF listings FOR VALUES IN (2);
    INSERT INTO listings VALUES (1,1), (2,2), (3,2), (4,1);";

fn waits(effect: &Effect, reason: &str) -> bool {
    matches!(effect, Effect::Unfit(said) if said.contains(reason))
}

#[tokio::test]
async fn i12_a_record_in_a_detached_partition_waits_until_somebody_puts_it_back_or_away() {
    let Some(bench) = postgres(BOARDS, table(&["id", "board"])).await else { return };
    assert_eq!(bench.delete(&[&["1", "1"], &["2", "2"]]).await, [removed(1), removed(1)]);
    assert!(!says(&bench.check().await, Severity::Warning, "detached"));
    bench.sql("ALTER TABLE listings DETACH PARTITION two").await;
    assert!(says(&bench.check().await, Severity::Warning, "public.two looks like a partition"));
    let batch = vec![delete(&["4", "1"]), delete(&["3", "2"]), delete(&["9", "2"])];
    let foreseen = bench.target.foresee(&batch).await.unwrap();
    let effects = bench.apply(batch).await.unwrap();
    assert_eq!(foreseen.into_iter().map(|foreseen| foreseen.effect).collect::<Vec<_>>(), effects);
    assert!(waits(&effects[1], "its row is in public.two"), "{effects:?}");
    assert_eq!((&effects[0], &effects[2]), (&removed(1), &Effect::Absent), "the others are not concerned");
    assert_eq!(bench.lines("SELECT id FROM two").await, ["3"]);
    bench.sql("ALTER TABLE listings ATTACH PARTITION two FOR VALUES IN (2)").await;
    assert_eq!(bench.delete(&[&["3", "2"]]).await, [removed(1)]);
    bench.sql("INSERT INTO listings VALUES (5,2); ALTER TABLE listings DETACH PARTITION two").await;
    assert!(waits(&bench.delete(&[&["5", "2"]]).await[0], "two"));
    bench.sql("CREATE SCHEMA archive; ALTER TABLE two SET SCHEMA archive").await;
    assert_eq!(bench.delete(&[&["5", "2"]]).await, [Effect::Absent], "put away, as somebody decided");
}

#[tokio::test]
async fn i12_a_detached_partition_that_may_not_be_read_is_not_taken_for_empty() {
    let Some(bench) = postgres(BOARDS, table(&["id", "board"])).await else { return };
    let grants = "GRANT SELECT, UPDATE, DELETE ON listings TO {role}";
    let target = as_role(&bench, grants, table(&["id", "board"])).await;
    let apply = async |key: [&str; 2]| {
        let batch = Batch { number: 1, removals: vec![delete(&key)] };
        target.apply(&batch).await.unwrap().remove(0)
    };
    assert_eq!(apply(["1", "1"]).await, removed(1));
    assert_eq!(apply(["1", "1"]).await, Effect::Absent);
    bench.sql("ALTER TABLE listings DETACH PARTITION two").await;
    let told = apply(["9", "2"]).await;
    assert!(waits(&told, "may be in public.two") && waits(&told, "let this user read it"), "{told:?}");
    assert!(says(&target.check().await.unwrap(), Severity::Warning, "GRANT SELECT"));
    assert_eq!(apply(["4", "1"]).await, removed(1));
}

/// Between the two transactions of DETACH CONCURRENTLY the partition still is one, and its rows are hidden already.
#[tokio::test]
async fn i12_a_partition_that_is_being_detached_is_not_taken_for_empty() {
    use sqlx::Connection as _;
    let Some(bench) = postgres(BOARDS, table(&["id", "board"])).await else { return };
    if bench.lines("SELECT (current_setting('server_version_num')::int < 140000)::text").await == ["true"] {
        return;
    }
    assert_eq!(bench.delete(&[&["1", "1"]]).await, [removed(1)]);
    let mut reader = sqlx::PgConnection::connect(&bench.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM listings").execute(&mut reader).await.unwrap();
    let detaching = bench.sql("ALTER TABLE listings DETACH PARTITION two CONCURRENTLY");
    let deleting = async {
        let pending = "SELECT count(*)::text FROM pg_inherits WHERE inhdetachpending";
        until("it is marked", async || bench.lines(pending).await == ["1"]).await;
        let effects = bench.delete(&[&["3", "2"], &["9", "2"]]).await;
        reader.close().await.unwrap();
        effects
    };
    let ((), effects) = tokio::join!(detaching, deleting);
    assert!(waits(&effects[0], "its row is in public.two") && effects[1] == Effect::Absent, "{effects:?}");
}

#[tokio::test]
async fn a_table_of_another_entity_is_no_detached_partition() {
    use expunged::config::Secret;
    use expunged::config::target::{Limits, Sql};
    use expunged::domain::Entity;

    let schema = format!(
        "{BOARDS} CREATE TABLE rentals(LIKE listings INCLUDING ALL); INSERT INTO rentals VALUES (9,2);"
    );
    let Some(bench) = postgres(&schema, table(&["id", "board"])).await else { return };
    let listings = table(&["id", "board"]);
    let rentals = Table { table: "rentals".to_owned(), ..listings.clone() };
    let entities = [(Entity::new("listing"), listings), (Entity::new("rental"), rentals)].into();
    let config = Sql { url: Secret::new(bench.url()), limits: Limits::default(), entities };
    let target = SqlTarget::connect("replica", &config).unwrap();
    let batch = Batch { number: 1, removals: vec![delete(&["9", "2"])] };
    assert_eq!(target.apply(&batch).await.unwrap(), [Effect::Absent]);
    assert!(!says(&target.check().await.unwrap(), Severity::Warning, "detached"));
}

#[tokio::test]
async fn i12_a_table_that_takes_the_name_hides_nothing() {
    let Some(bench) = postgres(LISTINGS, table(&["id"])).await else { return };
    let path = "CREATE SCHEMA app; CREATE TABLE app.other(id INTEGER PRIMARY KEY);";
    bench.sql(path).await;
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(1)]);
    let explicit = bench.other(Table { table: "app.other".into(), ..table(&["id"]) });
    bench.sql("INSERT INTO app.other VALUES (1); CREATE TABLE other(id INTEGER PRIMARY KEY); INSERT INTO other VALUES (1)").await;
    let batch = Batch { number: 1, removals: vec![delete(&["1"])] };
    assert_eq!(explicit.apply(&batch).await.unwrap(), [removed(1)]);
    assert_eq!(
        bench.lines("SELECT (SELECT count(*) FROM app.other), (SELECT count(*) FROM other)").await,
        ["0|1"]
    );
    // A role's path now finds another table first; the name means that one from then on, as it does to the role.
    bench.sql("CREATE TABLE app.listings(id INTEGER PRIMARY KEY); INSERT INTO app.listings VALUES (2)").await;
    assert_eq!(bench.delete(&[&["2"]]).await, [removed(1)]);
    assert_eq!(bench.lines("SELECT count(*) FROM app.listings").await, ["1"]);
}

#[tokio::test]
async fn a_name_that_the_database_would_cut_is_refused() {
    let long = "l".repeat(70);
    let cut = &long[..63];
    let schema = format!("CREATE TABLE {cut}(id INTEGER PRIMARY KEY); INSERT INTO {cut} VALUES (1);");
    let named = Table { table: long.clone(), ..table(&["id"]) };
    let Some(bench) = postgres(&schema, named).await else { return };
    assert_eq!(code(&bench.delete(&[&["1"]]).await[0]), "schema");
    assert!(says(&bench.check().await, Severity::Fault, "cuts names after 63 bytes"));
    assert_eq!(bench.lines(&format!("SELECT count(*) FROM {cut}")).await, ["1"]);
}

#[tokio::test]
async fn a_cascade_takes_nothing_that_is_not_counted() {
    let schema = format!("{LISTINGS} CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER REFERENCES listings ON DELETE CASCADE);
        INSERT INTO rooms VALUES (10,1), (11,1), (12,2);");
    let Some(bench) = postgres(&schema, table(&["id"])).await else { return };
    assert!(says(&bench.check().await, Severity::Warning, "ON DELETE CASCADE"));
    assert!(says(
        &bench.check().await,
        Severity::Warning,
        "CREATE INDEX CONCURRENTLY \"rooms_listing_id\" ON \"public\".\"rooms\" (\"listing_id\");"
    ));
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(3)]);
}

#[tokio::test]
async fn i11_padding_case_and_numbers_make_no_two_keys_one() {
    let Some(bench) = postgres(
        "CREATE TABLE listings(id char(5) PRIMARY KEY); INSERT INTO listings VALUES ('ab'), ('abcde');",
        table(&["id"]),
    )
    .await
    else {
        return;
    };
    let effects = bench.delete(&[&["ab "], &["ab   "], &["abcdef"], &["AB"]]).await;
    assert_eq!(effects.iter().map(code).collect::<Vec<_>>(), ["key_type", "key_type", "", ""]);
    assert_eq!(effects[2..], [Effect::Absent, Effect::Absent]);
    assert_eq!(bench.delete(&[&["ab"], &["abcde"]]).await, [removed(1), removed(1)]);

    let citext = "CREATE EXTENSION IF NOT EXISTS citext; CREATE TABLE listings(id citext PRIMARY KEY); INSERT INTO listings VALUES ('aB');";
    if let Some(bench) = with_extension("citext", citext).await {
        assert_eq!(bench.delete(&[&["AB"], &["ab"]]).await, [Effect::Absent, Effect::Absent]);
        assert!(says(&bench.check().await, Severity::Fault, "byte for byte"));
        assert_eq!(bench.delete(&[&["aB"], &["AB"]]).await, [removed(1), Effect::Absent]);
    }

    let Some(bench) = postgres("CREATE TABLE listings(id double precision PRIMARY KEY); INSERT INTO listings VALUES (9007199254740992);", table(&["id"])).await else { return };
    assert_eq!(code(&bench.delete(&[&["9007199254740993"]]).await[0]), "schema");
    assert_eq!(bench.lines("SELECT count(*) FROM listings").await, ["1"]);
}

/// A database with an extension, if the server has it.
pub async fn with_extension(name: &str, schema: &str) -> Option<Bench> {
    let bench = postgres("SELECT 1", table(&["id"])).await?;
    let there =
        bench.lines(&format!("SELECT count(*) FROM pg_available_extensions WHERE name = '{name}'")).await;
    if there == ["0"] {
        eprintln!("{name} is not installed: not tested");
        return None;
    }
    bench.sql(schema).await;
    Some(bench)
}

#[tokio::test]
async fn i11_a_key_of_every_exact_type_names_its_row_and_no_other() {
    for (declared, key, others) in [
        ("bigint", "9223372036854775807", vec!["9223372036854775806"]),
        ("integer", "7", vec!["2147483648", "-7"]),
        ("smallint", "7", vec!["65543"]),
        ("numeric", "123456789012345678901234567890", vec!["123456789012345678901234567891"]),
        ("numeric(12,2)", "7", vec!["70"]),
        ("uuid", "550e8400-e29b-41d4-a716-446655440000", vec!["550e8400-e29b-41d4-a716-446655440001"]),
        ("varchar(4)", "W123", vec!["W12", "W1234"]),
        ("code", "W1", vec!["w1"]),
        ("kind", "sale", vec!["rent"]),
        ("whole", "12", vec!["1"]),
    ] {
        let schema = format!("CREATE DOMAIN code AS varchar(9) CHECK (value ~ '^[A-Z]'); CREATE DOMAIN inner_ AS int; CREATE DOMAIN whole AS inner_;
            CREATE TYPE kind AS ENUM ('rent', 'sale');
            CREATE TABLE listings(id {declared} PRIMARY KEY); INSERT INTO listings VALUES ('{key}');");
        let Some(bench) = postgres(&schema, table(&["id"])).await else { return };
        for other in others {
            assert_eq!(bench.delete(&[&[other]]).await, [Effect::Absent], "{declared} {other}");
        }
        assert_eq!(bench.delete(&[&[key]]).await, [removed(1)], "{declared}");
        let faults: Vec<_> =
            bench.check().await.into_iter().filter(|finding| finding.severity == Severity::Fault).collect();
        assert_eq!(faults, [], "{declared}");
    }
}

#[tokio::test]
async fn a_locked_row_is_waited_for_and_never_skipped() {
    let Some(bench) = postgres(LISTINGS, table(&["id"])).await else { return };
    let holder = bench.url();
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let owner = tokio::spawn(async move {
        use sqlx::Connection as _;
        let mut connection = sqlx::PgConnection::connect(&holder).await.unwrap();
        sqlx::raw_sql("BEGIN; SELECT 1 FROM listings WHERE id = 2 FOR UPDATE")
            .execute(&mut connection)
            .await
            .unwrap();
        locked.send(()).unwrap();
        released.await.ok();
    });
    is_locked.await.unwrap();
    let result = bench.apply(vec![delete(&["1"]), delete(&["2"])]).await;
    assert!(matches!(result, Err(TargetError::Unavailable(_))), "{result:?}");
    assert_eq!(left(&bench).await, ["1", "2", "3"], "none without the other");
    release.send(()).ok();
    owner.await.unwrap();
    assert_eq!(bench.delete(&[&["1"], &["2"]]).await, [removed(1), removed(1)]);
}

/// Rooms of which a trigger keeps one, and what the database says of rooms without their listing.
fn kept(more: &str) -> String {
    format!(
        "{LISTINGS} CREATE TABLE rooms(id INTEGER PRIMARY KEY, listing_id INTEGER);
        INSERT INTO rooms VALUES (10,1), (20,2);
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN IF old.id = 20 THEN RETURN NULL; END IF; RETURN old; END';
        CREATE TRIGGER keep BEFORE DELETE ON rooms FOR EACH ROW EXECUTE FUNCTION keep(); {more}"
    )
}

const LINK: &str = "ALTER TABLE rooms ADD FOREIGN KEY (listing_id) REFERENCES listings;";

/// A foreign key whose triggers an owner has switched off, or that the role's settings pass over, vouches for nothing, and
/// neither does one that would take the child along: a trigger that keeps the child from us keeps it from that too.
#[tokio::test]
async fn i12_a_child_that_a_trigger_keeps_keeps_its_parent() {
    let off = "ALTER TABLE rooms DISABLE TRIGGER ALL; ALTER TABLE rooms ENABLE TRIGGER keep;
        ALTER TABLE listings DISABLE TRIGGER ALL;";
    let replica = "ALTER TABLE rooms ENABLE ALWAYS TRIGGER keep; DO 'BEGIN EXECUTE
        format(''ALTER DATABASE %I SET session_replication_role = replica'', current_database()); END';";
    let cascades = LINK.replace(';', " ON DELETE CASCADE;");
    for more in [String::new(), cascades, format!("{LINK}{off}"), format!("{LINK}{replica}")] {
        let table = with_children(vec![child("rooms", "listing_id", OnDelete::Delete)]);
        let Some(bench) = postgres(&kept(&more), table).await else { return };
        let effects = bench.delete(&[&["1"], &["2"]]).await;
        assert_eq!((&effects[0], code(&effects[1])), (&removed(2), "still_there"), "{more}");
        assert_eq!(left(&bench).await, ["2", "3"]);
    }
}

#[tokio::test]
async fn i12_a_foreign_key_vouches_for_children_and_refuses_what_would_leave_one() {
    let table = with_children(vec![child("rooms", "listing_id", OnDelete::Delete)]);
    let Some(bench) = postgres(&kept(LINK), table).await else { return };
    let refused = bench.apply(vec![delete(&["1"]), delete(&["2"])]).await.unwrap_err();
    assert!(matches!(refused, TargetError::Refused { code: "foreign_key", .. }), "{refused:?}");
    assert_eq!(left(&bench).await, ["1", "2", "3"]);
    assert_eq!(bench.delete(&[&["1"]]).await, [removed(2)]);
}
