//! An echo server with room for four: a newcomer that finds it full gets the place of whoever has been idle.
//!
//! `cargo run -p outplane-admission --example echo`

use std::time::Duration;

use outplane_admission::{Admission, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let settings =
        Settings { per_peer: 4, reserved: 0, first_request: Duration::from_secs(1), ..Settings::new(4) };
    let admission = Admission::new(settings);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(serve(admission.clone(), listener));

    // Six connections, one after the other; each says something once, and stays.
    let mut clients = Vec::new();
    for number in 1..=6u8 {
        let mut client = TcpStream::connect(address).await?;
        client.write_all(&[number]).await?;
        let mut answer = [0];
        client.read_exact(&mut answer).await?;
        println!("client {number}: answered {}", answer[0]);
        clients.push((number, client));
    }
    for (number, mut client) in clients {
        client.write_all(b"!").await.ok();
        let told = match client.read(&mut [0]).await {
            Ok(1) => "still has its place",
            _ => "has lost it to a newcomer",
        };
        println!("client {number}: {told}");
    }
    println!("{:?}", admission.counts());
    server.abort();
    Ok(())
}

async fn serve(admission: Admission, listener: TcpListener) {
    loop {
        let (mut stream, _) = admission.accept(&listener).await;
        tokio::spawn(async move {
            // Reading fails when the place is lost, and when the first request comes too late.
            let mut byte = [0];
            while let Ok(1) = stream.read(&mut byte).await {
                let _busy = stream.place().request();
                if stream.write_all(&byte).await.is_err() {
                    break;
                }
            }
        });
    }
}
