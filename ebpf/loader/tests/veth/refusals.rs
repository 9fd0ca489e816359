//! What is refused, and that the message says what to do.

use std::process::Command;

use outplane_xdp::{AttachMode, Program, Settings, XdpError};

use crate::lab::{INTERFACE, Lab, attach, refusal};
use crate::support::{chain, settings};

#[test]
fn one_program_an_interface_and_one_daemon_a_folder() {
    Lab::run("xb", |lab| async move {
        let receiver = attach(lab.settings()).await;
        let error = refusal(lab.settings()).await;
        assert!(error.contains("another process of ours"), "{error}");
        // With pins elsewhere it is as much a stranger as any other program.
        let elsewhere = Settings { pin_root: lab.pins.with_file_name("elsewhere"), ..lab.settings() };
        for mode in [AttachMode::Auto, AttachMode::Driver, AttachMode::Generic] {
            let error = refusal(Settings { mode, ..elsewhere.clone() }).await;
            assert!(error.contains("another XDP program holds this interface"), "{error}");
            assert!(error.contains(INTERFACE) && error.contains("ip link set"), "{error}");
        }
        receiver.detach().unwrap();
        attach(elsewhere).await.detach().unwrap();
    });
}

#[test]
fn a_folder_without_bpffs_and_an_interface_that_is_not_there() {
    Lab::run("xf", |lab| async move {
        let error = refusal(Settings { pin_root: lab.plain.clone(), ..lab.settings() }).await;
        assert!(error.contains("mount -t bpf bpf /sys/fs/bpf"), "{error}");
        let error = refusal(Settings { interface: "nope0".to_owned(), ..lab.settings() }).await;
        assert!(error.contains("interface nope0 does not exist"), "{error}");
        let error = refusal(Settings { interface: "../rx0".to_owned(), ..lab.settings() }).await;
        assert!(error.contains("interface ../rx0 does not exist"), "{error}");
    });
}

#[test]
fn pinned_maps_of_another_shape() {
    Lab::run("xp", |lab| async move {
        drop(attach(lab.settings()).await);
        let error = refusal(Settings { capacity: 5000, ..lab.settings() }).await;
        assert!(error.contains("first_0 does not fit: its size is 4096 and should be 5000"), "{error}");
        assert!(error.contains("detach first"), "{error}");
        // Something else under a map's name.
        let folder = lab.pins.join("v2").join(INTERFACE);
        std::fs::rename(folder.join("reasons"), folder.join("elsewhere")).unwrap();
        std::fs::rename(folder.join("counts"), folder.join("reasons")).unwrap();
        std::fs::rename(folder.join("elsewhere"), folder.join("counts")).unwrap();
        let error = refusal(lab.settings()).await;
        assert!(error.contains("counts does not fit: its value size is 8"), "{error}");
    });
}

#[test]
fn too_large_an_mtu_for_the_driver() {
    Lab::run("xj", |lab| async move {
        lab.cut();
        lab.connect(9000);
        let error = refusal(Settings { mode: AttachMode::Driver, ..lab.settings() }).await;
        assert!(error.contains(INTERFACE) && error.contains("mtu 1500"), "{error}");
    });
}

/// Runs this test's other half as a user without privileges, and as one with just those that are asked for.
#[test]
fn privileges() {
    const CHILD: &str = "OUTPLANE_XDP_CHILD";
    match std::env::var(CHILD).as_deref() {
        Ok("without") => match Program::load(&settings()) {
            Err(error @ XdpError::NotPermitted { .. }) => {
                let error = chain(&error);
                assert!(error.contains("CAP_BPF"), "{error}");
                println!("refused in words: {error}");
            }
            Err(error) => panic!("{}", chain(&error)),
            Ok(_) => panic!("loaded without privileges"),
        },
        Ok(_) => {
            Program::load(&settings()).unwrap_or_else(|error| panic!("{}", chain(&error)));
            println!("loaded with three capabilities");
        }
        Err(_) => {
            if let Some(why) = outplane_testbed::why_not() {
                println!("SKIPPED: privileges of the XDP loader: {why}");
                return;
            }
            // The test's binary may lie where others cannot read it.
            let folder = tempfile::Builder::new().permissions(permissions()).tempdir().unwrap();
            let binary = folder.path().join("test");
            std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
            for (child, caps) in [("without", ""), ("with", "+bpf,+net_admin,+perfmon")] {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
                if !caps.is_empty() {
                    command.args([format!("--inh-caps={caps}"), format!("--ambient-caps={caps}")]);
                }
                command.arg(&binary).args(["--exact", "refusals::privileges", "--nocapture"]);
                let output = command.env(CHILD, child).output().unwrap();
                let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{child}: {said}");
                assert!(said.contains("refused in words") || said.contains("three capabilities"), "{said}");
            }
        }
    }
}

fn permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
