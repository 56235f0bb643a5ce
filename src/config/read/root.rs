//! Reads the whole file: the daemon's own tables, then sources and targets.

use std::path::PathBuf;

use super::super::{Brake, Config, Limits, Log, LogFormat, LogLevel, Server, Source, State, Target};
use super::{Field, Section, check, source, target, token};

const MODES: [(&str, bool); 2] = [("on", true), ("off", false)];

const FORMATS: [(&str, LogFormat); 3] =
    [("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];

const LEVELS: [(&str, LogLevel); 4] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
];

pub(super) fn config(root: &Section<'_>) -> Option<Config> {
    let server = root.table("server", |section| Some(server(section)));
    let state = root.table("state", |section| Some(state(section)));
    let brake = root.table("brake", |section| Some(brake(section)));
    let log = root.table("log", |section| Some(log(section)));
    let mend = "name an upstream, like [sources.repliers] with preset = \"repliers\"";
    let sources: Option<Vec<Source>> = named(root, "sources", mend, source::source);
    let mend = "name a place where copies live, like [targets.replica] with kind = \"sql\"";
    let targets: Option<Vec<Target>> = named(root, "targets", mend, target::target);
    let config = Config {
        server: server?,
        state: state?,
        brake: brake?,
        log: log?,
        // What could not be read has its faults already; the rest is still compared.
        sources: sources.unwrap_or_default(),
        targets: targets.unwrap_or_default(),
    };
    check::config(root.reader, &config);
    Some(config)
}

/// All tables under `key` that can be read, in the order of their names.
fn named<T>(
    root: &Section<'_>,
    key: &'static str,
    mend: &str,
    read: impl Fn(&str, &Field<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let entries = root.required(key, mend, Field::entries)?;
    if entries.is_empty() {
        return root.fault(key, "is empty", mend);
    }
    Some(entries.iter().filter_map(|(name, field)| read(name, field)).collect())
}

fn server(section: &Section<'_>) -> Server {
    let hooks = section.or("hooks", Server::HOOKS, Field::socket_address);
    let admin = section.or("admin", Server::ADMIN, Field::socket_address);
    if hooks == admin && hooks.port() != 0 {
        let mend = "give the operator's listener another port: it must not be public";
        section.fault::<()>("admin", "is the address of server.hooks too", mend);
    }
    Server {
        hooks,
        admin,
        public_url: section.optional("public_url", Field::url),
        limits: section.table("limits", |section| Some(limits(section))).unwrap_or_default(),
        tokens: section.or("tokens", Vec::new(), token::tokens),
    }
}

fn limits(section: &Section<'_>) -> Limits {
    let default = Limits::default();
    Limits {
        body_bytes_max: section
            .or("body_bytes_max", default.body_bytes_max, |field| field.bytes(1_024..=64 << 20)),
        head_timeout: section.or("head_timeout", default.head_timeout, Field::duration),
        body_timeout: section.or("body_timeout", default.body_timeout, Field::duration),
        connections_max: section
            .or("connections_max", default.connections_max, |field| field.integer(1..=1_000_000)),
        in_flight_max: section.or("in_flight_max", default.in_flight_max, |field| field.integer(1..=65_536)),
        drain_timeout: section.or("drain_timeout", default.drain_timeout, Field::duration),
    }
}

fn state(section: &Section<'_>) -> State {
    let default = State::default();
    let path = |field: &Field<'_>| field.sqlite_path(field.text()?).map(PathBuf::from);
    State {
        path: section.or("url", default.path, path),
        bodies_kept: section.or("bodies_kept", default.bodies_kept, Field::duration),
        queue_max: section.or("queue_max", default.queue_max, |field| field.integer(1..=1 << 20)),
    }
}

/// A threshold of zero is one that somebody left out: it means the default, never "unlimited".
fn brake(section: &Section<'_>) -> Brake {
    let default = Brake::default();
    let rows = section.or("rows", 0, |field| field.integer(0..=i64::MAX));
    let percent = section.or("percent", 0.0, Field::percent);
    Brake {
        on: section.or("mode", default.on, |field| field.choice(&MODES)),
        rows: if rows == 0 { default.rows } else { rows },
        percent: if percent > 0.0 { percent } else { default.percent },
        window: section.or("window", default.window, Field::duration),
    }
}

fn log(section: &Section<'_>) -> Log {
    let default = Log::default();
    Log {
        format: section.or("format", default.format, |field| field.choice(&FORMATS)),
        level: section.or("level", default.level, |field| field.choice(&LEVELS)),
    }
}
