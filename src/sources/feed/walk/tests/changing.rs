//! Feeds that change while they are read, of every length, page size and order of ties: a walk gives every
//! record that was there throughout, or fails.

use proptest::prelude::*;
use url::Url;

use super::*;

/// What happens between two requests. Not both at once: a record that leaves a page that was read while
/// another comes to a later one shows in no answer.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    /// At this share of the feed, with the time of what stands there.
    Comes(usize),
    Goes(usize),
}

#[derive(Clone, Copy, Debug)]
enum Style {
    Numbered,
    NumberedByTotal,
    Offset,
    /// By key, which no change shifts.
    Cursor,
}

/// A feed in the order of its times.
#[derive(Clone, Debug)]
struct Simulated {
    style: Style,
    size: usize,
    /// Records of the same time come in another order with every request.
    shuffles_ties: bool,
    /// Id and time.
    records: Vec<(u32, u64)>,
    throughout: Vec<u32>,
    changes: Vec<Change>,
    requests: u32,
}

impl Simulated {
    fn answer(&mut self, url: &Url) -> Given {
        if self.requests > 0
            && let Some(change) = self.changes.pop()
        {
            self.change(&change);
        }
        self.requests += 1;
        let number = |name: &str| {
            let found = url.query_pairs().find(|(key, _)| key == name);
            found.map_or(0, |(_, value)| value.parse::<usize>().unwrap())
        };
        let mut sorted = self.records.clone();
        let (salt, shuffles) = (self.requests, self.shuffles_ties && !matches!(self.style, Style::Cursor));
        sorted
            .sort_by_key(|(id, at)| (*at, if shuffles { fingerprint(&(id, salt)) } else { u64::from(*id) }));
        let total = sorted.len();
        let (from, rest) = match self.style {
            Style::Numbered => {
                let page = number("page");
                let pages = total.div_ceil(self.size);
                ((page - 1) * self.size, format!(r#","page":{page},"pages":{pages},"total":{total}"#))
            }
            Style::NumberedByTotal => ((number("page") - 1) * self.size, format!(r#","total":{total}"#)),
            Style::Offset => (number("offset"), format!(r#","total":{total}"#)),
            Style::Cursor => {
                let after = (number("cursor") as u64).checked_sub(1);
                let name = |(id, at): &(u32, u64)| (at << 32) + u64::from(*id);
                let from = sorted.partition_point(|one| after.is_some_and(|after| name(one) <= after));
                let last = sorted.iter().skip(from).take(self.size).next_back();
                let next = last.map_or("null".to_owned(), |last| format!("\"{}\"", name(last) + 1));
                (from, format!(r#","next":{next}"#))
            }
        };
        let one = |(id, at): &(u32, u64)| format!(r#"{{"id":"{id}","at":{at}}}"#);
        let items: Vec<_> = sorted.iter().skip(from).take(self.size).map(one).collect();
        page(&format!(r#"{{"items":[{}]{rest}}}"#, items.join(",")))
    }

    fn change(&mut self, change: &Change) {
        let length = self.records.len();
        match *change {
            Change::Comes(share) => {
                let at = self.records.get(share % length.max(1)).map_or(1, |record| record.1);
                self.records.push((1_000 + self.requests, at));
            }
            Change::Goes(share) if length > 0 => {
                let (gone, _) = self.records.remove(share % length);
                self.throughout.retain(|id| *id != gone);
            }
            Change::Goes(_) | Change::Nothing => {}
        }
    }
}

fn simulated() -> impl Strategy<Value = Simulated> {
    let change = prop_oneof![
        6 => Just(Change::Nothing),
        1 => any::<usize>().prop_map(Change::Comes),
        1 => any::<usize>().prop_map(Change::Goes),
    ];
    let style = prop_oneof![
        Just(Style::Numbered),
        Just(Style::NumberedByTotal),
        Just(Style::Offset),
        Just(Style::Cursor)
    ];
    let times = prop::collection::vec(1..5_u64, 0..25);
    let changes = prop::collection::vec(change, 0..12);
    (style, 1..7_usize, any::<bool>(), times, changes).prop_map(
        |(style, size, shuffles_ties, times, changes)| {
            let records: Vec<(u32, u64)> = (0..).zip(times).collect();
            let throughout = records.iter().map(|(id, _)| *id).collect();
            Simulated { style, size, shuffles_ties, records, throughout, changes, requests: 0 }
        },
    )
}

fn paging(style: Style) -> Paging {
    match style {
        Style::Numbered => by_page("/page", "/pages", "/total"),
        Style::NumberedByTotal => by_page("", "", "/total"),
        Style::Offset => by_offset("/total"),
        Style::Cursor => by_cursor(""),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i4_a_walk_gives_every_record_or_fails(simulated in simulated()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let still = simulated.changes.iter().all(|change| matches!(change, Change::Nothing));
        let stable = still && !simulated.shuffles_ties;
        let feed = Feed { paging: paging(simulated.style), ..feed() };
        let state = Arc::new(Mutex::new(simulated));
        let shared = Arc::clone(&state);
        let upstream = Upstream::new(move |url| shared.lock().unwrap().answer(url));
        let ran = runtime.block_on(run_at(&feed, upstream, from_yesterday(), NOW));
        let keys = ran.kept.keys();
        if ran.result.is_ok() {
            for id in &state.lock().unwrap().throughout {
                prop_assert!(keys.contains(&id.to_string()), "{id} was not given");
            }
            prop_assert!(ran.kept.pages.last().unwrap().end.is_some());
        } else {
            prop_assert!(!stable, "a feed that holds still is read: {:?}", ran.result);
            assert_not_covered(&ran);
        }
    }
}
