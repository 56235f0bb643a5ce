//! `expunged journal`: follow the chain from its first entry, or hand it out.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use crate::domain::Seq;
use crate::store::chain::Verifier;
use crate::store::{Entry, SharedStore};

/// Verify, or export.
#[derive(Debug, Args)]
pub struct Journal {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Follow the chain of hashes, and name the first entry that breaks it
    Verify {
        /// A head that an earlier verification printed, kept elsewhere: finds a cut-off end too
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<String>,
    },
    /// Print all entries as JSON, one a line
    Export,
}

const CHUNK: u32 = 1_024;
const CHUNK_BYTES: usize = 8 * 1024 * 1024;

impl Journal {
    pub async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let parts = context.journal().await?;
        match self.command {
            Command::Verify { head } => verify(&parts.store, head.as_deref()).await,
            Command::Export => export(&parts.store).await,
        }
    }
}

async fn each(
    store: &SharedStore,
    mut visit: impl FnMut(&Entry) -> anyhow::Result<()>,
) -> anyhow::Result<Seq> {
    let mut after = 0;
    loop {
        let chunk = store.entries(after, CHUNK, CHUNK_BYTES).await?;
        let Some(last) = chunk.last() else { return Ok(after) };
        after = last.seq;
        chunk.iter().try_for_each(&mut visit)?;
    }
}

async fn verify(store: &SharedStore, kept: Option<&str>) -> anyhow::Result<ExitCode> {
    let kept = kept.map(parse_head).transpose()?;
    let (mut verifier, mut found, mut head) = (Verifier::default(), None, String::new());
    let broken = each(store, |entry| {
        verifier.follow(entry)?;
        head = format!("{}:{}", entry.seq, hex::encode(entry.hash));
        if kept.as_ref().is_some_and(|(seq, _)| *seq == entry.seq) {
            found = Some(hex::encode(entry.hash));
        }
        Ok(())
    })
    .await;
    let entries = match broken {
        Ok(entries) => entries,
        Err(error) => {
            println!("the journal does not verify: {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Some((seq, hash)) = kept
        && found.as_deref() != Some(hash.as_str())
    {
        println!(
            "the journal does not verify: entry {seq} is not the one that was kept; its end was cut or rewritten"
        );
        return Ok(ExitCode::FAILURE);
    }
    println!("the journal verifies: {entries} entries, head {head}");
    Ok(ExitCode::SUCCESS)
}

fn parse_head(text: &str) -> anyhow::Result<(Seq, String)> {
    let parsed = text.split_once(':').and_then(|(seq, hash)| Some((seq.parse().ok()?, hash.to_owned())));
    parsed.ok_or_else(|| anyhow::anyhow!("--head {text}: write it as `journal verify` prints it, SEQ:HASH"))
}

async fn export(store: &SharedStore) -> anyhow::Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    each(store, |entry| {
        let body: Box<serde_json::value::RawValue> = serde_json::from_str(&entry.body)?;
        let line = json!({
            "seq": entry.seq,
            "at": entry.at.to_string(),
            "kind": entry.kind,
            "hash": hex::encode(entry.hash),
        });
        let line = line.to_string();
        // The body exactly as it is hashed.
        writeln!(out, "{},\"body\":{}}}", &line[..line.len() - 1], body.get())?;
        Ok(())
    })
    .await?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
