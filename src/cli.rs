//! The command line: reads arguments and configuration, runs one command, gives the exit code.
//!
//! 0 done, 1 failed, 2 wrong usage, 78 bad configuration. What a command finds goes to standard output,
//! everything else to standard error.

mod check;
mod delete;
pub mod demo;
mod explain;
mod holds;
mod journal;
mod print;
mod reconcile;
mod sandbox;
mod send;
mod sources;
mod status;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::app::{self, Parts};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, ProcessEnvironment};
use crate::fold;
use crate::lifecycle::Stop;
use crate::store::sqlite::expect_journal;
use crate::telemetry;

/// Exit code of a bad configuration (EX_CONFIG of sysexits.h).
const BAD_CONFIGURATION: u8 = 78;
const FAILED: u8 = 1;

/// Carries deletions from an upstream to every copy of a record, and proves it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// The configuration
    #[arg(long, global = true, default_value = "config/expunged.toml", value_name = "FILE")]
    config: PathBuf,
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve,
    /// Show everything at once, on embedded parts and simulated upstreams
    Demo(demo::Demo),
    /// Validate the configuration, then look at every target
    ///
    /// Deletes nothing, and asks no source, which would spend its requests: `reconcile --dry-run` does.
    Check,
    /// Sign a test deletion as its upstream would, and post it
    Send(send::Send),
    /// Show the sources, subscribe to their webhooks, or unsubscribe
    Sources(sources::Sources),
    /// Read a source's deleted feed from its checkpoint, once
    Reconcile(reconcile::Reconcile),
    /// Delete records by hand, under the same brake
    Delete(delete::Delete),
    /// Show sources, queues, holds and what was done
    Status,
    /// Tell one record's whole story
    Explain(explain::Explain),
    /// Show what the brake held back, and decide
    Holds(holds::Holds),
    /// Verify or export the journal
    Journal(journal::Journal),
    /// Make a token for the API, and the lines of configuration that let it in
    Token(token::Token),
    /// Simulate upstreams and vendors, to rehearse with
    Sandbox(sandbox::Sandbox),
}

/// What every command works with.
struct Context {
    /// The configuration's own file.
    file: PathBuf,
    config: Config,
    clock: SharedClock,
    json: bool,
}

impl Context {
    /// The state as it is. A journal that no daemon has begun is refused: a relative path may mean another one here,
    /// and what is written there is never carried out.
    async fn journal(self) -> anyhow::Result<Parts> {
        expect_journal(&self.config.state.path)?;
        Parts::open(self.config, self.clock, false).await
    }

    /// The state, folded to its end, so that everything there is can be seen.
    async fn state(self) -> anyhow::Result<Parts> {
        let parts = self.journal().await?;
        fold::catch_up(&parts.store).await?;
        Ok(parts)
    }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("expunged: cannot start: {error}");
            return ExitCode::from(FAILED);
        }
    };
    runtime.block_on(run(cli))
}

async fn run(cli: Cli) -> ExitCode {
    let Cli { common, command } = cli;
    let clock: SharedClock = Arc::new(SystemClock);
    let result = match command {
        Command::Demo(demo) => demo.run(clock).await,
        Command::Sandbox(sandbox) => sandbox.run(clock).await,
        Command::Token(token) => token.run(&common.config, common.json),
        command => {
            let config = match Config::load(&common.config, &ProcessEnvironment) {
                Ok(config) => config,
                Err(error) => {
                    eprintln!("{error}");
                    return ExitCode::from(BAD_CONFIGURATION);
                }
            };
            with_config(command, Context { file: common.config, config, clock, json: common.json }).await
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("expunged: {error:#}");
        ExitCode::from(FAILED)
    })
}

async fn with_config(command: Command, context: Context) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => serve(context).await,
        Command::Check => check::run(context).await,
        Command::Send(send) => send.run(context).await,
        Command::Sources(sources) => sources.run(context).await,
        Command::Reconcile(reconcile) => reconcile.run(context).await,
        Command::Delete(delete) => delete.run(context).await,
        Command::Status => status::run(context).await,
        Command::Explain(explain) => explain.run(context).await,
        Command::Holds(holds) => holds.run(context).await,
        Command::Journal(journal) => journal.run(context).await,
        Command::Demo(_) | Command::Sandbox(_) | Command::Token(_) => {
            unreachable!("these need no configuration")
        }
    }
}

async fn serve(context: Context) -> anyhow::Result<ExitCode> {
    telemetry::init_logging(&context.config.log)?;
    let stop = Stop::on_signals()?;
    let ending = app::serve(context.config, context.clock, stop, |_| ()).await?;
    Ok(ExitCode::from(ending.exit_code()))
}
