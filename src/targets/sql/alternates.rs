//! From another identifier to the key of the record that has it.
//!
//! A read of its own before a deletion, and no part of it: what is deleted is the key that was found, and the
//! journal holds that. It never guesses: an identifier that two records have leads to none of them.

use super::apply::{Prepared, read};
use super::key;
use super::plan::{Field, Plan};
use super::session::{Access, Session, Sql};
use super::words::{self, ARGUMENT, EXACTLY};
use crate::domain::{Entity, Key};
use crate::targets::{Identified, TargetError};

/// For each identifier, in order, the key of the record that has it.
pub async fn look_up(
    session: &mut dyn Session,
    prepared: &Prepared,
    entity: &Entity,
    alternate: &str,
    identifiers: &[Key],
) -> Result<Vec<Identified>, TargetError> {
    let unfit = |reason: String| TargetError::Misconfigured(format!("{entity}: {reason}"));
    let plan = match prepared.get(entity) {
        Some(Ok((plan, _))) => plan,
        Some(Err(reason)) => return Err(unfit(reason.clone())),
        None => return Err(unfit("no table is configured for it".to_owned())),
    };
    let fields = match plan.alternates.get(alternate) {
        Some(Ok(fields)) => fields,
        Some(Err(reason)) => return Err(unfit(reason.clone())),
        None => return Err(unfit(format!("it has no identifier {alternate:?}"))),
    };
    let statement = statement(plan, fields);
    session.begin(Access::Read).await?;
    let mut found = Vec::with_capacity(identifiers.len());
    let result = async {
        for identifier in identifiers {
            found.push(one(session, &statement, fields, identifier).await?);
        }
        Ok(())
    }
    .await;
    session.rollback().await?;
    result.map(|()| found)
}

async fn one(
    session: &mut dyn Session,
    statement: &Sql,
    fields: &[Field],
    identifier: &Key,
) -> Result<Identified, TargetError> {
    let parts = identifier.parts();
    let bound = parts.iter().zip(fields).map(|(part, field)| key::bind(part, field.affinity));
    let Some(args) = bound.collect::<Option<Vec<_>>>().filter(|_| parts.len() == fields.len()) else {
        return Ok(Identified::Unfit);
    };
    let rows: Vec<Vec<Option<String>>> = read(&session.json(statement, args).await?)?;
    let mut rows = rows.into_iter();
    Ok(match (rows.next(), rows.next()) {
        (None, _) => Identified::Nobody,
        (Some(_), Some(_)) => Identified::Several,
        (Some(parts), None) => {
            let key = parts.into_iter().collect::<Option<Vec<_>>>().map(Key::new);
            key.and_then(Result::ok).map_or(Identified::Unfit, Identified::Key)
        }
    })
}

/// Answers the keys of two rows at most that have the identifier in the arguments; a row that is marked as
/// deleted has none.
fn statement(plan: &Plan, fields: &[Field]) -> Sql {
    let keys: Vec<String> = plan.key.iter().map(|field| format!("CAST(p.{} AS TEXT)", field.name)).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let columns: Vec<String> = plan.key.iter().map(|field| format!("p.{}", field.name)).collect();
    let matches: Vec<String> = fields
        .iter()
        .map(|field| format!("p.{} = {ARGUMENT} {EXACTLY}", field.name))
        .chain(plan.deleted_at.iter().map(|column| format!("p.{column} IS NULL")))
        .collect();
    let source = format!(
        "(SELECT {} FROM {} p WHERE {} LIMIT 2) p",
        columns.join(", "),
        plan.table,
        matches.join(" AND ")
    );
    words::gathered(&words::tuple(&keys), &source).into()
}
