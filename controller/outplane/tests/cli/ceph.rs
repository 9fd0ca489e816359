//! The roles of the bucket policy for Ceph at their work: real gateways, real nodes, and commands with each role's own
//! credentials.

use std::path::Path;
use std::process::{Child, Stdio};

use outplane_rmdp_store::{Secret, Settings, Store};
use outplane_testbed::Ceph;
use serde_json::json;

use crate::lab::{first_line, node_file, shared};
use crate::support::{Run, SoftSwitch, command, file, folder, outplane};

const BUCKET: &str = "outplane";
const POLICY: &str = include_str!("../../../../packaging/ceph/bucket-policy.json");
const ROLES: [&str; 6] = ["client", "distributor", "controller", "operator", "recovery", "reader"];

fn user(role: &str) -> (String, String) {
    (format!("outplane-{role}"), format!("the-secret-of-a-{role}"))
}

/// The bucket, its policy, and the users that it names.
async fn prepare(ceph: &Ceph) {
    let (access, secret) = (ceph.access_key().to_owned(), ceph.secret_key().to_owned());
    let owner =
        Store::new(Settings::new(ceph.endpoints(), BUCKET, access.clone(), Secret::new(secret.clone())));
    owner.expect("good settings").ensure_bucket().await.expect("made");
    for role in ROLES {
        let (user, secret) = user(role);
        ceph.add_user(&user, &user, &secret).expect("made");
    }
    let config = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .endpoint_url(&ceph.endpoints()[0])
        .force_path_style(true)
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_s3::config::Credentials::new(access, secret, None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let owner = aws_sdk_s3::Client::from_conf(config);
    owner.put_bucket_policy().bucket(BUCKET).policy(POLICY).send().await.expect("RGW takes the policy");
}

/// Deletes all that is in the bucket, as who recovers.
async fn empty(ceph: &Ceph) {
    let (user, secret) = user("recovery");
    let settings = Settings::new(ceph.endpoints(), BUCKET, user, Secret::new(secret));
    let store = Store::new(settings).expect("good settings");
    loop {
        let page = store.list("", None, 1000).await.expect("listed");
        if page.entries.is_empty() {
            return;
        }
        let keys: Vec<String> = page.entries.into_iter().map(|entry| entry.key).collect();
        store.delete(&keys).await.expect("deleted");
    }
}

/// A role's file in a folder, and a command line with it.
struct Site {
    folder: tempfile::TempDir,
    endpoint: String,
    daemons: Vec<Child>,
}

impl Site {
    fn new(ceph: &Ceph, switch: &str) -> Self {
        let (folder, endpoint) = (folder(), ceph.endpoints()[0].clone());
        let site = Self { folder, endpoint, daemons: Vec::new() };
        for role in ["operator", "recovery", "reader"] {
            site.file(role, "d1");
        }
        file(site.path(), "shared.toml", &shared(switch));
        site
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The file of who has a role, as this node's.
    fn file(&self, role: &str, name: &str) -> String {
        let (user, secret) = user(role);
        let text = node_file(name, &self.endpoint, &user, &secret);
        let file_name = if name == "d1" && role != "distributor" { role } else { name };
        file(self.path(), &format!("{file_name}.toml"), &text)
    }

    fn run(&self, role: &str, line: &str) -> Run {
        let folder = self.path().display().to_string();
        let line = line.replace("DIR/", &format!("{folder}/"));
        let words = line.split(' ').map(str::to_owned);
        outplane(words.chain(["--config".to_owned(), format!("{folder}/{role}.toml")]))
    }

    /// Nodes with the credentials of their roles.
    fn start(&mut self) {
        for (role, name) in [("distributor", "d1"), ("controller", "c1"), ("controller", "c2")] {
            let path = self.file(role, name);
            let mut child =
                command([role, "--config", &path]).stdout(Stdio::piped()).spawn().expect("it starts");
            assert!(!first_line(&mut child).is_empty(), "{name} comes up");
            self.daemons.push(child);
        }
    }

    fn stop(&mut self) {
        for mut child in self.daemons.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The file that `config client` prints, with a client's credentials.
    fn client(&self) {
        let printed = self.run("operator", "config client ci-campus").ends(0).out;
        let (user, secret) = user("client");
        let text = printed
            .replace("{ env = \"OUTPLANE_ACCESS_KEY\" }", &format!("\"{user}\""))
            .replace("{ env = \"OUTPLANE_SECRET_KEY\" }", &format!("\"{secret}\""));
        file(self.path(), "client.toml", &text);
    }
}

/// The store has refused it, and that is said.
#[track_caller]
fn is_denied(run: &Run) {
    assert!(run.code != 0 && run.err.contains("AccessDenied"), "{}: {}{}", run.code, run.out, run.err);
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn each_role_does_its_work_on_ceph_and_no_others() {
    if let Some(why) = Ceph::why_not() {
        println!("SKIPPED: the command line against Ceph: {why}");
        return;
    }
    let ceph = Ceph::start(1).expect("Ceph starts");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(Box::pin(prepare(&ceph)));
    let switch = SoftSwitch::start();
    let mut site = Site::new(&ceph, &switch.address);
    site.run("operator", "config set DIR/shared.toml").ends(0);
    site.client();
    site.start();

    site.run("client", "apply examples/campus --dry-run").ends(0);
    let applied = site.run("client", "apply examples/campus -o json").ends(0).json();
    assert_eq!((&applied["converged"], &applied["generation"]), (&json!(true), &json!(1)), "{applied}");
    outplane(["check", "examples/campus"]).ends(0);
    for line in ["status", "tasks", "log", "config get", "config history", "intent history", "intent show 1"]
    {
        site.run("client", line).ends(0);
        site.run("reader", line).ends(0);
    }
    // Who reads writes nothing, and that is said.
    is_denied(&site.run("reader", "apply examples/campus --anyway --no-wait"));

    site.run("reader", "store backup DIR/one.backup").ends(0);
    let applied = site.run("client", "apply examples/campus --anyway --no-wait -o json").ends(0).json();
    assert_eq!(applied["generation"], json!(2), "{applied}");
    site.stop();
    runtime.block_on(Box::pin(empty(&ceph)));
    is_denied(&site.run("operator", "store restore DIR/one.backup"));
    let restored = site.run("recovery", "store restore DIR/one.backup").ends(0);
    assert!(restored.out.contains("outplane store recover"), "{}", restored.out);
    let line = "store recover -o json --without d1 --without c1 --without c2";
    // The operator's credentials end on the way, and the next run goes on from there.
    is_denied(&site.run("operator", line));
    let recovered = site.run("recovery", line).ends(0).json();
    assert!(recovered["network"].is_string(), "{recovered}");
    let next = recovered["next"].as_u64().expect("a number");
    let stale = site.run("client", "apply examples/campus").ends(1);
    assert!(stale.err.contains("the store is of network"), "{}", stale.err);
    site.client();
    site.start();
    let applied = site.run("client", "apply examples/campus -o json").ends(0).json();
    assert_eq!((&applied["converged"], &applied["generation"]), (&json!(true), &json!(next)), "{applied}");
}
