//! Every limit is reached, and what is just within it passes.

use super::*;

fn with_headers(count: usize) -> Vec<u8> {
    let headers: Vec<String> = (0..count).map(|number| format!("x-{number}: y\r\n")).collect();
    format!("GET / HTTP/1.1\r\n{}\r\n", headers.concat()).into_bytes()
}

fn with_head_of(bytes: usize) -> Vec<u8> {
    let (start, end) = ("GET / HTTP/1.1\r\nx: ", "\r\n\r\n");
    let filling = "y".repeat(bytes - start.len() - end.len());
    format!("{start}{filling}{end}").into_bytes()
}

#[tokio::test]
async fn the_number_of_headers_is_bounded() {
    let up = up(limits()).await;
    assert_eq!(status(&answer(&mut up.sent(&with_headers(HEADERS_MAX)).await).await), "200");
    assert_eq!(status(&until_closed(&mut up.sent(&with_headers(HEADERS_MAX + 1)).await).await), "431");
}

#[tokio::test]
async fn the_size_of_the_head_is_bounded() {
    let up = up(limits()).await;
    assert_eq!(status(&answer(&mut up.sent(&with_head_of(HEAD_BYTES_MAX - 1)).await).await), "200");
    assert_eq!(status(&until_closed(&mut up.sent(&with_head_of(HEAD_BYTES_MAX + 1)).await).await), "431");
}

