//! The decision, as a function.

use proptest::prelude::*;

use super::*;

fn limits() -> config::Brake {
    config::Brake { on: true, rows: 100, percent: 2.0, window: Duration::from_hours(24) }
}

fn listing() -> Entity {
    Entity::new("listing")
}

fn candidates(rows: &[u64]) -> Vec<Candidate> {
    let number = |index: usize| i64::try_from(index).unwrap();
    rows.iter()
        .enumerate()
        .map(|(index, rows)| Candidate { fact: Fact(number(index), 1), entity: listing(), rows: *rows })
        .collect()
}

fn at(allowed: u64, gone: u64) -> BTreeMap<Entity, Allowance> {
    BTreeMap::from([(listing(), Allowance { allowed, gone, hold: None })])
}

#[test]
fn i5_the_larger_of_the_number_and_the_share_is_allowed() {
    assert_eq!(allowed(&limits(), 1_000), 100);
    assert_eq!(allowed(&limits(), 1_000_000), 20_000);
    assert_eq!(allowed(&limits(), 0), 100);
}

#[test]
fn i5_the_last_row_that_fits_goes_and_the_next_is_held() {
    let decided = decide(&candidates(&[50, 50, 1]), &at(100, 0));
    assert_eq!(decided.released, [Fact(0, 1), Fact(1, 1)]);
    assert_eq!(decided.spent[&listing()], 100);
    assert_eq!((decided.held[0].facts.clone(), decided.held[0].rows), (vec![Fact(2, 1)], 1));
}

#[test]
fn i5_children_count() {
    let decided = decide(&candidates(&[50_001]), &at(100, 0));
    assert!(decided.released.is_empty());
    assert_eq!(decided.held[0].rows, 50_001);
}

#[test]
fn what_takes_no_row_always_passes() {
    let decided = decide(&candidates(&[0, 0]), &at(100, 100));
    assert_eq!(decided.released.len(), 2);
    assert!(decided.spent.is_empty());
}

proptest! {
    #[test]
    fn i5_never_more_than_the_allowance_and_nothing_is_dropped(
        rows in prop::collection::vec(0..200_u64, 0..60),
        gone in 0..300_u64,
        limit in 0..500_u64,
    ) {
        let decided = decide(&candidates(&rows), &at(limit, gone));
        let spent = decided.spent.get(&listing()).copied().unwrap_or(0);
        prop_assert!(spent == 0 || gone + spent <= limit);
        let held: usize = decided.held.iter().map(|set| set.facts.len()).sum();
        prop_assert_eq!(decided.released.len() + held, rows.len());
    }
}
