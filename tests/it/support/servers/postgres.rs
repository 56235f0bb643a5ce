//! PostgreSQL, which refuses to run as root: then it runs as the user `postgres`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::{Database, Kind, Shared, tool};

/// Where Debian keeps the programs of each major version.
const DEBIAN: &str = "/usr/lib/postgresql";
const USER: &str = "postgres";

pub struct Postgres;

static SHARED: Shared = Shared::const_new();

/// A fresh database.
pub async fn database() -> Option<Database> {
    super::database(&Postgres, &SHARED).await
}

/// The folder of the programs: that of the newest version, or whatever is on the path.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map(|version| Path::new(DEBIAN).join(version.to_string()).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest.into_iter().chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").exists())
}

/// A program of the server's, as a user that it accepts.
fn program(name: &str, folder: &Path) -> Command {
    as_user(folder, &programs().expect("asked for after `installed`").join(name))
}

/// A program as another user where `folder` is root's, who is refused.
pub fn as_user(folder: &Path, file: &Path) -> Command {
    if std::fs::metadata(folder).unwrap().uid() == 0 {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--init-groups"]).arg(file);
        return command;
    }
    Command::new(file)
}

#[async_trait]
impl Kind for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn installed(&self) -> bool {
        programs().is_some()
    }

    fn initialise(&self, folder: &Path) {
        let parent = folder.parent().unwrap();
        let root = std::fs::metadata(parent).unwrap().uid() == 0;
        if root {
            let mut own = Command::new("chown");
            own.args([USER]).arg(folder);
            tool(own);
            let mut open = Command::new("chmod");
            open.args(["711"]).arg(parent);
            tool(open);
        }
        let mut initdb = program("initdb", parent);
        initdb.args(["--no-sync", "--auth=trust", "--username=owner", "--encoding=UTF8", "--locale=C.UTF-8"]);
        initdb.arg("--pgdata").arg(folder).current_dir("/");
        tool(initdb);
    }

    fn command(&self, folder: &Path, port: u16) -> Command {
        let mut command = program("postgres", folder.parent().unwrap());
        command.arg("-D").arg(folder).arg("-k").arg(folder).arg("-p").arg(port.to_string());
        // No power fails while a test runs.
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "shared_buffers=32MB",
            "max_connections=60",
            "lc_messages=C",
            "deadlock_timeout=50ms",
        ] {
            command.args(["-c", setting]);
        }
        command
    }

    fn crash(&self) -> &'static str {
        "QUIT"
    }

    fn url(&self, port: u16, database: &str) -> String {
        format!("postgres://owner@127.0.0.1:{port}/{database}")
    }

    fn home(&self) -> &'static str {
        "postgres"
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
        let text = |row: &PgRow, index: usize| {
            row.try_get_unchecked::<Option<String>, usize>(index).unwrap().unwrap_or("NULL".to_owned())
        };
        let line = |row: &PgRow| (0..row.len()).map(|index| text(row, index)).collect::<Vec<_>>().join("|");
        rows.map(|rows| rows.iter().map(line).collect()).map_err(|error| error.to_string())
    }
}

async fn connect(url: &str) -> Result<PgConnection, String> {
    let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| error.to_string())?;
    options.disable_statement_logging().connect().await.map_err(|error| error.to_string())
}