#[tokio::test]
async fn http2_is_served_and_has_the_same_bounds() {
    let up = up(limits()).await;
    let client = http2();
    let url = format!("http://{}", up.address);
    let answer = client.post(format!("{url}/echo")).body("body").send().await.unwrap();
    assert_eq!(answer.version(), axum::http::Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), "body");

    let with = async |count: usize, size: usize| {
        let value = "y".repeat(size);
        let mut request = client.get(&url);
        for number in 0..count {
            request = request.header(format!("x-{number}"), &value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    // The client adds `accept`.
    assert_eq!(with(HEADERS_MAX - 1, 1).await, 200);
    assert_eq!(with(HEADERS_MAX, 1).await, 431);
    assert_eq!(with(1, HEAD_BYTES_MAX - 500).await, 200);
    assert_eq!(with(1, HEAD_BYTES_MAX + 1).await, 431);

    let large = client.post(format!("{url}/echo")).body("x".repeat(1_001)).send().await.unwrap();
    assert_eq!(large.status().as_u16(), 413);
}

#[tokio::test]
async fn the_size_of_a_body_is_bounded_however_it_is_sent() {
    let up = up(limits()).await;
    let announced = |length: usize| {
        format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n").into_bytes()
    };
    let whole = [announced(1_000), vec![b'x'; 1_000]].concat();
    assert_eq!(status(&answer(&mut up.sent(&whole).await).await), "200");
    // Refused by its announcement: nothing of the body is sent.
    assert_eq!(status(&until_closed(&mut up.sent(&announced(1_001)).await).await), "413");
    let chunk = [b"1f4\r\n".to_vec(), vec![b'x'; 500], b"\r\n".to_vec()].concat();
    let head = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunked = [head, chunk.repeat(2), b"1\r\nx\r\n".to_vec()].concat();
    assert_eq!(status(&until_closed(&mut up.sent(&chunked).await).await), "413");
    assert_eq!(up.refused("body_too_large"), 2);
}

#[tokio::test]
async fn a_body_that_breaks_off_never_reaches_the_application() {
    let up = up(limits()).await;
    let mut stream = up.sent(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\nstart").await;
    stream.shutdown().await.unwrap();
    let text = until_closed(&mut stream).await;
    assert!(text.is_empty() || status(&text) == "400", "{text}");
    assert_eq!(up.refused("body_broken"), 1);
}

#[tokio::test]
async fn more_requests_in_flight_than_allowed_get_503_and_when_to_come_again() {
    let up = up(Limits { in_flight_max: 1, ..limits() }).await;
    let mut first = up.sent(GATE).await;
    up.reached(1).await;
    let mut second = up.sent(GET).await;
    let refused = answer(&mut second).await;
    assert_eq!(status(&refused), "503");
    assert!(refused.to_lowercase().contains("retry-after: 1\r\n"), "{refused}");
    assert_eq!(up.refused("in_flight_too_many"), 1);
    up.leave.add_permits(1);
    assert_eq!(status(&answer(&mut first).await), "200");
    second.write_all(GET).await.unwrap();
    assert_eq!(status(&answer(&mut second).await), "200", "the place is free, the connection was kept");
}

#[tokio::test]
async fn a_body_that_has_not_come_takes_no_place_from_others() {
    let up = up(Limits { in_flight_max: 1, ..limits() }).await;
    let start = b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    let mut slow = up.sent(start).await;
    assert_eq!(status(&answer(&mut slow).await), "100", "its body is being waited for");
    assert_eq!(status(&answer(&mut up.sent(GET).await).await), "200");
    slow.write_all(b"body").await.unwrap();
    assert!(answer(&mut slow).await.ends_with("body"));
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_place_back() {
    let up = up(Limits { in_flight_max: 1, ..limits() }).await;
    let gone = up.sent(GATE).await;
    up.reached(1).await;
    drop(gone);
    let served = async { while status(&answer(&mut up.sent(GET).await).await) != "200" {} };
    timeout(LONG, served).await.unwrap();
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_and_counted() {
    let up = up(Limits { connections_max: 2, ..limits() }).await;
    let (mut one, mut two) = (up.sent(GET).await, up.sent(GET).await);
    assert_eq!(status(&answer(&mut one).await), "200");
    assert_eq!(status(&answer(&mut two).await), "200");
    assert_eq!(until_closed(&mut up.connect().await).await, "");
    assert_eq!(up.sample(r#"expunged_connections_refused_total{listener="hooks"}"#), 1);
    assert_eq!(up.sample(r#"expunged_connections{listener="hooks"}"#), 2);
    drop(one);
    let served = async {
        while !until_closed(&mut up.sent(b"GET / HTTP/1.0\r\n\r\n").await).await.ends_with("hello") {}
    };
    timeout(LONG, served).await.expect("a place that was given back is not used");
    two.write_all(GET).await.unwrap();
    assert_eq!(status(&answer(&mut two).await), "200", "the others were left alone");
}

#[tokio::test]
async fn bodies_that_arrive_at_the_same_time_share_a_bounded_memory() {
    let up = up(limits()).await;
    // Two in three bytes of the largest body, on enough connections to fill the memory.
    let start = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";
    let most = [&start[..], &[b'x'; 667]].concat();
    let (refused, mut tell) = tokio::sync::mpsc::unbounded_channel();
    let mut peers = JoinSet::new();
    for _ in 0..99 {
        let mut stream = up.sent(&most).await;
        let refused = refused.clone();
        peers.spawn(async move { refused.send(until_closed(&mut stream).await) });
    }
    let text = timeout(LONG, tell.recv()).await.unwrap().unwrap();
    assert_eq!(status(&text), "503");
    assert!(text.to_lowercase().contains("retry-after: 1\r\n"), "{text}");
    assert!(up.refused("bodies_too_many") > 0);
}

#[tokio::test]
async fn http2_peers_are_told_how_much_they_may_have_open() {
    let up = up(limits()).await;
    let mut stream = up.sent(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // Frame header (RFC 9113, section 4.1), then settings of two and four bytes each.
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame is SETTINGS");
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).await.unwrap();
    let setting = |id: u16| {
        let of_id = |entry: &&[u8]| entry[..2] == id.to_be_bytes();
        settings.chunks(6).find(of_id).map(|entry| u32::from_be_bytes(entry[2..].try_into().unwrap()))
    };
    assert_eq!(setting(3), Some(STREAMS_MAX));
    assert_eq!(setting(6), Some(u32::try_from(HEAD_BYTES_MAX).unwrap()));
}

const CHILD: &str = "web::listener::tests::bounds::runs_out_of_files";

#[test]
fn a_listener_that_cannot_open_files_says_so_once_and_goes_on_when_it_can() {
    let child = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--ignored"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && text.contains("1 passed"), "{text}");
}

/// Every line that is logged.
#[derive(Clone)]
struct Lines(tokio::sync::mpsc::UnboundedSender<String>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
#[ignore = "is run by the test above, in a process that may open few files"]
async fn runs_out_of_files() {
    let (lines, mut logged) = tokio::sync::mpsc::unbounded_channel();
    let lines = Lines(lines);
    let subscriber = tracing_subscriber::fmt().with_writer(move || lines.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let up = up(limits()).await;
    let client = tokio::net::TcpSocket::new_v4().unwrap();
    let files: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    assert!(!files.is_empty());
    // The kernel accepts it for us; the listener cannot.
    let mut stream = client.connect(up.address).await.unwrap();
    let mut next = async || timeout(LONG, logged.recv()).await.unwrap().unwrap();
    while !next().await.contains("connections cannot be accepted") {}
    drop(files);
    stream.write_all(GET).await.unwrap();
    assert_eq!(status(&answer(&mut stream).await), "200");
    assert!(logged.try_recv().is_err(), "said once");
}
