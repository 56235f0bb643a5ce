//! Clocks that are wrong, theirs or ours: no gap, and a way back (I4).

use expunged::sources::feed::{FeedError, WindowError};
use expunged::store::sqlite::projections_path;

use super::*;

#[tokio::test]
async fn i4_a_clock_of_ours_that_is_an_hour_off_makes_no_gap() {
    for ahead in [true, false] {
        let world = World::new().await;
        let off = |at: Timestamp| if ahead { at.plus(HOUR) } else { at.minus(HOUR) };
        world.ours.set(off(world.theirs.now()));
        let rig = world.rig().await;
        let mut all = 0;
        for day in 0..4 {
            // Around midnight, where the hour decides about the day.
            let midnight = Timestamp::from_seconds(19_860 * 86_400).plus(DAY * day);
            for minutes in [-70_i64, -10, 10, 70] {
                let at = Timestamp::from_seconds(midnight.seconds() + minutes * 60);
                world.theirs.set(at);
                world.ours.set(off(at));
                world.list(&format!("D{day}{minutes}"), at.minus(DAY));
                assert!(world.upstream.delete(&ListingKey::new(2, format!("D{day}{minutes}")), at));
                all += 1;
                let report = run(&rig).await.unwrap();
                assert_eq!(world.target.rows_gone(), all);
                // The upstream's time; by ours, where that is behind, more is read.
                assert_eq!(checkpoint(&rig).await, Some(at.min(off(at))));
                assert_eq!(report.walked.clock_skew.unwrap().local_is_ahead, ahead);
            }
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn i4_an_upstream_whose_clock_is_ahead_for_a_while_hides_no_deletion() {
    let world = World::new().await;
    let rig = world.rig().await;
    let right = world.theirs.now();
    world.theirs.set(right.plus(DAY * 10));
    run(&rig).await.unwrap();
    assert_eq!(checkpoint(&rig).await, Some(right), "our own time");
    world.theirs.set(right);
    world.both_later(DAY * 5);
    world.deleted(names('A', 5));
    run(&rig).await.unwrap();
    assert_eq!((checkpoint(&rig).await, world.target.rows_gone()), (Some(world.theirs.now()), 5));
    rig.stop().await;
}

#[tokio::test]
async fn i2_i4_a_checkpoint_ahead_of_both_clocks_is_brought_back_by_an_operator_and_stays_so_when_rebuilt() {
    let world = World::new().await;
    let rig = world.rig().await;
    run(&rig).await.unwrap();
    let right = world.theirs.now().minus(DAY * 5);
    world.theirs.set(right);
    world.ours.set(right);
    world.deleted(names('A', 5));
    let error = run(&rig).await.unwrap_err();
    assert!(matches!(error, RunError::Feed(FeedError::Window(WindowError::Ahead { .. }))), "{error}");
    assert!(error.to_string().contains("`reconcile --since`"), "{error}");
    let since = Some(right.minus(DAY * 3));
    rig.parts.reconciler().run(&source(&rig), since, &|_, _| {}).await.unwrap();
    rig.quiet().await;
    assert_eq!((checkpoint(&rig).await, world.target.rows_gone()), (Some(right), 5));
    let projections = projections_path(&rig.parts.config.state.path);
    rig.stop().await;

    std::fs::remove_file(projections).unwrap();
    let rig = world.rig().await;
    assert_eq!(checkpoint(&rig).await, Some(right));
    world.both_later(HOUR);
    run(&rig).await.unwrap();
    assert_eq!(checkpoint(&rig).await, Some(right.plus(HOUR)), "and goes on from there");
    rig.stop().await;
}
