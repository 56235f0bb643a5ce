//! What the tests share: the project's files, the program as a process, and its parts run in this one.

pub mod between;
pub mod code;
pub mod crash;
pub mod logs;
pub mod memory;
pub mod mirror;
pub mod proxy;
pub mod rig;
pub mod secrets;
pub mod servers;
pub mod shell;

use std::path::PathBuf;

/// A file or folder of the project.
pub fn project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of the project.
pub fn text_of(path: &str) -> String {
    let file = project(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
