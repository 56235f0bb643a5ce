//! PgBouncer in transaction mode: each transaction may get another connection to the server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use super::{Keeper, free_port, postgres, tool};

const LOOK_EVERY: Duration = Duration::from_millis(20);

pub struct PgBouncer {
    pub port: u16,
    _keeper: Keeper,
    _folder: TempDir,
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("pgbouncer")).find(|file| file.exists())
}

impl PgBouncer {
    /// In front of the server at this address; `None` if it is not installed, which `CI=true` does not allow.
    pub async fn before(url: &str) -> Option<Self> {
        let Some(program) = program() else {
            let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!ci, "PgBouncer is not installed, and CI=true says that nothing may be left out");
            eprintln!("PgBouncer is not installed: not tested");
            return None;
        };
        let url = url::Url::parse(url).unwrap();
        let (server, database) = (url.port().unwrap(), url.path().trim_start_matches('/'));
        let folder = tempfile::Builder::new().prefix("expunged-server-").tempdir().unwrap();
        let port = free_port();
        let ini = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{database} = host=127.0.0.1 port={server} user=owner\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
        );
        std::fs::write(&ini, text).unwrap();
        let mut open = Command::new("chmod");
        open.arg("755").arg(folder.path());
        tool(open);
        let keeper = Keeper::start(&command(&program, &ini), "KILL", folder.path());
        let own = format!("postgres://owner@127.0.0.1:{port}/{database}");
        while PgConnection::connect(&own).await.is_err() && port_is_silent(port).await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Some(Self { port, _keeper: keeper, _folder: folder })
    }
}

async fn port_is_silent(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err()
}

fn command(program: &Path, ini: &Path) -> Command {
    let mut command = postgres::as_user(ini.parent().unwrap(), program);
    command.arg(ini);
    command
}
