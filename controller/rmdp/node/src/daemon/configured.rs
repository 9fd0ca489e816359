//! Follows the shared configuration: each version that can be followed, as far as this node can.

use std::sync::Arc;

use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::io::Input;

use super::inside::Inside;
use super::{Daemon, keys, start};
use crate::http::Lacking;

impl<M: Inside> Daemon<M> {
    pub(super) async fn config(&mut self, version: u64, toml: &str) {
        let config = match SharedConfig::from_toml(toml) {
            Ok(config) => Arc::new(config),
            Err(error) => {
                let text = format!("version {version} of the shared configuration is not followed: {error}");
                tracing::error!(alert = true, "{text}");
                self.shell.alert(text.clone());
                self.bad_config = Some(text);
                return;
            }
        };
        self.version = version;
        self.bad_config = None;
        if let Err(error) = start::member(&config, version, &self.setup) {
            tracing::error!(alert = true, %error, "no member any more");
            self.shell.readiness.lacks(Lacking::Configuration, error.to_string());
            self.drain("no member any more");
            return;
        }
        let keys = keys::of(&config, &self.setup.file);
        let senders = start::senders(&config);
        let datagrams = &config.datagrams;
        let results = [
            self.receiver.set_keys(&keys.accept).await,
            self.receiver.set_senders(&senders).await,
            self.receiver.set_groups(&datagrams.groups, datagrams.port).await,
            self.shell.sender.set_destinations(&start::destinations(&config, &self.setup.file.name)),
        ];
        for error in results.into_iter().filter_map(Result::err) {
            let text = format!("version {version} of the shared configuration is followed in part: {error}");
            tracing::error!(alert = true, "{text}");
            self.shell.alert(text);
        }
        if let Some(key) = keys.sign {
            self.shell.sender.set_key(key);
        }
        start::tell_members(&config, version, &self.shell.metrics);
        self.memory.follows(&config);
        if let Some(settings) = &self.packet_settings {
            settings.send_replace(config.packet_log.clone());
        }
        self.shell.step(Input::Config(config));
        self.secrets_missing(&keys.missing);
        tracing::info!(config = version, "the shared configuration is followed");
        self.write_status();
    }

    /// Keys that the configuration names and the node's file does not have.
    pub(super) fn secrets_missing(&mut self, missing: &[u16]) {
        if missing.is_empty() {
            self.shell.readiness.has(Lacking::Configuration);
            return;
        }
        let text = format!(
            "the shared configuration uses key {}, whose secret is not in this node's file: datagrams under it are \
             lost here; add it to [keys] and restart the node",
            missing.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
        );
        tracing::error!(alert = true, "{text}");
        self.shell.readiness.lacks(Lacking::Configuration, text.clone());
        self.shell.alert(text.clone());
        self.bad_config = Some(text);
    }

    /// A version of the shared configuration that cannot be followed; the one before stays.
    pub(super) fn bad_config(&mut self, why: &str) {
        let version = self.version;
        let text = format!("the shared configuration stays at version {version}: {why}; set it again");
        tracing::error!(alert = true, "{text}");
        self.shell.alert(text.clone());
        self.bad_config = Some(text);
    }
}
