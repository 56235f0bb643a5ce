//! What `check` can say of an API without deleting anything: whether it is there, takes our credential, and lets
//! anything go.

use super::ApiTarget;
use super::sheet::Sheet;
use crate::domain::{Action, Entity, Key, Timestamp};
use crate::targets::{Batch, Finding, Removal, Severity, Wait};

/// Stands for a record in a rehearsal: no vendor has one of that name.
const NOBODY: &str = "expunged-check";
/// A quota under this many is worth a look.
const LOW: u64 = 100;

impl ApiTarget {
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for entity in self.api.entities.keys() {
            let place = format!("targets.{}.entities.{entity}", self.name);
            let reached = match self.reach().await {
                Ok(()) => self.ask_for(entity).await,
                Err(wait) => Err(wait),
            };
            if let Err(wait) = reached {
                let mend =
                    "check base_url, auth and api_key; deletions wait, and no other target waits for them";
                findings.push(finding(Severity::Fault, &place, wait.reason, mend));
            }
            if self.api.quota.total.is_empty() {
                let what =
                    "the vendor counts no records, so the brake goes by other targets, or by brake.rows";
                findings.push(finding(
                    Severity::Note,
                    &place,
                    what,
                    "name quota.stats and quota.total, if it can",
                ));
            }
        }
        if let Some(left) = self.allowance.left() {
            findings.push(self.quota(left));
        }
        findings
    }

    async fn reach(&self) -> Result<(), Wait> {
        self.credential.header().await.map(drop).map_err(|reason| Wait { until: None, reason })
    }

    /// The figures, and a rehearsal where there is one: that a key may read does not mean that it may delete.
    async fn ask_for(&self, entity: &Entity) -> Result<(), Wait> {
        self.figures(entity).await?;
        if self.api.dry_run.is_none() {
            return Ok(());
        }
        let key = Key::new(vec![NOBODY.to_owned(); Key::PARTS_MAX])
            .map_err(|fault| Wait { until: None, reason: fault.to_string() })?;
        let removal =
            Removal { entity: entity.clone(), key, action: Action::Delete, at: Timestamp::default() };
        let batch = Batch { number: 0, removals: vec![removal] };
        let mut sheet = Sheet::new(&self.api, &self.name, &batch);
        for chunk in sheet.chunks() {
            self.dry_run(&sheet, &chunk).await?;
        }
        Ok(())
    }

    fn quota(&self, left: u64) -> Finding {
        let place = format!("targets.{}.quota", self.name);
        let counted = if self.api.quota.counts_deletions() { "deletions" } else { "requests" };
        let what = format!("{left} {counted} are left of the vendor's quota");
        match left {
            0 => finding(
                Severity::Fault,
                &place,
                what,
                "ask the vendor for more; what is due is parked or waits",
            ),
            1..LOW => {
                finding(Severity::Warning, &place, what, "ask the vendor for more before they are used up")
            }
            _ => finding(Severity::Note, &place, what, "nothing to do"),
        }
    }
}

fn finding(severity: Severity, place: &str, what: impl Into<String>, mend: &str) -> Finding {
    Finding { severity, place: place.to_owned(), what: what.into(), mend: mend.to_owned() }
}
