//! A daemon as a process, and what it writes to standard error.

#![allow(clippy::unwrap_used, reason = "support of tests")]

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::until;
use crate::support::logs;

/// Where a daemon listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub hooks: SocketAddr,
    pub admin: SocketAddr,
}

/// A process that is killed at the latest when this is dropped.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    pub fn spawn(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (log, lines) = (Arc::default(), BufReader::new(child.stderr.take().unwrap()).lines());
        let written: Arc<Mutex<Vec<String>>> = Arc::clone(&log);
        let mut kept = logs::file();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                writeln!(kept, "{line}").unwrap();
                written.lock().unwrap().push(line);
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything written to standard error so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line, and gives it back.
    pub async fn told(&mut self, text: &str) -> String {
        let mut found = None;
        until(text, async || {
            let ended = self.child.try_wait().unwrap();
            found = self.log().into_iter().find(|line| line.contains(text));
            assert!(found.is_some() || ended.is_none(), "ended without {text:?}: {:#?}", self.log());
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Waits until it listens.
    pub async fn listening(&mut self) -> Addresses {
        let line = self.told("\"message\":\"listening\"").await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        Addresses { hooks: address("hooks"), admin: address("admin") }
    }

    /// SIGKILL: nothing of the process's own runs after this.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let told = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    /// Waits for the end; the exit code and all that was written.
    pub async fn ended(mut self) -> (i32, String) {
        let mut code = None;
        until("the process to end", async || {
            code = self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1));
            code.is_some()
        })
        .await;
        self.reader.take().unwrap().join().unwrap();
        (code.unwrap(), self.log().join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // An error says that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
