//! SQL replicas: the same tests on every database, and what only one of them can do to us.

mod asked;
mod bench;
mod checks;
mod drift;
mod family;
mod guards;
mod lies;
mod mariadb;
mod model;
mod outages;
mod postgres;
mod replication;
mod rows;
mod tls;

pub use bench::{Bench, Database, child, guarded};

/// Makes of each function a test on each database. The function gets the database.
macro_rules! on_every_database {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::sql::Database::Sqlite).await;
            })*
        }

        crate::sql::on_every_server!($($test),*);
    };
}
pub(crate) use on_every_database;

/// The same on each database that has a server.
macro_rules! on_every_server {
    ($($test:ident),* $(,)?) => {
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                if crate::sql::Database::Postgres.available() {
                    super::$test(crate::sql::Database::Postgres).await;
                }
            })*
        }

        mod mariadb {
            $(#[tokio::test]
            async fn $test() {
                if crate::sql::Database::MariaDb.available() {
                    super::$test(crate::sql::Database::MariaDb).await;
                }
            })*
        }
    };
}
pub(crate) use on_every_server;
