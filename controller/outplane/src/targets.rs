//! Which switches a command is about: those of the files, or one given on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use outplane_driver_p4runtime::{Options, Reach, Target, TlsFiles};
use outplane_intent::evaluate::IMPLIED_SWITCH;
use outplane_intent::model::Intent;
use outplane_rmdp_node::plain;

use crate::exit::Usage;

/// Switches, and how to talk to them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Switches")]
pub(crate) struct Targets {
    /// Only this switch of the files; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    switch: Vec<String>,
    /// Talk to the switch at this address, whatever the files say; without Switch objects in the files it is the one
    /// switch that there is
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    address: Option<String>,
    /// P4Runtime device id [default: the Switch object's, or 1]
    #[arg(long, value_name = "ID", requires = "address")]
    device_id: Option<u64>,
    /// P4Runtime role [default: the Switch object's, or the default role]
    #[arg(long, value_name = "ROLE", requires = "address")]
    role: Option<String>,
    /// PEM file with the authorities that the switch's certificate must come from; turns TLS on
    #[arg(long, value_name = "FILE", requires = "address")]
    tls_ca: Option<PathBuf>,
    /// PEM file with our certificate, for mTLS
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// PEM file with our private key, for mTLS
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
    /// Name to expect in the switch's certificate [default: the address]
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    tls_server_name: Option<String>,
    /// That switches off loopback are talked to in plain text is meant: no warning
    #[arg(long)]
    insecure: bool,
    /// Longest time that a call to a switch may take, in seconds [default: 10]; with `apply --config`: that the switches
    /// may take to converge [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

/// Longest time that a call to a switch may take.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Targets {
    /// Deadlines of a connection.
    pub(crate) fn options(&self) -> Options {
        let defaults = Options::default();
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        Options {
            connect_deadline: timeout,
            call_deadline: timeout,
            read_deadline: timeout,
            write_deadline: timeout,
            // A switch may have to compile or load the program.
            pipeline_deadline: defaults.pipeline_deadline.max(timeout),
            ..defaults
        }
    }

    /// The timeout, if one is given.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Whether switches are chosen on the command line.
    pub(crate) fn is_chosen(&self) -> bool {
        self.address.is_some() || !self.switch.is_empty()
    }

    /// Whether a switch of this name is meant, as far as `--switch` says.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.switch.is_empty() || self.switch.iter().any(|wanted| wanted == name)
    }

    /// The switches that `--switch` names.
    pub(crate) fn switches(&self) -> &[String] {
        &self.switch
    }

    /// Whether a switch is given on the command line.
    pub(crate) fn has_address(&self) -> bool {
        self.address.is_some()
    }

    /// The names of the switches meant.
    pub(crate) fn names(&self, intent: &Intent) -> anyhow::Result<Vec<String>> {
        chosen(intent, &self.switch)
    }

    /// The switches meant, by name. Without `--address` each must be an object of the files. Plain text is warned of.
    pub(crate) fn resolve(&self, intent: &Intent) -> anyhow::Result<Vec<Target>> {
        let targets = self.meant(intent)?;
        let plain = targets.iter().filter(|target| target.tls.is_none() && !self.insecure);
        for warning in plain.filter_map(|target| plain::switch(&target.name, &target.address)) {
            tracing::warn!("{warning}, or say --insecure if that is meant");
        }
        Ok(targets)
    }

    fn meant(&self, intent: &Intent) -> anyhow::Result<Vec<Target>> {
        let names = chosen(intent, &self.switch)?;
        let Some(address) = &self.address else {
            if intent.switches.is_empty() {
                return Err(Usage(
                    "the files have no Switch object: add one, or give --address HOST:PORT of the switch"
                        .to_owned(),
                )
                .into());
            }
            return Ok(names
                .iter()
                .filter_map(|name| Reach::from(&intent.switches[name]).target(name))
                .collect());
        };
        // Of several, the one that is said to be there. Two may share an address, with device ids of their own.
        let there =
            |name: &&String| intent.switches.get(*name).is_some_and(|switch| switch.address == *address);
        let found: Vec<String> = names.iter().filter(there).cloned().collect();
        let names = if found.len() == 1 { found } else { names };
        let [name] = <[String; 1]>::try_from(names).map_err(|names| {
            Usage(format!(
                "--address is about one switch, but the files have {}: say which with --switch",
                names.join(", ")
            ))
        })?;
        // What the command line does not say comes from the object, if there is one.
        let object = intent.switches.get(&name).map(Reach::from).unwrap_or_default();
        Ok(self.said(address).or(object).target(&name).into_iter().collect())
    }

    /// What the command line says of the switch at `address`.
    fn said(&self, address: &str) -> Reach {
        let tls = self.tls_ca.clone().map(|ca| TlsFiles {
            ca,
            identity: self.tls_cert.clone().zip(self.tls_key.clone()),
            server_name: self.tls_server_name.clone(),
        });
        Reach { address: Some(address.to_owned()), device_id: self.device_id, role: self.role.clone(), tls }
    }
}

/// The switches of the intent that `--switch` names, in order and each once; all without it.
pub(crate) fn chosen(intent: &Intent, wanted: &[String]) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = if intent.switches.is_empty() {
        vec![IMPLIED_SWITCH.to_owned()]
    } else {
        intent.switches.keys().cloned().collect()
    };
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        return Err(
            Usage(format!("no switch `{unknown}` in the files; there is {}", names.join(", "))).into()
        );
    }
    Ok(names.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name)).collect())
}

/// `host:port`, `[v6]:port`.
pub(crate) fn host_and_port(text: &str) -> Result<String, String> {
    let help =
        "a switch's address is HOST:PORT, as in 192.0.2.1:9559, [2001:db8::1]:9559 or leaf1.example:9559";
    let (host, port) = text.rsplit_once(':').ok_or(help)?;
    match port.parse::<u16>() {
        Ok(0) | Err(_) => return Err(format!("`{port}` is no port from 1 to 65535; {help}")),
        Ok(_) => {}
    }
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => Ok(text.to_owned()),
        Some(inner) => Err(format!("`{inner}` is no IPv6 address; {help}")),
        None if host.is_empty() || host.contains([':', '/', ' ']) => Err(help.to_owned()),
        None => Ok(text.to_owned()),
    }
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|number| (0.001..=86_400.0).contains(number))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a time in seconds, from 0.001 to 86400".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["127.0.0.1:9559", "[::1]:9559", "leaf1.example:1", "localhost:65535"] {
            assert_eq!(host_and_port(good), Ok(good.to_owned()));
        }
        for bad in [
            "127.0.0.1",
            ":9559",
            "::1:9559",
            "[::1:9559",
            "[nonsense]:1",
            "host:0",
            "host:70000",
            "grpc://a:1",
        ] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn timeouts_are_bounded() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        for bad in ["0", "-1", "nan", "inf", "100000", "soon"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_implied_switch_is_called_default() {
        let intent = Intent::default();
        assert_eq!(chosen(&intent, &[]).unwrap(), ["default"]);
        assert_eq!(chosen(&intent, &["default".to_owned()]).unwrap(), ["default"]);
        let error = chosen(&intent, &["leaf1".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("no switch `leaf1`"), "{error}");
    }
}
