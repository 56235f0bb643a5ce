//! MariaDB, which runs as whoever starts it.

use std::path::{Path, PathBuf};
use std::process::Command;

use async_trait::async_trait;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::{Database, Kind, Shared, tool};

/// Where Debian keeps the server, besides the path.
const DEBIAN: &str = "/usr/sbin";

pub struct MariaDb;

static SHARED: Shared = Shared::const_new();

/// A fresh database.
pub async fn database() -> Option<Database> {
    super::database(&MariaDb, &SHARED).await
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(DEBIAN)]);
    folders.map(|folder| folder.join(name)).find(|file| file.exists())
}

/// Nothing of this machine's own settings.
fn command(name: &str) -> Command {
    let mut command = Command::new(program(name).expect("asked for after `installed`"));
    command.arg("--no-defaults").arg("--user=root");
    command
}

#[async_trait]
impl Kind for MariaDb {
    fn name(&self) -> &'static str {
        "MariaDB"
    }

    fn installed(&self) -> bool {
        program("mariadbd").is_some() && program("mariadb-install-db").is_some()
    }

    fn initialise(&self, folder: &Path) {
        let mut install = command("mariadb-install-db");
        // The script knows this notation alone.
        install.arg(format!("--datadir={}", folder.display()));
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
        tool(install);
    }

    fn command(&self, folder: &Path, port: u16) -> Command {
        let mut command = command("mariadbd");
        command.arg("--datadir").arg(folder).arg("--socket").arg(folder.join("socket"));
        command.arg("--port").arg(port.to_string());
        // No power fails while a test runs.
        command.args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-flush-method=nosync",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            "--max-connections=60",
            "--character-set-server=utf8mb4",
            // The tests write names and texts as in their other databases; a target says what it wants itself.
            "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES",
        ]);
        command
    }

    fn crash(&self) -> &'static str {
        "KILL"
    }

    fn url(&self, port: u16, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{port}/{database}")
    }

    fn home(&self) -> &'static str {
        "mysql"
    }

    async fn execute(&self, url: &str, sql: &str) -> Result<(), String> {
        let mut connection = connect(url).await?;
        let result = connection.execute(AssertSqlSafe(sql)).await;
        connection.close().await.ok();
        result.map(drop).map_err(|error| error.to_string())
    }

    async fn lines(&self, url: &str, sql: &str) -> Result<Vec<String>, String> {
        let mut connection = connect(url).await?;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
        connection.close().await.ok();
        let text = |row: &MySqlRow, index: usize| {
            let bytes = row.try_get_unchecked::<Option<Vec<u8>>, usize>(index).unwrap();
            bytes.map_or("NULL".to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let line =
            |row: &MySqlRow| (0..row.len()).map(|index| text(row, index)).collect::<Vec<_>>().join("|");
        rows.map(|rows| rows.iter().map(line).collect()).map_err(|error| error.to_string())
    }
}

async fn connect(url: &str) -> Result<MySqlConnection, String> {
    let options: MySqlConnectOptions = url.parse().map_err(|error: sqlx::Error| error.to_string())?;
    options.disable_statement_logging().connect().await.map_err(|error| error.to_string())
}
