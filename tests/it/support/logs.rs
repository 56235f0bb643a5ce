//! The logs of a run of the tests: one folder, which is searched in the end for what no log may hold (I10).
//!
//! What a process writes to standard error is kept there under the name of the test that started it, and what
//! the program's parts log within this process, at its most talkative, in one file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};

use expunged::config::LogLevel;
use expunged::telemetry;

use super::secrets;

/// What the parts log within this process.
const OF_PARTS: &str = "parts.log";

/// Where the logs go.
pub fn folder() -> PathBuf {
    let given = std::env::var_os("EXPUNGED_TEST_LOGS").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("logs"));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A new file for what a process says, in place of the same one of the run before.
pub fn file() -> File {
    static FILES: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    // A test runs in a thread of its name.
    let test = std::thread::current().name().unwrap_or("unnamed").replace("::", ".");
    let mut files = FILES.lock().unwrap();
    let number = files.entry(test.clone()).and_modify(|number| *number += 1).or_insert(1);
    File::create(folder().join(format!("{test}.{number}.log"))).unwrap()
}

/// From now on, what the program's parts log in this process is kept.
pub fn of_parts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let file = Arc::new(File::create(folder().join(OF_PARTS)).unwrap());
        let subscriber = telemetry::subscriber(LogLevel::Debug, true, false, file);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// What the logs of a folder hold.
#[derive(Debug, Default)]
pub struct Found {
    pub files: usize,
    /// Lines that only the most talkative level writes.
    pub debug_lines: usize,
    /// Where a secret stands: the file, the line from 1, and the secret's name. Never the line itself.
    pub leaks: Vec<String>,
}

/// Looks through all files of a folder, line by line.
pub fn searched(folder: &Path) -> Found {
    let mut found = Found::default();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.files += 1;
        let bytes = fs::read(&path).unwrap();
        for (at, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            found.debug_lines += usize::from(line.contains(r#""level":"DEBUG""#));
            if let Some(name) = secrets::named_in(line) {
                found.leaks.push(format!("{}:{}: {name}", path.display(), at + 1));
            }
        }
    }
    found
}
