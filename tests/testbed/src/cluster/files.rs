//! The files that a cluster's processes read.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use outplane_rmdp_core::config::{Member, Role, SharedConfig};

use super::layout::{Part, Seat};
use super::{StoreAccess, Xdp};

/// Secrets of the datagrams' keys 1, 2 and 3: every node has all of them, the shared configuration says which count.
const KEYS: [&str; 3] = [
    "000102030405060708090a0b0c0d0e0f",
    "101112131415161718191a1b1c1d1e1f",
    "202122232425262728292a2b2c2d2e2f",
];

/// A node's own file. `pins` is its folder in a bpffs.
pub(super) fn node(seat: &Seat, store: &StoreAccess, xdp: Xdp, pins: &Path) -> String {
    let mut text = String::new();
    let endpoints: Vec<_> = store.endpoints.iter().map(|url| format!("{url:?}")).collect();
    let _ = writeln!(
        text,
        "name = {:?}\n\n[store]\nendpoints = [{}]\nbucket = {:?}\naccess_key = {:?}\nsecret_key = {:?}\ninsecure = true\n\
         attempt_timeout_ms = {}\ncall_timeout_ms = {}\n\n[keys]",
        seat.name,
        endpoints.join(", "),
        store.bucket,
        store.access_key,
        store.secret_key,
        store.attempt_timeout.as_millis(),
        (store.attempt_timeout * 20).max(Duration::from_secs(5)).as_millis()
    );
    for (number, key) in KEYS.iter().enumerate() {
        let _ = writeln!(text, "{} = {key:?}", number + 1);
    }
    let _ = writeln!(
        text,
        "\n[network]\ninterface = \"eth0\"\nxdp = {:?}\nbind = [{:?}, {:?}]\n\n[http]\nlisten = {:?}\ninsecure = true\n\n\
         [log]\nformat = \"json\"\nlevel = \"info\"\n\n[state]\npin_root = {:?}",
        match xdp {
            Xdp::Auto => "auto",
            Xdp::Required => "required",
            Xdp::Off => "off",
        },
        seat.v4().to_string(),
        seat.v6().to_string(),
        seat.http().to_string(),
        pins.display().to_string()
    );
    text
}

/// The shared configuration: as given, with the members in it.
pub(super) fn shared(base: &SharedConfig, seats: &[Seat]) -> SharedConfig {
    let member = |seat: &Seat| {
        let role = match seat.part {
            Part::Distributor => Role::Distributor,
            Part::Controller => Role::Controller,
            Part::Switch | Part::Store => return None,
        };
        Some(Member {
            name: seat.name.clone(),
            sender: seat.sender(),
            role,
            address: seat.address(),
            http: Some(seat.http()),
        })
    };
    SharedConfig { members: seats.iter().filter_map(member).collect(), ..base.clone() }
}

/// The switches as objects of the intent. A switch without ports has two all the same: policies name ports.
pub(super) fn switch_objects(seats: &[Seat], ports: u16) -> String {
    let ports: Vec<_> = (1..=ports.max(2)).map(|port| format!("{{id: {port}}}")).collect();
    let object = |seat: &Seat| {
        format!(
            "---\napiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {{name: {}}}\nspec:\n  address: {}\n  \
             deviceId: {}\n  ports: [{}]\n",
            seat.name,
            seat.address(),
            seat.number,
            ports.join(", ")
        )
    };
    seats.iter().filter(|seat| seat.part == Part::Switch).map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_configuration_is_taken() {
        let seats: Vec<_> = (1..=4)
            .flat_map(|number| {
                [Part::Distributor, Part::Controller, Part::Switch].map(|part| Seat::new(part, number))
            })
            .collect();
        let shared = shared(&SharedConfig::default(), &seats);
        assert_eq!((shared.distributors().count(), shared.controllers().count()), (4, 4));
        assert_eq!(SharedConfig::from_toml(&shared.to_toml()), Ok(shared));
    }
}
