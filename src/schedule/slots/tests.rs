//! Compares the slots of every zone with a second way to find them that knows only offsets.

use std::collections::HashSet;

use chrono::{DateTime, Offset};
use chrono_tz::TZ_VARIANTS;

use super::*;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
const FIRST: i64 = 473_385_600; // 1985-01-01
const LAST: i64 = 2_051_222_400; // 2035-01-01

fn at(text: &str) -> Timestamp {
    Timestamp::from_datetime(DateTime::parse_from_rfc3339(text).unwrap().to_utc())
}

fn some_after(slots: &Slots, after: &str, count: usize) -> Vec<String> {
    let mut after = at(after);
    std::iter::from_fn(|| {
        after = slots.next_after(after)?;
        Some(after.to_string())
    })
    .take(count)
    .collect()
}

/// Seconds that local time is ahead of UTC.
fn offset(zone: Tz, at: i64) -> i64 {
    let utc = DateTime::from_timestamp(at, 0).unwrap().naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

/// The instants at which the zone's offset changes, with the offsets before and after. Looks every five days.
fn transitions(zone: Tz) -> Vec<(i64, i64, i64)> {
    let mut found = Vec::new();
    let (mut from, mut before) = (FIRST, offset(zone, FIRST));
    while from < LAST {
        let to = from + 5 * DAY;
        let after = offset(zone, to);
        if after != before {
            let (mut low, mut high) = (from, to);
            while high - low > 1 {
                let middle = low.midpoint(high);
                if offset(zone, middle) == before { low = middle } else { high = middle }
            }
            found.push((high, before, offset(zone, high)));
        }
        (from, before) = (to, offset(zone, to));
    }
    found
}

/// Local slots: every `every` seconds of local time, `phase` seconds after a multiple of it.
struct Rule {
    slots: &'static str,
    every: i64,
    phase: i64,
}

const RULES: [Rule; 3] = [
    Rule { slots: "0 30 2 * * *", every: DAY, phase: 150 * MINUTE },
    Rule { slots: "0 0 * * * *", every: 60 * MINUTE, phase: 0 },
    Rule { slots: "0 */30 * * * *", every: 30 * MINUTE, phase: 0 },
];

/// Walks minute by minute and notes when local time reaches a slot for the first time. `top` starts at the
/// highest local time that was shown before.
fn walk(zone: Tz, rule: &Rule, from: i64, to: i64) -> Vec<i64> {
    let number = |local: i64| (local - rule.phase).div_euclid(rule.every);
    let mut top = (from - 30 * 60 * MINUTE..=from)
        .step_by(usize::try_from(15 * MINUTE).unwrap())
        .map(|at| at + offset(zone, at))
        .max()
        .unwrap();
    let mut reached = Vec::new();
    for at in (from + MINUTE..=to).step_by(usize::try_from(MINUTE).unwrap()) {
        let local = at + offset(zone, at);
        if local > top {
            if number(local) > number(top) {
                reached.push(at);
            }
            top = local;
        }
    }
    reached
}

fn chain(slots: &Slots, from: i64, to: i64) -> Vec<i64> {
    let mut after = Timestamp::from_seconds(from);
    let mut found = Vec::new();
    while let Some(slot) = slots.next_after(after) {
        assert!(slot > after, "{slots:?}: {slot} does not follow {after}");
        if slot.seconds() > to {
            break;
        }
        found.push(slot.seconds());
        after = slot;
    }
    found
}

#[test]
fn every_slot_comes_once_in_every_zone_over_fifty_years() {
    let mut seen = HashSet::new();
    let mut looked_at = 0;
    for zone in TZ_VARIANTS {
        let changes = transitions(zone);
        if !seen.insert((offset(zone, FIRST), changes.clone())) {
            continue; // another name for a zone that was looked at
        }
        for rule in &RULES {
            let slots = Slots::parse(rule.slots, zone.name()).unwrap();
            for (change, before, after) in &changes {
                // Whole minutes, from well before the change to after its effect on local time has passed.
                let reach = (before - after).abs() + 90 * MINUTE;
                let (from, to) = (change - reach, change + reach);
                assert_eq!(
                    chain(&slots, from, to),
                    walk(zone, rule, from, to),
                    "{zone} {} {change}",
                    rule.slots
                );
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 20_000, "only {looked_at} changes were looked at");
}

#[test]
fn every_slot_comes_once_on_ordinary_days() {
    for zone in TZ_VARIANTS.iter().step_by(37) {
        for rule in &RULES {
            let slots = Slots::parse(rule.slots, zone.name()).unwrap();
            for year in (0..50).step_by(13) {
                let from = FIRST + year * 365 * DAY + 100 * DAY;
                assert_eq!(
                    chain(&slots, from, from + 2 * DAY),
                    walk(*zone, rule, from, from + 2 * DAY),
                    "{zone}"
                );
            }
        }
    }
}

#[test]
fn a_slot_in_a_gap_comes_when_the_gap_ends_and_one_in_an_overlap_the_first_time() {
    let daily = Slots::parse("0 30 2 * * *", "America/Toronto").unwrap();
    assert_eq!(
        some_after(&daily, "2026-03-07T12:00:00Z", 2),
        ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
        "02:30 does not exist on 8 March"
    );
    let early = Slots::parse("0 30 1 * * *", "America/Toronto").unwrap();
    assert_eq!(
        some_after(&early, "2026-10-31T12:00:00Z", 2),
        ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
        "01:30 comes twice on 1 November"
    );
}

#[test]
fn a_day_that_a_zone_left_out_gives_its_slot_at_the_next_midnight() {
    let daily = Slots::parse("0 30 2 * * *", "Pacific/Apia").unwrap();
    assert_eq!(
        some_after(&daily, "2011-12-29T20:00:00Z", 2),
        ["2011-12-30T10:00:00Z", "2011-12-30T12:30:00Z"],
        "30 December 2011 does not exist there"
    );
}

#[test]
fn starting_within_the_second_pass_of_an_overlap_repeats_nothing() {
    let hourly = Slots::parse("0 */30 * * * *", "Europe/Berlin").unwrap();
    assert_eq!(some_after(&hourly, "2026-10-25T01:10:00Z", 1), ["2026-10-25T02:00:00Z"]);
}

#[test]
fn a_fraction_of_a_second_neither_skips_nor_repeats_a_slot() {
    let slots = Slots::parse("0 15 3 * * *", "UTC").unwrap();
    assert_eq!(some_after(&slots, "2026-01-01T03:14:59.999999Z", 1), ["2026-01-01T03:15:00Z"]);
    assert_eq!(some_after(&slots, "2026-01-01T03:15:00Z", 1), ["2026-01-02T03:15:00Z"]);
    assert_eq!(some_after(&slots, "2026-01-01T03:15:00.000001Z", 1), ["2026-01-02T03:15:00Z"]);
}

#[test]
fn faults_are_named() {
    for bad in ["", "15 3 * * *", "0 61 3 * * *", "0 0 3 * * * 2030", "daily"] {
        let fault = Slots::parse(bad, "UTC").unwrap_err();
        assert!(matches!(fault, ScheduleFault::Expression { .. }), "{bad}: {fault}");
    }
    assert_eq!(
        Slots::parse("0 0 3 * * *", "Mars/Olympus").unwrap_err(),
        ScheduleFault::Zone("Mars/Olympus".to_owned())
    );
    assert_eq!(
        Slots::parse("0 0 3 30 2 *", "UTC").unwrap_err(),
        ScheduleFault::Never("0 0 3 30 2 *".to_owned())
    );
    assert!(Slots::parse("0 0 3 29 2 *", "UTC").is_ok(), "a leap day comes");
}

#[test]
fn a_run_is_missed_if_a_slot_lies_between_the_last_run_and_now() {
    let slots = Slots::parse("0 15 3 * * *", "UTC").unwrap();
    let missed = |last: &str, now: &str| slots.missed(Some(at(last)), at(now));
    assert!(!missed("2026-01-01T03:15:00Z", "2026-01-02T03:14:59Z"));
    assert!(missed("2026-01-01T03:15:00Z", "2026-01-02T03:15:00Z"));
    assert!(!missed("2026-01-05T00:00:00Z", "2026-01-01T00:00:00Z"), "the clock went back");
    assert!(slots.missed(None, at("2026-01-01T00:00:00Z")), "it never ran");
}
