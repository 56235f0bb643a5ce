//! MariaDB, or MySQL in its place: a server that runs as whoever starts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use async_trait::async_trait;
use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};

use super::{Database, Kind, Server, Shared, tool};

/// Names the program of a MySQL server, which takes MariaDB's place.
const PROGRAM: &str = "EXPUNGED_TEST_MYSQL";
/// Where Debian keeps the server, besides the path.
const DEBIAN: &str = "/usr/sbin";

pub struct MariaDb;

static SHARED: Shared = Shared::const_new();

/// A fresh database.
pub async fn database() -> Option<Database> {
    super::database(&MariaDb, &SHARED).await
}

/// The program of MySQL, if it takes the place.
fn mysql() -> Option<PathBuf> {
    std::env::var_os(PROGRAM).map(PathBuf::from)
}

/// Whether it is MySQL that is tested, which has its own words for some things, and other things not at all.
pub fn is_mysql() -> bool {
    mysql().is_some()
}

/// A server, and one that copies from it.
pub async fn pair() -> (Server, Server) {
    let log = ["--server-id=1", "--log-bin"];
    let source = Server::start_with(&MariaDb, &log).await;
    let replica = Server::start_with(&MariaDb, &["--server-id=2"]).await;
    let port = source.port;
    let follow = if is_mysql() {
        format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='root',
             GET_SOURCE_PUBLIC_KEY=1; START REPLICA"
        )
    } else {
        format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='root'; START REPLICA"
        )
    };
    replica.sql(&follow).await;
    (source, replica)
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(DEBIAN)]);
    folders.map(|folder| folder.join(name)).find(|file| file.exists())
}

/// Nothing of this machine's own settings.
fn command(name: &str) -> Command {
    let program = mysql().or_else(|| program(name)).expect("asked for after `installed`");
    let mut command = Command::new(program);
    command.arg("--no-defaults").arg("--user=root");
    command
}

/// Has temporary files beside the server's own: one that starts removes what it finds, and it is others' in `/tmp`.
fn with_own_tmp(command: &mut Command, folder: &Path) {
    let own = folder.with_file_name("tmp");
    fs::create_dir_all(&own).unwrap();
    command.env("TMPDIR", own);
}

/// MySQL knows root of the socket alone, and MariaDB's script root of the network too.
fn initialise_mysql(folder: &Path) {
    let file = folder.with_file_name("init.sql");
    let root = "root@'127.0.0.1'";
    let sql = format!("CREATE USER {root};\nGRANT ALL ON *.* TO {root} WITH GRANT OPTION;\n");
    fs::write(&file, sql).unwrap();
    let mut server = command("mysqld");
    with_own_tmp(&mut server, folder);
    server.arg("--initialize-insecure").arg("--datadir").arg(folder).arg("--init-file").arg(file);
    tool(server);
}

/// Settings of one of the two alone: how large their logs are, and what is not needed.
const MARIADB_SETTINGS: [&str; 1] = ["--innodb-log-file-size=32M"];
const MYSQL_SETTINGS: [&str; 4] =
    ["--innodb-redo-log-capacity=32M", "--secure-file-priv=NULL", "--mysqlx=OFF", "--sync-binlog=0"];

#[async_trait]
impl Kind for MariaDb {
    fn name(&self) -> &'static str {
        if is_mysql() { "MySQL" } else { "MariaDB" }
    }

    fn installed(&self) -> bool {
        is_mysql() || program("mariadbd").is_some() && program("mariadb-install-db").is_some()
    }

    fn initialise(&self, folder: &Path) {
        if is_mysql() {
            return initialise_mysql(folder);
        }
        let mut install = command("mariadb-install-db");
        with_own_tmp(&mut install, folder);
        // The script knows this notation alone.
        install.arg(format!("--datadir={}", folder.display()));
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
        tool(install);
    }

    fn command(&self, folder: &Path, port: u16) -> Command {
        let mut command = command("mariadbd");
        with_own_tmp(&mut command, folder);
        command.arg("--datadir").arg(folder).arg("--socket").arg(folder.join("socket"));
        command.arg("--port").arg(port.to_string());
        // No power fails while a test runs.
        command.args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-flush-method=nosync",
            "--innodb-buffer-pool-size=64M",
            "--max-connections=60",
            "--character-set-server=utf8mb4",
            // The tests write names and texts as in their other databases; a target says what it wants itself.
            "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES",
        ]);
        if is_mysql() {
            command.args(MYSQL_SETTINGS);
        } else {
            command.args(MARIADB_SETTINGS);
        }
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
        super::execute(connect(url).await?, sql).await
    }

    async fn lines(&self, url: &str, sql: &str) -> Result<Vec<String>, String> {
        super::lines(connect(url).await?, sql).await
    }
}

async fn connect(url: &str) -> Result<MySqlConnection, String> {
    let options: MySqlConnectOptions = url.parse().map_err(|error: sqlx::Error| error.to_string())?;
    options.disable_statement_logging().connect().await.map_err(|error| error.to_string())
}

/// A server that starts removes all that servers left in the folder of temporary files, and does not ask whose it is.
#[tokio::test]
async fn a_server_s_temporary_files_are_out_of_the_reach_of_others() {
    if let Some(database) = database().await {
        let folder = database.lines("SELECT @@tmpdir").await;
        assert!(folder[0].contains("/expunged-server-"), "{folder:?}");
    }
}
