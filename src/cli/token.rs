//! `expunged token`: makes a token for the operator's API. It is printed once, and only its hash is kept.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, ValueEnum};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::print;
use crate::config::{Config, Environment, ProcessEnvironment, Scope, Token as Known};

/// Random bytes of a token: as many as its hash has.
const TOKEN_BYTES: usize = 32;
/// Tells what it is when somebody finds one in a file.
const PREFIX: &str = "expunged_";
/// Bytes of a configuration.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Whose, and what for.
#[derive(Debug, Args)]
pub struct Token {
    /// Who will use it; stands in the journal beside what it asked for
    name: String,
    /// What it may do
    #[arg(long, value_enum, required = true, num_args = 1..)]
    scope: Vec<Allowed>,
    /// Write its lines to the end of the configuration, and print the token alone
    #[arg(long)]
    append: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Allowed {
    /// Look at receipts, tombstones and holds
    Read,
    /// Delete, and ask what a deletion would take
    Delete,
    /// Decide on what the brake holds back
    Approve,
}

impl Allowed {
    const fn scope(self) -> Scope {
        match self {
            Self::Read => Scope::Read,
            Self::Delete => Scope::Delete,
            Self::Approve => Scope::Approve,
        }
    }
}

impl Token {
    pub fn run(mut self, config: &Path, json: bool) -> anyhow::Result<ExitCode> {
        let token = token()?;
        self.scope.sort_unstable();
        self.scope.dedup();
        let lines = self.lines(&token);
        if self.append {
            append(config, &lines)?;
        }
        if json {
            print::json(&json!({ "name": self.name, "token": token, "configuration": lines }))?;
        } else if self.append {
            println!("{token}");
        } else {
            println!("{token}\n\nIt is shown this once. Put these lines into the configuration:\n\n{lines}");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn lines(&self, token: &str) -> String {
        let hash = hex::encode(Known::hash(token.as_bytes()));
        let scopes: Vec<&str> = self.scope.iter().map(|allowed| allowed.scope().as_str()).collect();
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let name = if self.name.bytes().all(bare) { self.name.clone() } else { format!("{:?}", self.name) };
        format!("[server.tokens.{name}]\nsha256 = \"{hash}\"\nscopes = {scopes:?}\n")
    }
}

fn token() -> anyhow::Result<String> {
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<TOKEN_BYTES>()?)))
}

/// Bytes that nobody guesses.
pub(super) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow::anyhow!("there is no randomness to be had"))?;
    Ok(bytes)
}

/// Nothing is written unless the whole of it is a valid configuration.
fn append(file: &Path, lines: &str) -> anyhow::Result<()> {
    let place = file.display().to_string();
    let text = ProcessEnvironment.read(file, TEXT_BYTES_MAX).with_context(|| place.clone())?;
    let text = String::from_utf8(text).with_context(|| place.clone())?;
    let lines = format!("{}\n{lines}", if text.is_empty() || text.ends_with('\n') { "" } else { "\n" });
    Config::parse(&format!("{text}{lines}"), &place, &ProcessEnvironment)
        .context("nothing was written, since this would not load")?;
    let mut file = OpenOptions::new().append(true).open(file).with_context(|| place.clone())?;
    file.write_all(lines.as_bytes()).and_then(|()| file.sync_all()).context(place)
}
