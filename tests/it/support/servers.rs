//! Real database servers for one run of the tests: started when the first test asks, ended with the process
//! however it ends, each on a free loopback port and in a folder of its own.
//!
//! A test takes a fresh database of the one server of its kind ([`database`]), or a server of its own that it
//! may kill ([`Server::start`]). Where the programs are missing the test says so and passes, but not where
//! `CI=true`: there a suite that tests nothing must not look like one that holds.

pub mod certificate;
pub mod mariadb;
pub mod pgbouncer;
pub mod postgres;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, ColumnIndex, Connection, Decode, Executor, Row as _};
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell};

/// Starting takes a second, on a machine that does much else minutes.
const PATIENCE: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One product: how its server is made, started and spoken to.
#[async_trait]
pub trait Kind: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// Whether its programs are on this machine.
    fn installed(&self) -> bool;

    /// Makes an empty cluster in `folder`, which is there and empty.
    fn initialise(&self, folder: &Path);

    /// The server's own command; it stays in the foreground.
    fn command(&self, folder: &Path, port: u16) -> Command;

    /// The signal that stops it as a crash does, leaving no process behind.
    fn crash(&self) -> &'static str;

    /// Where a database is, for one who may do everything.
    fn url(&self, port: u16, database: &str) -> String;

    /// The database that is always there.
    fn home(&self) -> &'static str;

    /// Runs statements at `url`, each `Err` with the server's words.
    async fn execute(&self, url: &str, sql: &str) -> Result<(), String>;

    /// One line a row, its columns joined by `|`, NULL as `NULL`. The statement gives text alone.
    async fn lines(&self, url: &str, sql: &str) -> Result<Vec<String>, String>;
}

/// A server, which ends when this is dropped or the process ends.
pub struct Server {
    pub kind: &'static dyn Kind,
    pub port: u16,
    folder: TempDir,
    /// Arguments beside those that all of its kind get.
    more: Vec<String>,
    keeper: Mutex<Option<Keeper>>,
}

/// A shell that waits for a word, and ends the server when it gets one or when its input closes, which is
/// what the end of this process does.
pub struct Keeper {
    shell: Child,
    word: Option<ChildStdin>,
}

/// What a server says, beside its data.
const LOG: &str = "log";

const KEEP: &str = r#"
signal=$1 folder=$2; shift 2
"$@" </dev/null & server=$!
read -r told && signal=$told
kill -s "$signal" "$server"; wait "$server"
[ -n "$told" ] || rm -rf "$folder"
"#;

impl Server {
    /// A server of the test's own.
    pub async fn start(kind: &'static dyn Kind) -> Self {
        Self::start_with(kind, &[]).await
    }

    /// A server of the test's own, with these arguments too.
    pub async fn start_with(kind: &'static dyn Kind, more: &[&str]) -> Self {
        let server = Self::new(kind, more);
        fs::create_dir(server.data()).unwrap();
        kind.initialise(&server.data());
        server.restart().await;
        server
    }

    /// Without data, and not started.
    fn new(kind: &'static dyn Kind, more: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("expunged-server-").tempdir().unwrap();
        let more = more.iter().map(ToString::to_string).collect();
        Self { kind, port: free_port(), folder, more, keeper: Mutex::new(None) }
    }

    /// Starts it again after [`Server::kill`], on the same port and data, and waits until it answers.
    pub async fn restart(&self) {
        let mut server = self.kind.command(&self.data(), self.port);
        server.args(&self.more);
        let keeper = Keeper::start(&server, self.kind.crash(), self.folder.path());
        *self.keeper.lock().await = Some(keeper);
        let url = self.url(self.kind.home());
        let ready = async {
            while self.kind.execute(&url, "SELECT 1").await.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(PATIENCE, ready).await.is_err() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            panic!("{} does not start:\n{log}", self.kind.name());
        }
    }

    /// Stops it as a failure of the machine does, and waits until it is gone; its data stay.
    pub async fn kill(&self) {
        let signal = self.kind.crash();
        let keeper = self.keeper.lock().await.take();
        if let Some(mut keeper) = keeper {
            writeln!(keeper.word.take().unwrap(), "{signal}").unwrap();
            tokio::task::spawn_blocking(move || keeper.shell.wait().unwrap()).await.unwrap();
        }
    }

