//! Between nodes and the store: carries on what both send, or does otherwise, as a test says.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::Lab;

/// What has been read on a connection: of a client, a request or a part of one.
pub(crate) enum Piece<'p> {
    FromClient(&'p [u8]),
    FromStore(&'p [u8]),
}

/// What becomes of it.
pub(crate) enum Pass {
    /// It goes on to the other side.
    On,
    /// The client has this answer, and the store hears nothing of it.
    Answer(String),
    /// The same, and nothing more passes on this connection.
    LastAnswer(String),
    /// The connection ends.
    End,
}

/// Gone when it is dropped, with its connections.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// In front of the lab's store. `judges` makes one for each connection.
    pub(crate) async fn new<J>(lab: &Lab, judges: impl Fn() -> J + Send + 'static) -> Self
    where
        J: FnMut(Piece<'_>) -> Pass + Send + 'static,
    {
        let store = lab.access.endpoints[0].strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, store, judges()));
            }
        });
        Self { address, _tasks: tasks }
    }

    /// As a store's endpoint.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// An answer in XML.
pub(crate) fn response(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// The same, after which the connection is of no use.
pub(crate) fn last_response(status: &str, body: &str) -> String {
    response(&format!("{status}\r\nconnection: close"), body)
}

async fn carry(mut client: TcpStream, store: SocketAddr, mut judge: impl FnMut(Piece<'_>) -> Pass) {
    let mut store = TcpStream::connect(store).await.unwrap();
    let (mut up, mut down, mut is_cut) = (vec![0; 65_536], vec![0; 65_536], false);
    loop {
        let carried = tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                // Behind the last answer comes what is left of a body.
                let pass = if is_cut { continue } else { judge(Piece::FromClient(&up[..length])) };
                match pass {
                    Pass::On => store.write_all(&up[..length]).await,
                    Pass::Answer(answer) => client.write_all(answer.as_bytes()).await,
                    Pass::LastAnswer(answer) => {
                        is_cut = true;
                        client.write_all(answer.as_bytes()).await
                    }
                    Pass::End => return,
                }
            }
            read = store.read(&mut down), if !is_cut => {
                let Ok(length @ 1..) = read else { return };
                match judge(Piece::FromStore(&down[..length])) {
                    Pass::On => client.write_all(&down[..length]).await,
                    _ => return,
                }
            }
        };
        if carried.is_err() {
            return;
        }
    }
}
