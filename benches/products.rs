//! The database servers that are measured: how each is made, started and seeded, and how one would delete by hand there.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection, Row as _};

use crate::databases::{ByHand, Product, run};
use crate::setting;

/// Where Debian keeps the programs of each major version.
const DEBIAN_POSTGRES: &str = "/usr/lib/postgresql";
/// Whom PostgreSQL runs as where we are root.
const POSTGRES_USER: &str = "postgres";

fn found(name: &str, folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    folders.into_iter().find(|folder| folder.join(name).exists())
}

fn paths() -> Vec<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect()
}

pub struct Postgres;

impl Postgres {
    fn command(&self, name: &str, data: &Path) -> Command {
        let file = self.programs().unwrap_or_default().join(name);
        let root = std::fs::metadata(setting::base()).is_ok_and(|folder| folder.uid() == 0);
        let mut command = Command::new(if root { OsStr::new("setpriv") } else { file.as_os_str() });
        if root {
            command.args(["--reuid", POSTGRES_USER, "--regid", POSTGRES_USER, "--init-groups"]).arg(file);
        }
        command.current_dir("/").arg("-D").arg(data);
        command
    }
}

#[async_trait]
impl Product for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn programs(&self) -> Option<PathBuf> {
        let versions = std::fs::read_dir(DEBIAN_POSTGRES).into_iter().flatten().flatten();
        let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
        let newest = newest.map(|version| PathBuf::from(format!("{DEBIAN_POSTGRES}/{version}/bin")));
        found("initdb", newest.into_iter().chain(paths()))
    }

    fn initialise(&self, data: &Path) -> anyhow::Result<()> {
        if std::fs::metadata(data)?.uid() == 0 {
            run(Command::new("chown").arg(POSTGRES_USER).arg(data))?;
        }
        let mut initdb = self.command("initdb", data);
        run(initdb.args(["--auth=trust", "--username=owner", "--encoding=UTF8", "--locale=C.UTF-8"]))
    }

    fn server(&self, data: &Path, port: u16) -> Command {
        // A folder that was made for us alone is on the way.
        if let Some(parent) = data.parent() {
            Command::new("chmod").arg("711").arg(parent).status().ok();
        }
        let mut command = self.command("postgres", data);
        command.arg("-p").arg(port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "shared_buffers=1GB",
            "max_wal_size=4GB",
        ] {
            command.args(["-c", setting]);
        }
        command
    }

    fn end(&self) -> &'static str {
        "INT"
    }

    fn url(&self, port: u16) -> String {
        format!("postgres://owner@127.0.0.1:{port}/postgres")
    }

    async fn run(&self, port: u16, sql: &str) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.url(port)).await?;
        connection.execute(AssertSqlSafe(sql)).await?;
        Ok(connection.close().await?)
    }

    fn seed(&self) -> &'static str {
        "CREATE TABLE listings (id bigint PRIMARY KEY, board_id int NOT NULL, mls_number text NOT NULL, address text NOT NULL,
           updated_at timestamptz NOT NULL);
         CREATE TABLE images (id bigint GENERATED ALWAYS AS IDENTITY, listing_id bigint NOT NULL, url text NOT NULL);
         CREATE TABLE reviews (id bigint GENERATED ALWAYS AS IDENTITY, listing_id bigint NOT NULL, text text NOT NULL);
         INSERT INTO listings SELECT n, 2, 'W' || lpad((n - 1)::text, 9, '0'), n || ' Elm Street', '2026-01-01' FROM generate_series(1, {listings}) n;
         INSERT INTO images (listing_id, url) SELECT l, '/images/' || l || '/' || n FROM generate_series(1, {listings}) l, generate_series(1, 5) n;
         INSERT INTO reviews (listing_id, text) SELECT l, 'review ' || n || ' of ' || l FROM generate_series(1, {listings}) l, generate_series(1, 2) n;
         ALTER TABLE listings ADD UNIQUE (board_id, mls_number);
         ALTER TABLE images ADD PRIMARY KEY (id);
         ALTER TABLE reviews ADD PRIMARY KEY (id);
         CREATE INDEX ON images (listing_id);
         CREATE INDEX ON reviews (listing_id);
         ALTER TABLE images ADD FOREIGN KEY (listing_id) REFERENCES listings (id);
         ALTER TABLE reviews ADD FOREIGN KEY (listing_id) REFERENCES listings (id);
         ANALYZE; CHECKPOINT;"
    }

    fn by_hand(&self) -> Vec<ByHand> {
        vec![
            ByHand { at_once: true, told: 1, statements: &[
                "WITH gone AS MATERIALIZED (SELECT id FROM listings JOIN unnest($1::text[]) AS mls ON board_id = 2 AND mls_number = mls),
                   i AS (DELETE FROM images USING gone WHERE listing_id = gone.id),
                   r AS (DELETE FROM reviews USING gone WHERE listing_id = gone.id)
                 DELETE FROM listings USING gone WHERE listings.id = gone.id",
            ] },
            ByHand { at_once: false, told: 1, statements: &[
                "CREATE TEMPORARY TABLE gone AS SELECT id FROM listings JOIN unnest($1::text[]) AS mls ON board_id = 2 AND mls_number = mls",
                "ANALYZE gone",
                "DELETE FROM images USING gone WHERE listing_id = gone.id",
                "DELETE FROM reviews USING gone WHERE listing_id = gone.id",
                "DELETE FROM listings USING gone WHERE listings.id = gone.id",
            ] },
        ]
    }

    async fn take(&self, port: u16, way: &ByHand, numbers: &[String]) -> anyhow::Result<f64> {
        let mut connection = PgConnection::connect(&self.url(port)).await?;
        let began = Instant::now();
        let mut transaction = connection.begin().await?;
        let mut gone = 0;
        for statement in way.statements {
            let query = sqlx::query(*statement);
            let query = if statement.contains("$1") { query.bind(numbers) } else { query };
            gone = query.execute(&mut *transaction).await?.rows_affected();
        }
        transaction.commit().await?;
        let seconds = began.elapsed().as_secs_f64();
        anyhow::ensure!(gone == way.told * numbers.len() as u64, "by hand, {gone} went");
        Ok(seconds)
    }
}

