//! Keepers that answer badly: what cannot be had keeps nothing else waiting.

use expunged::config::source::Endpoint;

use super::*;

#[tokio::test]
async fn i6_an_event_that_is_gone_before_it_is_read_is_told_of_and_holds_nothing_up() {
    let mut scene = Scene::new("").await;
    scene.delete(&["d1", "d2"]).await;
    let gone = r#"{"error":{"code":"MESSAGE_DELETED","message":"gone"}}"#.to_owned();
    scene.service.faults().script(vec![Fault::Pass; 3]);
    scene.service.faults().script([Fault::Instead { status: 410, headers: vec![], body: gone }]);
    assert_eq!(scene.round().await, Round { taken: 1, lost: 1, discarded: 1, ..Round::default() });
    let told: Vec<String> =
        heard(&**scene.store()).await.into_iter().flat_map(|heard| heard.unreadable).collect();
    assert!(told.len() == 1 && told[0].ends_with("gone at the pull endpoint, unread"), "{told:?}");
    assert_eq!(scene.round().await, Round::default(), "and not again");
    assert_eq!(scene.heard().await.len(), 1);
}

fn no(status: u16) -> Fault {
    Fault::Instead { status, headers: vec![], body: r#"{"error":{"code":"NO","message":"no"}}"#.into() }
}

#[tokio::test]
async fn i6_an_event_that_cannot_be_read_keeps_no_other_waiting() {
    let mut scene = Scene::new("").await;
    scene.delete(&["d1", "d2", "d3"]).await;
    // What is done is listed, what waits is listed and counted, and one of it read.
    scene.service.faults().script(vec![Fault::Pass; 4]);
    scene.service.faults().script([no(400)]);
    scene.collector.round().await.unwrap_err();
    assert_eq!(scene.heard().await, ["d1"], "what was read before it is taken");
    scene.service.faults().script(vec![Fault::Pass; 3]);
    scene.service.faults().script([no(400)]);
    scene.collector.round().await.unwrap_err();
    assert_eq!(scene.heard().await, ["d1", "d3"], "it comes last by now");
    assert_eq!(scene.round().await.taken, 1);
    assert_eq!(scene.heard().await, ["d1", "d3", "d2"]);
}

#[tokio::test]
async fn i6_what_cannot_be_discarded_or_listed_keeps_nothing_else_waiting() {
    let mut scene = Scene::new("").await;
    scene.delete(&["d1"]).await;
    scene.service.faults().script([no(403)]);
    scene.service.faults().script(vec![Fault::Pass; 4]);
    scene.service.faults().script([no(403)]);
    assert_eq!(scene.round().await, Round { taken: 1, ..Round::default() });
    scene.delete(&["d2"]).await;
    assert_eq!(scene.round().await, Round { taken: 1, discarded: 2, ..Round::default() });
    let endpoints = &mut scene.config.sources[0].pull.as_mut().unwrap().endpoints;
    endpoints.insert(0, Endpoint { id: "ep_that_was_taken_away".into(), ..endpoints[0].clone() });
    scene.collector = collector(&scene.rig, &scene.config);
    scene.delete(&["d3"]).await;
    scene.collector.round().await.unwrap_err();
    assert_eq!(scene.heard().await, ["d1", "d2", "d3"]);
}

#[tokio::test]
async fn trouble_on_the_way_is_sat_out_and_a_wrong_key_is_told() {
    let mut scene = Scene::new("attempts_max = 4").await;
    scene.delete(&["d1"]).await;
    let no_page =
        Fault::Instead { status: 429, headers: vec![("retry-after".into(), "1".into())], body: "{}".into() };
    scene.service.faults().script([Fault::server_error(), Fault::Cut, no_page]);
    assert_eq!(scene.round().await.taken, 1);

    scene.delete(&["d2"]).await;
    for (status, retry) in [(401, false), (403, false), (400, false)] {
        let body = r#"{"error":{"code":"UNAUTHORIZED","message":"no"}}"#.to_owned();
        scene.service.faults().script([Fault::Instead { status, headers: vec![], body }]);
        let error = scene.collector.round().await.unwrap_err();
        assert_eq!(error.retry_can_help(), retry, "{error}");
        assert!(!error.to_string().contains(API_KEY));
    }
    scene.service.faults().script([Fault::garbage()]);
    assert!(scene.collector.round().await.unwrap_err().retry_can_help());
    assert_eq!(scene.counts(), [1, 0, 0, 1], "nothing was touched");
    assert_eq!(scene.round().await.taken, 1);
}
