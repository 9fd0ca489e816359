//! Two policies that say the same of the traffic that flows, with exchanged classes.
//!
//! h1's traffic passes under both, h3's is dropped under both; but with the classes of one and the rules of the other,
//! h1's would be dropped and h3's would pass: a mix shows.

use anyhow::Result;

use crate::Site;

/// Writes the policies as `a.yaml` and `b.yaml`.
pub fn write_policies(site: &Site) -> Result<()> {
    let switch = site.switch_object();
    site.write("a.yaml", &format!("{switch}---\n{}", policy("blue", "green")))?;
    site.write("b.yaml", &format!("{switch}---\n{}", policy("green", "blue")))?;
    Ok(())
}

/// `first` and `second`: the groups of h1 and h3. Whoever is in `first` may pass.
fn policy(first: &str, second: &str) -> String {
    format!(
        "apiVersion: outplane.dev/v1alpha1
kind: AddressGroup
metadata: {{name: {first}}}
spec: {{addresses: [10.0.0.1]}}
---
apiVersion: outplane.dev/v1alpha1
kind: AddressGroup
metadata: {{name: {second}}}
spec: {{addresses: [10.0.0.3]}}
---
apiVersion: outplane.dev/v1alpha1
kind: FilterPolicy
metadata: {{name: swap}}
spec:
  replies: none
  rules:
    - {{name: in, action: allow, from: [{{group: {first}}}], to: [{{cidr: 10.0.0.2/32}}]}}
    - {{name: back, action: allow, from: [{{cidr: 10.0.0.2/32}}], to: [{{group: {first}}}]}}
    - {{name: out, action: deny, from: [{{group: {second}}}]}}
"
    )
}
