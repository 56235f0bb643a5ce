//! What the configuration takes from outside its own text: environment variables and files.
//!
//! Behind a trait, so that tests need neither.

use std::io::{self, Read as _};
use std::path::Path;

/// Where secrets and the configuration's text come from.
pub trait Environment {
    /// `None` if the variable is not set, or is not UTF-8.
    fn var(&self, name: &str) -> Option<String>;

    /// # Errors
    /// The file can't be read, or is longer than `bytes_max`.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte more than may be: a device that never ends is noticed, and not read to its end.
        std::fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("longer than {bytes_max} bytes"),
            ));
        }
        Ok(bytes)
    }
}
