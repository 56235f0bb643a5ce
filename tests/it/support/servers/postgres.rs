//! PostgreSQL, which refuses to run as root: then it runs as the user `postgres`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use async_trait::async_trait;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::{Database, Kind, Server, Shared, tool};

/// Names the folder of another server's programs, which take the place of this machine's own.
const PROGRAMS: &str = "EXPUNGED_TEST_POSTGRES";
/// Where Debian keeps the programs of each major version.
const DEBIAN: &str = "/usr/lib/postgresql";
const USER: &str = "postgres";

pub struct Postgres;

static SHARED: Shared = Shared::const_new();

/// A fresh database.
pub async fn database() -> Option<Database> {
    super::database(&Postgres, &SHARED).await
}

/// A server that follows `primary`, which is stopped and started for it. It tells every second how far it is.
pub async fn standby(primary: &Server) -> Server {
    let standby = Server::new(&Postgres, &["-c", "wal_receiver_status_interval=1s"]);
    primary.kill().await;
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(primary.data()).arg(standby.data());
    tool(copy);
    enter(standby.folder.path());
    fs::remove_file(standby.data().join("postmaster.pid")).ok();
    fs::write(standby.data().join("standby.signal"), "").unwrap();
    let settings = standby.data().join("postgresql.auto.conf");
    let mut settings = fs::File::options().append(true).open(settings).unwrap();
    writeln!(settings, "primary_conninfo = 'host=127.0.0.1 port={} user=owner'", primary.port).unwrap();
    primary.restart().await;
    standby.restart().await;
    standby
}

/// Gives what is root's to the user that the programs run as.
pub fn own(file: &Path) {
    if fs::metadata(file).unwrap().uid() == 0 {
        let mut own = Command::new("chown");
        own.arg(USER).arg(file);
        tool(own);
    }
}

/// Lets the user that the programs run as into the folder above its data.
fn enter(folder: &Path) {
    let mut open = Command::new("chmod");
    open.args(["711"]).arg(folder);
    tool(open);
}

/// The folder of the programs: the one that is named, that of the newest version, or whatever is on the path.
///
/// # Panics
/// The one that is named has none: another version would be tested than was meant.
fn programs() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(PROGRAMS).map(PathBuf::from) {
        assert!(named.join("initdb").exists(), "{PROGRAMS} names no folder with initdb: {}", named.display());
        return Some(named);
    }
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
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
    if fs::metadata(folder).unwrap().uid() == 0 {
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
        own(folder);
        enter(parent);
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
        super::execute(connect(url).await?, sql).await
    }

    async fn lines(&self, url: &str, sql: &str) -> Result<Vec<String>, String> {
        super::lines(connect(url).await?, sql).await
    }
}

/// A connection, through a pooler too, which knows neither this parameter nor a statement's name.
pub async fn connect(url: &str) -> Result<PgConnection, String> {
    let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| error.to_string())?;
    let options = options.extra_float_digits(None).statement_cache_capacity(0);
    options.disable_statement_logging().connect().await.map_err(|error| error.to_string())
}
