//! A store that refuses what a role has to write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{NodeStatus, Object};
use outplane_rmdp_node::file::NodeFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::{Lab, PATIENCE};

/// Between node and store: claims are refused, as by a bucket policy, for as long as it says so.
struct Policy {
    address: SocketAddr,
    refuses: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Policy {
    async fn new(lab: &Lab) -> Self {
        let store = lab.access.endpoints[0].strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, refuses) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(true)));
        let (mut tasks, policy) = (JoinSet::new(), Arc::clone(&refuses));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, store, Arc::clone(&policy)));
            }
        });
        Self { address, refuses, _tasks: tasks }
    }
}

const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";

async fn carry(mut client: TcpStream, store: SocketAddr, refuses: Arc<AtomicBool>) {
    let mut store = TcpStream::connect(store).await.unwrap();
    let (mut up, mut down, mut cut) = (vec![0; 65_536], vec![0; 65_536], false);
    loop {
        let carried = tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let head = String::from_utf8_lossy(&up[..length]);
                if cut {
                    // What is left of the body.
                    Ok(())
                } else if head.starts_with("PUT /outplane/c/") && refuses.load(Ordering::Relaxed) {
                    cut = true;
                    let length = DENIED.len();
                    let head = format!(
                        "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\r\n"
                    );
                    client.write_all(format!("{head}{DENIED}").as_bytes()).await
                } else {
                    store.write_all(&up[..length]).await
                }
            }
            read = store.read(&mut down), if !cut => {
                let Ok(length @ 1..) = read else { return };
                client.write_all(&down[..length]).await
            }
        };
        if carried.is_err() {
            return;
        }
    }
}

/// A controller whose claims are cut does no work, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_claims_are_told_until_they_are_taken() {
    let lab = Lab::new(&["leaf1"], 1, 1).await;
    let policy = Policy::new(&lab).await;
    let _distributor = lab.start("d1").await;
    let mut file: NodeFile = lab.file("c1");
    file.store.endpoints = vec![format!("http://{}", policy.address)];
    let controller = lab.start_with_file("c1", file).await;
    let generation = lab.apply(3).await;
    let until = async |wanted: &dyn Fn(&NodeStatus) -> bool| {
        let says = async {
            loop {
                if let Ok(Some(Object::Status(status))) = lab.objects.get(&Key::Status("c1".to_owned())).await
                    && wanted(&status)
                {
                    return status;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, says).await.expect("the status says so")
    };
    let status = until(&|status| !status.alerts.is_empty()).await;
    let [alert] = &status.alerts[..] else { panic!("{status:?}") };
    assert!(alert.starts_with("may not write c/: ") && alert.contains("create c/"), "{alert}");
    assert!(alert.contains("(AccessDenied)") && alert.contains("docs/store-access.md"), "{alert}");
    policy.refuses.store(false, Ordering::Relaxed);
    lab.converged(generation).await;
    until(&|status| status.alerts.is_empty()).await;
    controller.drain().await;
}
