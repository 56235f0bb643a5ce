//! Reads what comes back from an API, and what it means.

use std::collections::BTreeMap;

use super::super::super::api::{Answer, ErrorMeans, Unlisted, WhenUnproven, WordMeans};
use super::super::{Field, Section};

const WORDS: [(&str, WordMeans); 5] = [
    ("deleted", WordMeans::Deleted),
    ("absent", WordMeans::Absent),
    ("gone", WordMeans::Gone),
    ("failed", WordMeans::Failed),
    ("refused", WordMeans::Refused),
];

const ERRORS: [(&str, ErrorMeans); 6] = [
    ("refused", ErrorMeans::Refused),
    ("credential", ErrorMeans::Credential),
    ("quota", ErrorMeans::Quota),
    ("rate", ErrorMeans::Rate),
    ("down", ErrorMeans::Down),
    ("misconfigured", ErrorMeans::Misconfigured),
];

const UNLISTED: [(&str, Unlisted); 3] =
    [("counted", Unlisted::Counted), ("deleted", Unlisted::Deleted), ("unproven", Unlisted::Unproven)];

const UNPROVEN: [(&str, WhenUnproven); 2] = [("halve", WhenUnproven::Halve), ("park", WhenUnproven::Park)];

pub(super) fn answer(section: &Section<'_>) -> Option<Answer> {
    let accepted = section.or("accepted", Vec::new(), |field| field.all(|field| field.integer(200..=299)));
    let deleted = section.pointers("deleted");
    let items = section.pointers("items");
    let mend = "say what of a record that the answer does not name: \"counted\", \"deleted\" or \"unproven\"";
    let unlisted = section.required("unlisted", mend, |field| field.choice(&UNLISTED));
    if unlisted == Some(Unlisted::Counted) && deleted.is_empty() {
        let mend = "say where the answer counts them, like deleted = \"/deleted_count\"";
        section.fault::<()>("deleted", "missing, while records that are not named go by it", mend);
    }
    if unlisted == Some(Unlisted::Unproven) && items.is_empty() {
        let mend = "say where the answer lists records, like items = \"/results\"";
        section.fault::<()>("items", "missing, so nothing would ever be proven", mend);
    }
    Some(Answer {
        accepted,
        accepted_again: section.or("accepted_again", Answer::ACCEPTED_AGAIN, Field::duration),
        success: section.pointers("success"),
        deleted,
        has_errors: section.pointers("has_errors"),
        items,
        word: section.pointers("word"),
        words: section.or("words", BTreeMap::new(), words),
        otherwise: section.or("otherwise", WordMeans::Failed, |field| field.choice(&WORDS)),
        unproven: section.or("unproven", WhenUnproven::Halve, |field| field.choice(&UNPROVEN)),
        unlisted: unlisted?,
    })
}

fn words(field: &Field<'_>) -> Option<BTreeMap<String, WordMeans>> {
    named(field, &WORDS)
}

pub(super) fn errors(field: &Field<'_>) -> Option<BTreeMap<String, ErrorMeans>> {
    named(field, &ERRORS)
}

fn named<T: Clone>(field: &Field<'_>, choices: &[(&'static str, T)]) -> Option<BTreeMap<String, T>> {
    let entries = field.entries()?.into_iter();
    let named: Vec<_> =
        entries.map(|(name, field)| Some((name.to_owned(), field.choice(choices)?))).collect();
    named.into_iter().collect()
}
