//! Loading whole configurations: the examples, the presets, and what a fault looks like.

mod api;
mod faults;
mod loading;
mod presets;
mod reference;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::{Config, Environment};

/// Variables and files by name.
#[derive(Default)]
struct Given(HashMap<&'static str, Vec<u8>>);

impl Given {
    fn with(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.0.insert(name, value.into());
        self
    }
}

impl Environment for Given {
    fn var(&self, name: &str) -> Option<String> {
        String::from_utf8(self.0.get(name)?.clone()).ok()
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let bytes = self.0.get(path.to_str().unwrap()).ok_or(io::ErrorKind::NotFound)?;
        assert!(bytes.len() as u64 <= bytes_max);
        Ok(bytes.clone())
    }
}

const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// All that the texts of these tests ask for.
fn given() -> Given {
    Given::default()
        .with("SECRET", "a secret of good length")
        .with("BASIC", "user:a password")
        .with("STANDARD", STANDARD_SECRET)
        .with("SHORT", "1234567")
        .with("EMPTY", "")
        .with("BROKEN", "a secret\nof two lines")
        .with("/run/secret", "a secret of good length\n")
        .with("/run/empty", "\n")
}

fn parse(text: &str) -> Result<Config, Vec<String>> {
    parse_in(text, &given())
}

fn parse_in(text: &str, given: &Given) -> Result<Config, Vec<String>> {
    Config::parse(text, "t.toml", given)
        .map_err(|error| error.to_string().lines().map(ToOwned::to_owned).collect())
}
