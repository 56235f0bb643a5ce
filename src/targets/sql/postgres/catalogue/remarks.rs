//! What PostgreSQL alone has to say about a table: rules, row security, partitions, inheritance, privileges.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;
use sqlx::{Error, Row};

use super::super::beside;
use super::{Relation, rows};
use crate::targets::Severity;
use crate::targets::sql::catalogue::Remark;
use crate::targets::sql::session::Beside;

/// Rules of deletions and updates.
const RULES: &str = "SELECT ev_class::pg_catalog.int8,
      pg_catalog.string_agg(rulename::pg_catalog.text, ', ' ORDER BY rulename)
    FROM pg_catalog.pg_rewrite WHERE ev_class = ANY ($1::pg_catalog.oid[]) AND ev_type IN ('2', '4')
      AND ev_enabled <> 'D' GROUP BY 1";

const TABLES: &str = "SELECT c.oid::pg_catalog.int8, pg_catalog.row_security_active(c.oid),
      c.relispartition, c.relkind = 'r' AND EXISTS (SELECT 1 FROM pg_catalog.pg_inherits h
        WHERE h.inhparent = c.oid AND NOT c.relispartition),
      pg_catalog.has_table_privilege(c.oid, 'SELECT'), pg_catalog.has_table_privilege(c.oid, 'UPDATE'),
      pg_catalog.has_table_privilege(c.oid, 'DELETE'), current_user::pg_catalog.text,
      c.relpersistence::pg_catalog.text
    FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::pg_catalog.oid[])";

/// # Errors
/// As the driver gives them.
pub async fn read(
    connection: &mut PgConnection,
    relations: &mut BTreeMap<i64, Relation>,
    oids: &str,
    configured: &str,
) -> Result<(), Error> {
    for row in rows(connection, RULES, oids.to_owned()).await? {
        let Some(relation) = relations.get_mut(&row.try_get(0)?) else { continue };
        let (name, rules): (_, String) = (relation.name.clone(), row.try_get(1)?);
        relation.remarks.push(Remark {
            severity: Severity::Fault,
            what: format!("rules of table {name:?} ({rules}) rewrite the deletion into something else: it is refused, since what it did could not be told"),
            mend: "replace the rule by a trigger, or name the table that it writes to".to_owned(),
        });
    }
    for row in rows(connection, TABLES, oids.to_owned()).await? {
        let Some(relation) = relations.get_mut(&row.try_get(0)?) else { continue };
        let facts = Facts {
            secured: row.try_get(1)?,
            partition: row.try_get(2)?,
            inherited: row.try_get(3)?,
            privileges: [row.try_get(4)?, row.try_get(5)?, row.try_get(6)?],
            user: row.try_get(7)?,
            unlogged: row.try_get::<&str, _>(8)? == "u",
        };
        let remarks = facts.remarks(relation);
        relation.remarks.extend(remarks);
    }
    for (oid, beside) in beside::look(connection, oids.to_owned(), configured).await? {
        let Some(relation) = relations.get_mut(&oid) else { continue };
        let remark = detached(&relation.name, &beside);
        relation.remarks.push(remark);
    }
    Ok(())
}

fn detached(name: &str, Beside { table, readable }: &Beside) -> Remark {
    let (until, grant) = if *readable {
        ("a record whose row is in there waits", "")
    } else {
        ("records that are not found wait, since this user may not look into it", "; or GRANT SELECT on it")
    };
    Remark {
        severity: Severity::Warning,
        what: format!(
            "{table} looks like a partition that was detached from {name:?} with its rows: {until}"
        ),
        mend: format!("attach it again, drop it, or move it to another schema{grant}"),
    }
}

#[allow(clippy::struct_excessive_bools, reason = "what the catalogue answers, one by one")]
struct Facts {
    secured: bool,
    partition: bool,
    inherited: bool,
    /// SELECT, UPDATE, DELETE.
    privileges: [bool; 3],
    user: String,
    unlogged: bool,
}

impl Facts {
    fn remarks(&self, relation: &Relation) -> Vec<Remark> {
        let mut remarks = Vec::new();
        let mut say = |severity, what: String, mend: String| remarks.push(Remark { severity, what, mend });
        let (name, user) = (&relation.name, super::quoted(&self.user));
        if self.secured {
            say(
                Severity::Fault,
                format!(
                    "row security hides rows of {name:?} from this user: the database refuses every statement, since a hidden row would look like one that is gone"
                ),
                format!("ALTER ROLE {user} BYPASSRLS; or connect as the owner of the table"),
            );
        }
        if self.partition {
            say(
                Severity::Warning,
                format!(
                    "{name:?} is one partition of another table: rows in the others are told as not found"
                ),
                "name the partitioned table".to_owned(),
            );
        }
        if self.inherited {
            say(
                Severity::Warning,
                format!(
                    "other tables inherit from {name:?}: their rows go too, and no index keeps a key unique over all of them"
                ),
                "name the tables one by one, or partition instead".to_owned(),
            );
        }
        if self.unlogged {
            say(
                Severity::Note,
                format!("{name:?} is UNLOGGED: it is empty after a crash of the server"),
                "nothing, if that is meant".to_owned(),
            );
        }
        let missing = ["SELECT", "UPDATE", "DELETE"].into_iter().zip(self.privileges);
        let missing: Vec<&str> = missing.filter(|(_, has)| !has).map(|(name, _)| name).collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            say(
                Severity::Warning,
                format!(
                    "this user may not {missing} on {name:?}: deletions that need it fail (a row is locked before it goes, which needs UPDATE)"
                ),
                format!("GRANT {missing} ON {} TO {user};", relation.sql),
            );
        }
        remarks
    }
}
