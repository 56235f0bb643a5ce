//! Guards that keep less of a time than the deletion tells.

use expunged::domain::{Action, Timestamp};
use expunged::targets::Effect;

use super::bench::{Bench, Database, NOW, guarded, removal, removed};
use crate::support::servers::mariadb::is_mysql;

super::on_every_server!(i3_a_time_that_its_column_rounded_up_shields_no_row);

/// Columns of moments with the microseconds of the unit that each keeps.
fn moments(database: Database) -> &'static [(&'static str, i64)] {
    match database {
        Database::MariaDb => &[("DATETIME", 1_000_000), ("DATETIME(3)", 1_000), ("TIMESTAMP(3)", 1_000)],
        _ => &[("timestamp(0)", 1_000_000), ("timestamptz(3)", 1_000), ("moment", 1_000)],
    }
}

/// What makes the owner's connection write as most do.
fn habits(database: Database) -> &'static str {
    match database {
        Database::MariaDb if is_mysql() => "SET time_zone = '+00:00';",
        // It cuts by itself.
        Database::MariaDb => {
            "SET time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',TIME_ROUND_FRACTIONAL');"
        }
        _ => "SET timezone = 'UTC'; CREATE DOMAIN moment AS timestamp(3);",
    }
}

async fn i3_a_time_that_its_column_rounded_up_shields_no_row(database: Database) {
    for (declared, unit) in moments(database) {
        let told = Timestamp::from_micros(NOW.micros() + 869_500);
        let later = Timestamp::from_micros(told.micros() + unit);
        let written = |at: Timestamp| at.to_datetime().unwrap().format("%F %T%.6f").to_string();
        let schema = format!(
            "{} CREATE TABLE listings(id INTEGER PRIMARY KEY, updated_at {declared});
             INSERT INTO listings VALUES (1,'{}'), (2,'{}');",
            habits(database),
            written(told),
            written(later)
        );
        let bench = Bench::new(database, &schema, guarded(&["id"], None)).await;
        let batch = ["1", "2"].map(|id| removal(Action::Delete, &[id], told));
        assert_eq!(bench.apply(batch.to_vec()).await.unwrap(), [removed(1), Effect::Newer], "{declared}");
        assert_eq!(bench.lines("SELECT id FROM listings").await, ["2"], "{declared}");
    }
}
