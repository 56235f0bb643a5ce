//! A connection between a client and a server that can be cut at a chosen moment.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// When a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As soon as the client sends these bytes; they do not reach the server.
    Before(&'static [u8]),
    /// They reach the server, and its answer does not reach the client.
    After(&'static [u8]),
}

/// Passes bytes on, both ways. Dropping it cuts all connections.
pub struct Proxy {
    pub port: u16,
    cut: Arc<Mutex<Option<Cut>>>,
    upstream: Arc<Mutex<u16>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (cut, upstream) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(port)));
        let mut tasks = JoinSet::new();
        let (cuts, to) = (cut.clone(), upstream.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let to = SocketAddr::from((Ipv4Addr::LOCALHOST, *to.lock().unwrap()));
                connections.spawn(pass(client, to, cuts.clone()));
            }
        });
        Self { port: own, cut, upstream, _tasks: tasks }
    }

    /// Cuts the next connection on which the bytes are sent, once.
    pub fn cut(&self, cut: Cut) {
        *self.cut.lock().unwrap() = Some(cut);
    }

    /// Where connections go from now on, as after a change of the address.
    pub fn lead_to(&self, port: u16) {
        *self.upstream.lock().unwrap() = port;
    }
}

async fn pass(mut client: TcpStream, to: SocketAddr, cuts: Arc<Mutex<Option<Cut>>>) {
    let Ok(mut server) = TcpStream::connect(to).await else { return };
    // An answer in several parts, each of which would wait for a word of the other side's.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                let sent = &up[..count];
                let due = cuts.lock().unwrap().take_if(|cut| {
                    let (Cut::Before(word) | Cut::After(word)) = cut;
                    sent.windows(word.len()).any(|part| part == *word)
                });
                if matches!(due, Some(Cut::Before(_))) || server.write_all(sent).await.is_err() {
                    return;
                }
                if matches!(due, Some(Cut::After(_))) {
                    // The server has carried it out once it answers.
                    server.readable().await.ok();
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
