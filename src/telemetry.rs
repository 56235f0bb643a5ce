//! How the daemon speaks to those who run it: log lines and metrics.
//!
//! Nothing here decides anything, and no line or label holds a secret, a body or a customer's data (I10).

pub mod metrics;

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

pub use metrics::{Known, Metrics};

use crate::config::{Log, LogFormat, LogLevel};

/// A subscriber stands already.
#[derive(Debug, thiserror::Error)]
#[error("logging is set up already")]
pub struct LoggingFault;

/// Writes log lines to standard error: our own from the configured level, those of libraries from `warn`.
///
/// # Errors
/// The process has a subscriber already.
pub fn init_logging(log: &Log) -> Result<(), LoggingFault> {
    let terminal = io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    subscriber(log.level, json, terminal, io::stderr).try_init().map_err(|_| LoggingFault)
}

/// What writes log lines to `writer`: our own from a level, those of libraries from `warn` on at the most.
pub fn subscriber<W>(level: LogLevel, json: bool, colours: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let filter =
        Targets::new().with_default(LevelFilter::WARN.min(own)).with_target(env!("CARGO_CRATE_NAME"), own);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if json {
        Box::new(lines.json().flatten_event(true).with_current_span(true).with_span_list(false))
    } else {
        Box::new(lines.with_ansi(colours))
    };
    Registry::default().with(lines.with_filter(filter))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(level: LogLevel, json: bool) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        with_default(subscriber(level, json, false, move || writer.clone()), || {
            tracing::debug!("ours, debug");
            tracing::info!(source = "repliers", "ours, info");
            tracing::error!("ours, error");
            tracing::info!(target: "hyper::proto", "theirs, info");
            tracing::warn!(target: "hyper::proto", "theirs, warn");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn our_lines_come_from_the_configured_level_and_those_of_libraries_from_warn() {
        let tells = |level, expected: &[&str]| {
            let lines = written(level, false);
            assert_eq!(lines.len(), expected.len(), "{lines:#?}");
            for (line, text) in lines.iter().zip(expected) {
                assert!(line.contains(text), "{line}");
            }
        };
        tells(LogLevel::Debug, &["ours, debug", "ours, info", "ours, error", "theirs, warn"]);
        tells(LogLevel::Info, &["ours, info", "ours, error", "theirs, warn"]);
        tells(LogLevel::Error, &["ours, error"]);
    }

    #[test]
    fn json_lines_are_flat_objects() {
        let lines = written(LogLevel::Info, true);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["message"], "ours, info");
        assert_eq!(line["source"], "repliers");
        assert_eq!(line["level"], "INFO");
    }
}
