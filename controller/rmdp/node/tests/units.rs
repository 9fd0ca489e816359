//! The systemd units are what systemd takes, and give away little.

use std::path::Path;
use std::process::Command;

const UNITS: [(&str, f64); 3] =
    [("outplane-controller", 3.0), ("outplane-distributor", 2.0), ("outplane-store", 2.0)];

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../packaging/systemd")
        .join(format!("{name}.service"));
    std::fs::read_to_string(path).unwrap()
}

/// `systemd-analyze`'s answer about a file.
fn analyze(arguments: &[&str], path: &Path) -> Option<(bool, String)> {
    let output = match Command::new("systemd-analyze").args(arguments).arg(path).output() {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: systemd units: systemd-analyze cannot be run: {error}");
            return None;
        }
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn systemd_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in UNITS {
        // The command need not be installed where this is tested.
        let text = unit(name).replace("/usr/bin/outplane ", "/bin/true ");
        assert!(text.contains("/bin/true "), "{name} starts something else");
        let path = folder.path().join(format!("{name}.service"));
        std::fs::write(&path, text).unwrap();
        let Some((success, told)) = analyze(&["verify"], &path) else { return };
        assert!(success && !told.contains(name), "{told}");
    }
    let path = folder.path().join("outplane-wrong.service");
    std::fs::write(&path, "[Service]\nExecStart=/bin/true\nProtectSytem=strict\n").unwrap();
    let Some((_, told)) = analyze(&["verify"], &path) else { return };
    assert!(told.contains("ProtectSytem"), "a wrong one passes: {told}");
}

/// The exposure that systemd sees, from 0 to 10, is no worse than it was.
#[test]
fn they_give_away_little() {
    let folder = tempfile::tempdir().unwrap();
    for (name, most) in UNITS {
        let path = folder.path().join(format!("{name}.service"));
        std::fs::write(&path, unit(name)).unwrap();
        let Some((_, told)) = analyze(&["security", "--offline=true", "--no-pager"], &path) else { return };
        let level = told.split("Overall exposure level for").nth(1).and_then(|rest| rest.split(": ").nth(1));
        let Some(level) = level.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok()) else {
            println!("SKIPPED: exposure of {name}: systemd-analyze does not tell: {told}");
            return;
        };
        assert!(level <= most, "{name} has exposure {level}, at most {most} was expected:\n{told}");
    }
}
