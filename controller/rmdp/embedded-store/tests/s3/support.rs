//! Stores for tests.

use outplane_embedded_store::{Keys, Server, Settings};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::client::Client;

/// A running store with a folder of its own and the bucket `bucket`.
pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) folder: TempDir,
    pub(crate) keys: Keys,
}

pub(crate) fn keys() -> Keys {
    Keys::new("access-key".into(), "secret-key-of-tests".into()).expect("good keys")
}

/// Starts one in a folder.
pub(crate) async fn start_in(folder: TempDir, change: impl FnOnce(&mut Settings)) -> Running {
    let keys = keys();
    let mut settings = Settings::new(folder.path(), keys.clone());
    settings.buckets = vec!["bucket".to_owned()];
    change(&mut settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = Server::start(listener, settings).await.expect("it starts");
    Running { server, folder, keys }
}

/// Starts one with changed settings.
pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Running {
    start_in(tempfile::tempdir().expect("a folder"), change).await
}

/// Starts one.
pub(crate) async fn start() -> Running {
    start_with(|_| {}).await
}

impl Running {
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.server.address(), &self.keys).await
    }

    /// Ends it in order; the folder stays.
    pub(crate) async fn stop(self) -> TempDir {
        self.server.shutdown().await.expect("an orderly end");
        self.folder
    }

    /// Ends it and starts it again.
    pub(crate) async fn restart(self, change: impl FnOnce(&mut Settings)) -> Running {
        start_in(self.stop().await, change).await
    }

    /// Files of a folder inside.
    pub(crate) fn files(&self, folder: &str) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join(folder)).expect("the folder is there");
        entries.map(|entry| entry.expect("readable").path()).collect()
    }

    /// Bytes of the log's files.
    pub(crate) fn log_size(&self) -> u64 {
        self.files("log").iter().filter_map(|path| Some(path.metadata().ok()?.len())).sum()
    }
}
