//! What would go, table by table: for a person or a program that asks before it deletes.

use super::{DRIVES, EXACTLY, Sql, Writer, count, place, words};

impl Writer<'_> {
    /// The numbers come in the order of `Plan::tables`, since both walk the same tree in the same way.
    pub(super) fn by_table(&self) -> Sql {
        let mut rows = vec!["1".to_owned()];
        for child in &self.plan.children {
            count(child, "p", ("", ""), &mut rows);
        }
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let locator = self.plan.locator.iter().enumerate();
        let same = locator.map(|(index, field)| format!("p.{} = f.{} {EXACTLY}", field.name, place(index)));
        let same = same.collect::<Vec<_>>().join(" AND ");
        let source = format!("{} f {DRIVES} {} p ON {same}", self.found, self.plan.table);
        words::gathered(&words::tuple(&["f.n", &words::tuple(&rows)]), &source).into()
    }
}
