//! Shutdown: what was begun may end, nothing is begun, and the deadline holds.

use super::*;

#[tokio::test]
async fn an_open_request_is_finished_and_nothing_more_is_accepted() {
    let up = up(limits()).await;
    let mut open = up.sent(GATE).await;
    up.reached(1).await;
    let mut idle = up.sent(GET).await;
    answer(&mut idle).await;
    up.shutdown.cancel();
    assert_eq!(until_closed(&mut idle).await, "", "an idle connection is closed at once");
    let refused = async { while TcpStream::connect(up.address).await.is_ok() {} };
    timeout(LONG, refused).await.expect("connections are still accepted");
    up.leave.add_permits(1);
    let text = until_closed(&mut open).await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("left"), "{text}");
    assert_eq!(up.serving.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn an_open_http2_request_is_finished() {
    let up = up(limits()).await;
    let url = format!("http://{}/gate", up.address);
    let request = tokio::spawn(async move { http2().get(url).send().await?.text().await });
    up.reached(1).await;
    up.shutdown.cancel();
    up.leave.add_permits(1);
    assert_eq!(request.await.unwrap().unwrap(), "left");
    assert_eq!(up.serving.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_at_the_deadline() {
    let up = up(Limits { drain_timeout: SHORT, ..limits() }).await;
    let mut stalled = up.sent(GATE).await;
    up.reached(1).await;
    up.shutdown.cancel();
    assert_eq!(up.serving.await.unwrap(), Drained { cut: 1 });
    assert_eq!(until_closed(&mut stalled).await, "");
}

#[tokio::test]
async fn a_connection_that_never_sent_anything_does_not_hold_the_drain() {
    let up = up(limits()).await;
    let mut silent = up.connect().await;
    let mut other = up.sent(GET).await;
    answer(&mut other).await;
    up.shutdown.cancel();
    assert_eq!(until_closed(&mut silent).await, "");
    assert_eq!(up.serving.await.unwrap(), Drained { cut: 0 });
}
