//! What the operator wrote, as validated types.
//!
//! Reading has two steps: `file` turns TOML (the user's over a preset's) into a tree that knows its lines;
//! `read` turns the tree into the types below and reports every fault at once, each with its place and its
//! mend. This is the only module that reads configuration files and the environment. All keys, with what
//! they do: `config/reference.toml`.

pub mod api;
mod environment;
mod fault;
mod file;
pub mod presets;
mod pull;
mod read;
pub mod secret;
pub mod source;
mod subscriptions;
pub mod target;
mod template;
pub mod token;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use environment::{Environment, ProcessEnvironment};
pub use fault::{ConfigError, Fault, Place};
pub use secret::Secret;
pub use source::Source;
pub use target::Target;
pub use template::{TemplateFault, signed, template};
pub use token::{Scope, Token};

/// A whole, valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub server: Server,
    pub state: State,
    pub brake: Brake,
    pub log: Log,
    /// In the order of their names.
    pub sources: Vec<Source>,
    /// In the order of their names.
    pub targets: Vec<Target>,
}

/// Where the daemon listens, and what it bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Public listener for webhooks.
    pub hooks: SocketAddr,
    /// Operator listener: health, metrics, and the API for those who have a token.
    pub admin: SocketAddr,
    /// The address under which upstreams call us (`https://hooks.example.com`), needed where a signature
    /// covers the URL.
    pub public_url: Option<String>,
    pub limits: Limits,
    /// Who may use the operator's API, in the order of their names; nobody if there is none.
    pub tokens: Vec<Token>,
}

impl Server {
    /// All addresses: upstreams call from outside.
    pub const HOOKS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
    /// Loopback: health, metrics and status ask for no credential.
    pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
}

/// Limits of the front door. Each has a default with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Body of a webhook, bytes. 1 MiB: fifty times what senders are advised to stay under (20 kB).
    pub body_bytes_max: usize,
    /// Time for the head of a request: 5 s.
    pub head_timeout: Duration,
    /// Time for the body of a request: 9 s, so that a stalled connection is closed within 10 s, the shortest patience
    /// among known senders.
    pub body_timeout: Duration,
    /// Open connections: 16,384, so that ten thousand idle ones do not keep real deliveries out.
    pub connections_max: usize,
    /// Requests being worked on: 1,024; more get 503 and `Retry-After`.
    pub in_flight_max: usize,
    /// Time for open requests and batches to end after SIGTERM: 20 s, under systemd's 90 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(9),
            connections_max: 16_384,
            in_flight_max: 1_024,
            drain_timeout: Duration::from_secs(20),
        }
    }
}

/// Where our own state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The journal's database file (`sqlite://…`). The projections lie beside it and can be rebuilt from it.
    pub path: PathBuf,
    /// How long raw bodies are kept beside the journal: 30 days.
    pub bodies_kept: Duration,
    /// Deliveries that wait for the journal: 8,192, about one second's worth; more get 503.
    pub queue_max: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            path: PathBuf::from("data/expunged.db"),
            bodies_kept: Duration::from_hours(30 * 24),
            queue_max: 8_192,
        }
    }
}

/// The first brake.
#[derive(Clone, Debug, PartialEq)]
pub struct Brake {
    pub on: bool,
    /// Rows of one entity that may always go within the window: 100.
    pub rows: u64,
    /// Share of the mirrored rows that may go within the window, percent: 2.
    pub percent: f64,
    /// 24 hours.
    pub window: Duration,
}

impl Default for Brake {
    fn default() -> Self {
        Self { on: true, rows: 100, percent: 2.0, window: Duration::from_hours(24) }
    }
}

/// How the daemon logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

#[cfg(test)]
mod tests;