pub struct MariaDb;

impl MariaDb {
    fn command(&self, name: &str, data: &Path) -> Command {
        let mut command = Command::new(self.programs().unwrap_or_default().join(name));
        command.args(["--no-defaults", "--user=root"]).arg(format!("--datadir={}", data.display()));
        command
    }
}

#[async_trait]
impl Product for MariaDb {
    fn name(&self) -> &'static str {
        "mariadb"
    }

    fn programs(&self) -> Option<PathBuf> {
        found("mariadb-install-db", paths())?;
        found("mariadbd", paths().into_iter().chain([PathBuf::from("/usr/sbin")]))
    }

    fn initialise(&self, data: &Path) -> anyhow::Result<()> {
        let mut install = Command::new("mariadb-install-db");
        install.args([
            "--no-defaults",
            "--user=root",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ]);
        run(install.arg(format!("--datadir={}", data.display())))
    }

    fn server(&self, data: &Path, port: u16) -> Command {
        let mut command = self.command("mariadbd", data);
        command.arg(format!("--socket={}", data.join("socket").display())).arg(format!("--port={port}"));
        command.args([
            "--bind-address=127.0.0.1",
            "--innodb-buffer-pool-size=1G",
            "--innodb-log-file-size=1G",
        ]);
        command
    }

    fn end(&self) -> &'static str {
        "TERM"
    }

    fn url(&self, port: u16) -> String {
        format!("mysql://root@127.0.0.1:{port}/replica")
    }

    async fn run(&self, port: u16, sql: &str) -> anyhow::Result<()> {
        let home = format!("mysql://root@127.0.0.1:{port}/mysql");
        let mut connection = MySqlConnection::connect(&home).await?;
        connection.execute(AssertSqlSafe(sql)).await?;
        Ok(connection.close().await?)
    }

    fn seed(&self) -> &'static str {
        "CREATE DATABASE replica CHARACTER SET utf8mb4; USE replica; SET unique_checks = 0, foreign_key_checks = 0;
         CREATE TABLE listings (id BIGINT AUTO_INCREMENT PRIMARY KEY, board_id INT NOT NULL, mls_number VARCHAR(32) NOT NULL,
           address VARCHAR(200) NOT NULL, updated_at DATETIME(6) NOT NULL, UNIQUE (board_id, mls_number)) ENGINE InnoDB;
         CREATE TABLE images (id BIGINT AUTO_INCREMENT PRIMARY KEY, listing_id BIGINT NOT NULL, url VARCHAR(200) NOT NULL,
           FOREIGN KEY (listing_id) REFERENCES listings (id)) ENGINE InnoDB;
         CREATE TABLE reviews (id BIGINT AUTO_INCREMENT PRIMARY KEY, listing_id BIGINT NOT NULL, text VARCHAR(200) NOT NULL,
           FOREIGN KEY (listing_id) REFERENCES listings (id)) ENGINE InnoDB;
         INSERT INTO listings SELECT seq, 2, CONCAT('W', LPAD(seq - 1, 9, '0')), CONCAT(seq, ' Elm Street'), '2026-01-01' FROM seq_1_to_{listings};
         INSERT INTO images (listing_id, url) SELECT l.seq, CONCAT('/images/', l.seq, '/', n.seq) FROM seq_1_to_{listings} l STRAIGHT_JOIN seq_1_to_5 n;
         INSERT INTO reviews (listing_id, text) SELECT l.seq, CONCAT('review ', n.seq, ' of ', l.seq) FROM seq_1_to_{listings} l STRAIGHT_JOIN seq_1_to_2 n;
         ANALYZE TABLE listings, images, reviews;"
    }

    fn by_hand(&self) -> Vec<ByHand> {
        vec![
            // The server would take the parents first, and refuse that for the foreign keys.
            ByHand { at_once: true, told: 8, statements: &[
                "SET foreign_key_checks = 0",
                "DELETE i, r, l FROM JSON_TABLE(?, '$[*]' COLUMNS (mls VARCHAR(32) PATH '$')) j
                   STRAIGHT_JOIN listings l ON l.board_id = 2 AND l.mls_number = j.mls
                   LEFT JOIN images i ON i.listing_id = l.id LEFT JOIN reviews r ON r.listing_id = l.id",
            ] },
            ByHand { at_once: false, told: 1, statements: &[
                "CREATE TEMPORARY TABLE gone (id BIGINT PRIMARY KEY) ENGINE InnoDB SELECT l.id FROM JSON_TABLE(?, '$[*]'
                   COLUMNS (mls VARCHAR(32) PATH '$')) j STRAIGHT_JOIN listings l ON l.board_id = 2 AND l.mls_number = j.mls",
                "DELETE c FROM gone STRAIGHT_JOIN images c ON c.listing_id = gone.id",
                "DELETE c FROM gone STRAIGHT_JOIN reviews c ON c.listing_id = gone.id",
                "DELETE c FROM gone STRAIGHT_JOIN listings c ON c.id = gone.id",
            ] },
            ByHand { at_once: false, told: 1, statements: &[
                "CREATE TEMPORARY TABLE gone (id BIGINT PRIMARY KEY) ENGINE MEMORY SELECT l.id FROM JSON_TABLE(?, '$[*]'
                   COLUMNS (mls VARCHAR(32) PATH '$')) j STRAIGHT_JOIN listings l ON l.board_id = 2 AND l.mls_number = j.mls",
                "DELETE c FROM gone STRAIGHT_JOIN images c ON c.listing_id = gone.id",
                "DELETE c FROM gone STRAIGHT_JOIN reviews c ON c.listing_id = gone.id",
                "DELETE c FROM gone STRAIGHT_JOIN listings c ON c.id = gone.id",
            ] },
        ]
    }

    async fn take(&self, port: u16, way: &ByHand, numbers: &[String]) -> anyhow::Result<f64> {
        let mut connection = MySqlConnection::connect(&self.url(port)).await?;
        let list = serde_json::to_string(numbers)?;
        let began = Instant::now();
        let mut transaction = connection.begin().await?;
        let mut gone = 0;
        for statement in way.statements {
            let query = sqlx::query(*statement);
            let query = if statement.contains('?') { query.bind(&list) } else { query };
            gone = query.execute(&mut *transaction).await?.rows_affected();
        }
        transaction.commit().await?;
        let seconds = began.elapsed().as_secs_f64();
        anyhow::ensure!(gone == way.told * numbers.len() as u64, "by hand, {gone} went");
        Ok(seconds)
    }

    fn clears(&self) -> bool {
        true
    }

    async fn cleared(&self, port: u16) -> anyhow::Result<bool> {
        let mut connection = MySqlConnection::connect(&self.url(port)).await?;
        let status = sqlx::query("SHOW ENGINE INNODB STATUS").fetch_one(&mut connection).await?;
        let status: String = status.try_get("Status")?;
        connection.close().await?;
        Ok(status.contains("state: running but idle") && status.contains("History list length 0\n"))
    }
}
