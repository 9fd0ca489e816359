//! Connections that got a place, for tonic.

use std::io;

use outplane_admission::{Admission, Admitted};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// Accepts connections until `shutdown`; the listener is closed when the task has ended.
pub(crate) fn accept(
    listener: TcpListener,
    admission: Admission,
    shutdown: CancellationToken,
) -> (impl Stream<Item = io::Result<Admitted<TcpStream>>>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(1);
    let task = tokio::spawn(async move {
        let accepting = async {
            loop {
                let (connection, _) = admission.accept(&listener).await;
                if sender.send(Ok(connection)).await.is_err() {
                    break;
                }
            }
        };
        shutdown.run_until_cancelled(accepting).await;
    });
    (ReceiverStream::new(receiver), task)
}
