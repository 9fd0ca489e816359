//! Two policies that say the same of the traffic that flows, with their rules in another order and so with other classes.
//!
//! h1's traffic to h2 passes under both, h3's is dropped under both; but with the classes of one and the rules of the
//! other, h1's would be dropped or h3's would pass: a mix shows.

use anyhow::{Result, ensure};

use crate::Site;

const RULES: [&str; 3] = [
    "    - {name: in, action: allow, from: [{cidr: 10.0.0.1/32}], to: [{cidr: 10.0.0.2/32}]}",
    "    - {name: back, action: allow, from: [{cidr: 10.0.0.2/32}], to: [{cidr: 10.0.0.1/32}]}",
    "    - {name: out, action: deny, from: [{cidr: 10.0.0.3/32}]}",
];

/// Writes the policies as `a.yaml` and `b.yaml`.
pub fn write_policies(site: &Site) -> Result<()> {
    let [into, back, out] = RULES;
    site.write("a.yaml", &policy(site, [into, back, out]))?;
    site.write("b.yaml", &policy(site, [out, into, back]))?;
    Ok(())
}

fn policy(site: &Site, rules: [&str; 3]) -> String {
    format!(
        "{}---
apiVersion: outplane.dev/v1alpha1
kind: FilterPolicy
metadata: {{name: swap}}
spec:
  replies: none
  rules:
{}
",
        site.switch_object(),
        rules.join("\n")
    )
}

/// Applies one where the other is installed.
///
/// # Errors
/// Where the switch would not change: then a mix could not show.
pub fn change(site: &Site, file: &str) -> Result<()> {
    let planned = site.command(&["plan", file, "--detailed-exitcode"]).output()?;
    ensure!(planned.status.code() == Some(2), "{file} changes nothing: {}", planned.status);
    site.outplane(&["apply", file])?;
    Ok(())
}