    /// A database of its own with nothing in it.
    pub async fn database(&self) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let home = self.url(self.kind.home());
        self.kind.execute(&home, &format!("CREATE DATABASE {name}")).await.unwrap();
        Database { kind: self.kind, url: self.url(&name) }
    }

    pub fn url(&self, database: &str) -> String {
        self.kind.url(self.port, database)
    }

    /// Runs statements in the database that is always there.
    pub async fn sql(&self, sql: &str) {
        Database { kind: self.kind, url: self.url(self.kind.home()) }.sql(sql).await;
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join(LOG)
    }
}

impl Keeper {
    /// Starts a server that stays in the foreground. When this process ends, it gets the signal, and the folder
    /// goes.
    pub fn start(server: &Command, signal: &str, folder: &Path) -> Self {
        let log = fs::File::options().create(true).append(true).open(folder.join(LOG)).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", KEEP, "sh", signal]).arg(folder);
        shell.arg(server.get_program()).args(server.get_args());
        shell.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut shell = shell.spawn().unwrap();
        let word = shell.stdin.take();
        Self { shell, word }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.word.take());
        self.shell.wait().ok();
    }
}

/// One database, and the right to do everything in it.
pub struct Database {
    pub kind: &'static dyn Kind,
    pub url: String,
}

impl Database {
    /// Runs statements.
    ///
    /// # Panics
    /// The server refuses one.
    pub async fn sql(&self, sql: &str) {
        self.kind.execute(&self.url, sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    /// One line a row, its columns joined by `|`, NULL as `NULL`.
    pub async fn lines(&self, sql: &str) -> Vec<String> {
        self.kind.lines(&self.url, sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"))
    }
}

/// Whether servers of this kind can be had here; says so if not.
///
/// # Panics
/// They cannot, and `CI=true`.
pub fn available(kind: &dyn Kind) -> bool {
    let installed = kind.installed();
    if !installed {
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!ci, "{} is not installed, and CI=true says that nothing may be left out", kind.name());
        eprintln!("{} is not installed: not tested", kind.name());
    }
    installed
}

/// The one server of a kind that the tests of this process share. Statics are never dropped: the shell that
/// keeps the server sees the end of the process.
pub type Shared = OnceCell<Server>;

/// A fresh database of the shared server.
pub async fn database(kind: &'static dyn Kind, shared: &'static Shared) -> Option<Database> {
    if !available(kind) {
        return None;
    }
    Some(shared.get_or_init(|| Server::start(kind)).await.database().await)
}

pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Runs statements over a connection, which ends with them.
async fn execute<C>(mut connection: C, sql: &str) -> Result<(), String>
where
    C: Connection,
    for<'c> &'c mut C: Executor<'c, Database = C::Database>,
{
    let result = connection.execute(AssertSqlSafe(sql)).await;
    connection.close().await.ok();
    result.map(drop).map_err(|error| error.to_string())
}

/// What a statement that gives texts answers, as [`Kind::lines`] tells it. The connection ends with it.
async fn lines<C>(mut connection: C, sql: &str) -> Result<Vec<String>, String>
where
    C: Connection,
    for<'c> &'c mut C: Executor<'c, Database = C::Database>,
    usize: ColumnIndex<<C::Database as sqlx::Database>::Row>,
    for<'r> Option<String>: Decode<'r, C::Database>,
{
    let rows = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql))).await;
    connection.close().await.ok();
    let line = |row: &<C::Database as sqlx::Database>::Row| {
        let texts = (0..row.len()).map(|index| row.try_get_unchecked::<Option<String>, _>(index).unwrap());
        texts.map(|text| text.unwrap_or("NULL".to_owned())).collect::<Vec<_>>().join("|")
    };
    rows.map(|rows| rows.iter().map(line).collect()).map_err(|error| error.to_string())
}

/// Runs one of a server's tools to its end.
pub fn tool(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}
