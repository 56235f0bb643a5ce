//! `expunged reconcile`: one run now, beside the daemon or without it.

use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::Context;
use crate::domain::{Timestamp, timestamp::TimeFormat};
use crate::fold;

/// Which source, and from when.
#[derive(Debug, Args)]
pub struct Reconcile {
    /// The source's name
    #[arg(long)]
    source: String,
    /// Read from this time on, instead of from the checkpoint: 2024-05-16 or 2024-05-16T10:00:00Z
    #[arg(long)]
    since: Option<String>,
    /// Read, and only say what would be new
    #[arg(long)]
    dry_run: bool,
}

impl Reconcile {
    pub async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let since = match &self.since {
            Some(text) => Some(Timestamp::parse(text, TimeFormat::Iso8601).ok_or_else(|| {
                anyhow::anyhow!("--since {text}: write it like 2024-05-16 or 2024-05-16T10:00:00Z")
            })?),
            None => None,
        };
        let parts = context.state().await?;
        let Some(source) = parts.config.sources.iter().find(|source| source.name == self.source) else {
            let names: Vec<_> = parts.config.sources.iter().map(|source| source.name.as_str()).collect();
            anyhow::bail!("no source {}: there is {}", self.source, names.join(", "));
        };
        // Draws on a terminal, and nothing elsewhere.
        let bar = ProgressBar::no_length();
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}, {elapsed}")?);
        let on_page = |pages: u64, records: u64| {
            bar.set_message(format!("{pages} pages, {records} deletions"));
            bar.tick();
        };
        let reconciler = parts.reconciler();
        let report = if self.dry_run {
            reconciler.dry_run(source, since, &on_page).await
        } else {
            reconciler.run(source, since, &on_page).await
        };
        bar.finish_and_clear();
        let report = report?;
        fold::catch_up(&parts.store).await?;
        let run =
            parts.store.runs(Some(&source.name), 1).await?.into_iter().find(|run| Some(run.id) == report.run);
        let counts = report.would_be.or(run.map(|run| run.counts)).unwrap_or_default();
        let verb = if self.dry_run { "would be new" } else { "new" };
        println!(
            "{}: {} pages, {} deletions found, {} {verb}, {} known by webhook, {} known from earlier runs",
            source.name,
            report.walked.pages,
            report.walked.records,
            counts.fresh,
            counts.by_webhook,
            counts.repeated
        );
        if let Some(missed) = counts.missed_by_webhooks() {
            println!("the webhooks had missed {:.1} % of them", missed * 100.0);
        }
        if let Some(checkpoint) = report.walked.covered_until.filter(|_| !self.dry_run) {
            println!("checkpoint: {checkpoint}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
