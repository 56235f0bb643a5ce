//! Runs what a document tells its reader to run.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::logs;

/// A script that is not done by then hangs.
const PATIENCE: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_expunged");

/// A fenced block of a Markdown document.
pub struct Block {
    pub language: String,
    /// Of its first line of text, from 1.
    pub line: usize,
    pub text: String,
}

/// All fenced blocks, in their order.
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in markdown.lines().enumerate() {
        // A block may be part of a list.
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block { language: language.to_owned(), line: at + 2, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// Runs a script in `folder` with the program on its path; panics with its output unless it ends well.
/// Whatever it leaves running is ended.
pub fn sh(script: &str, folder: &Path) {
    let output = folder.join("output.txt");
    let file = File::create(&output).unwrap();
    let mut path = OsString::from(Path::new(PROGRAM).parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut shell = Group(
        Command::new("sh")
            .args(["-eu", "-c", script])
            .current_dir(folder)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap(),
    );
    let status = shell.wait();
    drop(shell);
    let output = fs::read_to_string(&output).unwrap();
    logs::file().write_all(output.as_bytes()).unwrap();
    assert!(status.is_some_and(|success| success), "ended {status:?}:\n{script}\n--- it said:\n{output}");
}

/// A process with all its children, which end with this value.
struct Group(Child);

impl Group {
    /// Whether it ended well; `None` if it did not end.
    fn wait(&mut self) -> Option<bool> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait().unwrap() {
                return Some(status.success());
            }
            thread::sleep(LOOK_EVERY);
        }
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The shell's own `kill`: no other is sure to be there. The group may be gone already.
        let kill = format!("kill -s KILL -- -{} 2>/dev/null", self.0.id());
        Command::new("sh").args(["-c", &kill]).status().ok();
        self.0.wait().ok();
    }
}
