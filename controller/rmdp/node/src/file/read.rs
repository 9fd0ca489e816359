//! From a file's text to what it means: every key, its bounds and its default.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outplane_rmdp_core::key::check_name;
use outplane_rmdp_core::task::NetworkId;
use toml::de::{DeTable, DeValue};

use super::problem::{FileError, Problems};
use super::secret::{self, Secret};
use super::table::{Found, Section};
use super::{
    ClientFile, Identity, Loaded, LogFormat, LogLevel, LogSettings, NetworkSettings, NodeFile, StoreSettings,
    XdpChoice,
};
use crate::plain;

/// Where metrics and health are served if the file does not say.
const DEFAULT_HTTP: &str = "127.0.0.1:9464";
/// Where the XDP program is pinned if the file does not say.
const DEFAULT_PIN_ROOT: &str = "/sys/fs/bpf/outplane";
/// Most endpoints of a store.
const MAX_ENDPOINTS: usize = 16;
/// Most keys: two are in use while keys change, the rest is the future's.
const MAX_KEYS: usize = 16;
/// What reading stands in for where a value is wrong; the problem is noted, so it is never used.
const UNKNOWN: &str = "";

/// What reading needs to know beside the table, and what it notes.
struct Context<'t> {
    problems: Problems<'t>,
    warnings: Vec<String>,
    of_daemon: Vec<String>,
    path: &'t Path,
    folder: PathBuf,
    environment: &'t dyn Fn(&str) -> Option<String>,
    /// Some secret stands in the file itself.
    secret_inside: bool,
}

/// A node's file.
pub(super) fn read(
    text: &str,
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, FileError> {
    let (file, context) = whole(text, path, environment, |root, context| {
        if let Some(client) = root.find("client") {
            let cure = "give a node's own file, which has its name and its keys (docs/configuration.md)";
            context.problems.add(&client.span, "client", "this is a client's file, and a node is none", cure);
            return None;
        }
        Some(node(root, context))
    })?;
    Ok(Loaded { file, warnings: context.0, of_daemon: context.1 })
}

/// A node's file, or a client's, which has a table `client`. With its warnings.
pub(super) fn identity(
    text: &str,
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(Identity, Vec<String>), FileError> {
    let (file, (warnings, _)) = whole(text, path, environment, |root, context| {
        Some(match root.find("client") {
            Some(_) => Identity::Client(Box::new(client(root, context))),
            None => Identity::Node(Box::new(node(root, context))),
        })
    })?;
    Ok((file, warnings))
}

fn node(root: &mut Section<'_, '_>, context: &mut Context<'_>) -> NodeFile {
    let name = name(root, context);
    let (pin_root, memory) = state(root.section("state", &mut context.problems), context, &name);
    NodeFile {
        store: store(root.section("store", &mut context.problems), context),
        keys: keys(root.section("keys", &mut context.problems), context),
        network: network(root.section("network", &mut context.problems), &mut context.problems),
        http: http(root.section("http", &mut context.problems), context),
        log: log(root.section("log", &mut context.problems), &mut context.problems),
        pin_root,
        memory,
        name,
    }
}

fn client(root: &mut Section<'_, '_>, context: &mut Context<'_>) -> ClientFile {
    let problems = &mut context.problems;
    let mut section = root.section("client", problems);
    let name = section.find("name").and_then(|found| checked(&found, problems, author_problem));
    let id = section.require("network", "\"0123456789abcdef\"", problems);
    let network = id.and_then(|found| {
        let text = found.text(problems)?;
        let network = text.parse::<NetworkId>();
        if let Err(bad) = &network {
            let cure = "`outplane config client` prints a file with the store's";
            problems.add(&found.span, &found.key, bad.to_string(), cure);
        }
        network.ok()
    });
    section.finish(problems);
    let store = store(root.section("store", &mut context.problems), context);
    // What makes a node of it has no place here.
    for key in ["name", "keys", "network", "http", "state"] {
        if let Some(found) = root.find(key) {
            let what = "a client has none: it is no node";
            context.problems.add(
                &found.span,
                key,
                what,
                "remove it, or remove [client] if this is a node's file",
            );
        }
    }
    ClientFile { name, network: network.unwrap_or_default(), store }
}

/// Who applies, in the intent log.
pub(super) fn author_problem(name: &str) -> Result<(), (String, &'static str)> {
    /// Longest name, bytes.
    const LONGEST: usize = 200;
    if name.trim().is_empty() || name.len() > LONGEST || name.chars().any(char::is_control) {
        return Err(("this names nobody".to_owned(), "write 1 to 200 letters without control characters"));
    }
    Ok(())
}

/// The warnings that concern everybody, and those that concern daemons.
type Warnings = (Vec<String>, Vec<String>);

/// Reads a file as a whole: its TOML, what `parts` makes of it, and what it leaves over.
fn whole<T>(
    text: &str,
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
    parts: impl FnOnce(&mut Section<'_, '_>, &mut Context<'_>) -> Option<T>,
) -> Result<(T, Warnings), FileError> {
    let mut problems = Problems::new(text);
    let (table, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        problems.add(&error.span().unwrap_or(0..0), "", error.message(), "correct the TOML (toml.io)");
    }
    if problems.any() {
        // What is missing for want of a quote is no problem of its own.
        return Err(problems.into_error(path));
    }

    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut context = Context {
        problems,
        warnings: Vec::new(),
        of_daemon: Vec::new(),
        path,
        folder,
        environment,
        secret_inside: false,
    };
    let mut root = Section::root(&table);
    let Some(file) = parts(&mut root, &mut context) else { return Err(context.problems.into_error(path)) };
    root.finish(&mut context.problems);
    if context.problems.any() {
        return Err(context.problems.into_error(path));
    }
    if context.secret_inside && secret::world_readable(path) {
        context.warn_world_readable(path);
    }
    Ok((file, (context.warnings, context.of_daemon)))
}

fn name(root: &mut Section<'_, '_>, context: &mut Context<'_>) -> String {
    let problems = &mut context.problems;
    let found = root.require("name", "\"c1\"", problems);
    let Some((found, name)) = found.and_then(|found| found.text(problems).map(|text| (found, text))) else {
        return UNKNOWN.to_owned();
    };
    if let Err(bad) = check_name(name) {
        let cure = "write the name that the shared configuration has for this node";
        problems.add(&found.span, &found.key, bad.to_string(), cure);
    }
    name.to_owned()
}

fn store(mut section: Section<'_, '_>, context: &mut Context<'_>) -> StoreSettings {
    let problems = &mut context.problems;
    let endpoints = section
        .require("endpoints", "[\"https://s3.example:443\"]", problems)
        .map(|found| endpoints(&found, problems))
        .unwrap_or_default();
    let bucket = section.require("bucket", "\"outplane\"", problems);
    let bucket = bucket.and_then(|found| checked(&found, problems, bucket_problem)).unwrap_or_default();
    let prefix = section.find("prefix").and_then(|found| checked(&found, problems, prefix_problem));
    let region = section.find("region").and_then(|found| checked(&found, problems, not_empty));
    let access_key = section.require("access_key", "\"..\"`, or `access_key = { file = \"..\" }", problems);
    let secret_key = section.require("secret_key", "{ file = \"..\" }", problems);
    let ca = section.find("ca").and_then(|found| checked(&found, problems, not_empty));
    let mut millis = |key, bounds: std::ops::RangeInclusive<u64>, default| {
        let found = section.find(key).and_then(|found| found.number(&bounds, problems));
        Duration::from_millis(found.unwrap_or(default))
    };
    let attempt_timeout = millis("attempt_timeout_ms", 10..=60_000, 150);
    let call_timeout = millis("call_timeout_ms", 100..=600_000, 5_000);
    let insecure = section.find("insecure").and_then(|found| found.boolean(problems)).unwrap_or(false);
    if attempt_timeout > call_timeout {
        let what = "is longer than call_timeout_ms, the time for all tries together";
        let place = section.find("attempt_timeout_ms").or_else(|| section.find("call_timeout_ms"));
        if let Some(place) = place {
            problems.add(&place.span, "store.attempt_timeout_ms", what, "make it shorter");
        }
    }
    if let (Some(ca), false) = (section.find("ca"), endpoints.iter().any(|url| url.starts_with("https:")))
        && !endpoints.is_empty()
    {
        let what = "there is no endpoint with https:// to check by it";
        problems.add(&ca.span, &ca.key, what, "use https:// endpoints, or remove it");
    }
    let access_key = access_key.and_then(|found| context.secret(&found)).unwrap_or_default();
    let secret_key = secret_key.and_then(|found| context.secret(&found)).unwrap_or_default();
    section.finish(&mut context.problems);
    if !insecure {
        context.warnings.extend(endpoints.iter().filter_map(|url| plain::endpoint(url)));
    }
    StoreSettings {
        endpoints,
        bucket,
        prefix: prefix.unwrap_or_default(),
        region: region.unwrap_or_else(|| "us-east-1".to_owned()),
        access_key: Secret::new(access_key),
        secret_key: Secret::new(secret_key),
        ca: ca.map(|path| context.folder.join(path)),
        attempt_timeout,
        call_timeout,
    }
}

fn endpoints(found: &Found<'_, '_>, problems: &mut Problems<'_>) -> Vec<String> {
    let texts = found.texts(problems);
    if matches!(found.value, DeValue::Array(array) if array.is_empty()) {
        problems.add(&found.span, &found.key, "there is none", "give the URL of at least one endpoint");
    }
    if texts.len() > MAX_ENDPOINTS {
        let what = format!("{} endpoints are too many", texts.len());
        problems.add(&found.span, &found.key, what, format!("give at most {MAX_ENDPOINTS}"));
    }
    let mut urls = Vec::new();
    for (text, span) in texts {
        let url = text.strip_suffix('/').unwrap_or(text);
        if !is_url(url) {
            let cure = "write http:// or https://, a host, and the port if it is not 80 or 443";
            // A URL may carry a password, so it is not repeated.
            problems.add(&span, &found.key, "this is no URL of an endpoint", cure);
        } else if urls.iter().any(|other| other == url) {
            problems.add(&span, &found.key, format!("`{url}` is there twice"), "remove one");
        } else {
            urls.push(url.to_owned());
        }
    }
    urls
}

/// `http[s]://host[:port]`, without path, user or password.
fn is_url(url: &str) -> bool {
    let Some(authority) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return false;
    };
    let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((inside, after))) => {
            if inside.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (inside, if after.is_empty() { None } else { after.strip_prefix(':').or(Some("")) })
        }
        Some(None) => return false,
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    !host.is_empty()
        && host.chars().all(plain)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|p| p > 0))
}

fn bucket_problem(bucket: &str) -> Result<(), (String, &'static str)> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    if (3..=63).contains(&bucket.len()) && bucket.bytes().all(plain) {
        return Ok(());
    }
    Err((format!("`{bucket}` is no name of a bucket"), "write 3 to 63 of a-z, 0-9, `-` and `.`"))
}

fn prefix_problem(prefix: &str) -> Result<(), (String, &'static str)> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    if !prefix.is_empty() && !prefix.ends_with('/') {
        return Err((format!("`{prefix}` does not end with `/`"), "end it with `/`, or leave it out"));
    }
    if prefix.len() > 200 || prefix.starts_with('/') || !prefix.bytes().all(plain) {
        return Err((
            format!("`{prefix}` cannot stand before keys"),
            "write at most 200 of letters, digits, `-`, `_`, `.` and `/`, the first no `/`",
        ));
    }
    Ok(())
}

fn not_empty(text: &str) -> Result<(), (String, &'static str)> {
    if text.is_empty() { Err(("it is empty".to_owned(), "give a value, or leave it out")) } else { Ok(()) }
}

fn checked(
    found: &Found<'_, '_>,
    problems: &mut Problems<'_>,
    check: fn(&str) -> Result<(), (String, &'static str)>,
) -> Option<String> {
    let text = found.text(problems)?;
    if let Err((what, cure)) = check(text) {
        problems.add(&found.span, &found.key, what, cure);
    }
    Some(text.to_owned())
}

fn keys(section: Section<'_, '_>, context: &mut Context<'_>) -> BTreeMap<u16, Secret<[u8; 16]>> {
    let entries = section.all();
    let mut keys = BTreeMap::new();
    if entries.is_empty() {
        let cure = "add `[keys]` with `1 = { file = \"..\" }`; `openssl rand -hex 16` makes a key";
        context.problems.add(&(0..0), "keys", "there is no key to authenticate datagrams with", cure);
    }
    if let Some((_, place, _)) = entries.get(MAX_KEYS) {
        context.problems.add(place, "keys", "too many keys", format!("keep at most {MAX_KEYS}"));
    }
    for (name, place, found) in entries.iter().take(MAX_KEYS) {
        // One way to write a number, so that no id is there twice.
        let Some(id) = name.parse::<u16>().ok().filter(|id| id.to_string() == *name) else {
            let cure = "write key ids as whole numbers from 0 to 65535, as in the shared configuration";
            context.problems.add(place, &found.key, "this is no key id", cure);
            continue;
        };
        let Some(digits) = context.secret(found) else { continue };
        match secret::key_from_hex(&digits) {
            Ok(key) => {
                keys.insert(id, Secret::new(key));
            }
            Err(what) => {
                context.problems.add(&found.span, &found.key, what, "`openssl rand -hex 16` makes a key");
            }
        }
    }
    keys
}

fn network(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> NetworkSettings {
    let interface = section.find("interface").and_then(|found| checked(&found, problems, interface_problem));
    let words = [("auto", XdpChoice::Auto), ("required", XdpChoice::Required), ("off", XdpChoice::Off)];
    let place = section.find("xdp");
    let xdp = place.as_ref().and_then(|found| found.word(&words, problems)).unwrap_or_default();
    if let (XdpChoice::Required, None, Some(place)) = (xdp, &interface, &place) {
        let what = "XDP works on one interface, and none is named";
        problems.add(&place.span, &place.key, what, "name it with `interface`");
    }
    let mut bind: Vec<IpAddr> = Vec::new();
    if let Some(found) = section.find("bind") {
        for (text, span) in found.texts(problems) {
            match text.parse::<IpAddr>() {
                Ok(address) if address.is_multicast() => {
                    let what = format!("`{address}` is a group, which this node joins anyway");
                    problems.add(&span, &found.key, what, "give an address of this node");
                }
                Ok(address) if bind.iter().any(|other| other.is_ipv4() == address.is_ipv4()) => {
                    let what = format!("`{address}` is the second of its family");
                    problems.add(&span, &found.key, what, "give at most one IPv4 and one IPv6 address");
                }
                Ok(address) => bind.push(address),
                Err(_) => {
                    let what = format!("`{text}` is no IP address");
                    problems.add(&span, &found.key, what, "write an address of this node, without a port");
                }
            }
        }
    }
    section.finish(problems);
    NetworkSettings { interface, xdp, bind }
}

/// Names as Linux has them (`dev_valid_name`).
fn interface_problem(name: &str) -> Result<(), (String, &'static str)> {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace();
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(odd) {
        return Err((format!("`{name}` is no name of an interface"), "`ip link` shows the names"));
    }
    Ok(())
}

fn http(mut section: Section<'_, '_>, context: &mut Context<'_>) -> Option<SocketAddr> {
    let problems = &mut context.problems;
    let insecure = section.find("insecure").and_then(|found| found.boolean(problems)).unwrap_or(false);
    let listen = section.find("listen");
    let text = listen.as_ref().map_or(Some(DEFAULT_HTTP), |found| found.text(problems));
    section.finish(problems);
    let text = text.filter(|text| *text != "off")?;
    let address = text.parse().ok();
    if let (None, Some(found)) = (address, listen) {
        let cure = "write an address and a port, as in \"127.0.0.1:9464\" or \"[::]:9464\", or \"off\"";
        problems.add(&found.span, &found.key, format!("`{text}` is no address to listen on"), cure);
    }
    let harm = "whoever reaches it reads metrics and status, there is no password";
    let cure = "say `insecure = true` in [http] if that is meant";
    let told = address.and_then(|address| plain::listener("HTTP (/metrics, /status)", address, harm, cure));
    context.of_daemon.extend(told.filter(|_| !insecure));
    address
}

fn log(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> LogSettings {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = section.find("format").and_then(|found| found.word(&formats, problems));
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let level = section.find("level").and_then(|found| found.word(&levels, problems));
    section.finish(problems);
    LogSettings { format: format.unwrap_or_default(), level: level.unwrap_or_default() }
}

/// Where XDP is pinned, and where the node remembers: in the folder that systemd gives it, if nothing is said.
fn state(mut section: Section<'_, '_>, context: &mut Context<'_>, name: &str) -> (PathBuf, Option<PathBuf>) {
    let given = (context.environment)("STATE_DIRECTORY");
    let given = given.as_deref().and_then(|folders| folders.split(':').next()).filter(|f| !f.is_empty());
    let problems = &mut context.problems;
    let found = section.find("pin_root");
    let path = found.as_ref().and_then(|found| checked(found, problems, not_empty));
    let path = PathBuf::from(path.unwrap_or_else(|| DEFAULT_PIN_ROOT.to_owned()));
    if let (false, Some(found)) = (path.is_absolute(), &found) {
        let what = format!("`{}` is no absolute path", path.display());
        problems.add(&found.span, &found.key, what, "name a folder in a bpffs, such as /sys/fs/bpf/outplane");
    }
    let found = section.find("memory");
    let memory = match found.as_ref().map(|found| checked(found, problems, not_empty)) {
        Some(said) => said.filter(|said| said != "off").map(|said| context.folder.join(said)),
        None => {
            given.filter(|_| !name.is_empty()).map(|folder| Path::new(folder).join(format!("{name}.json")))
        }
    };
    section.finish(problems);
    (path, memory)
}

impl Context<'_> {
    /// A secret: text, `{ file = ".." }` or `{ env = ".." }`.
    fn secret(&mut self, found: &Found<'_, '_>) -> Option<String> {
        match found.value {
            DeValue::String(text) => {
                self.secret_inside = true;
                self.not_blank(text, &found.span, &found.key)
            }
            DeValue::Table(table) => self.secret_elsewhere(table, found),
            other => {
                let cure =
                    "write the secret in quotes, or where it is: { file = \"..\" } or { env = \"..\" }";
                found.wrong_type(other, "a secret", cure, &mut self.problems);
                None
            }
        }
    }

    fn secret_elsewhere(&mut self, table: &DeTable<'_>, found: &Found<'_, '_>) -> Option<String> {
        let mut entries = table.iter();
        let (Some((kind, place)), None) = (entries.next(), entries.next()) else {
            let cure = "write one of { file = \"..\" } and { env = \"..\" }";
            self.problems.add(&found.span, &found.key, "where the secret is must be said once", cure);
            return None;
        };
        let key = format!("{}.{}", found.key, kind.get_ref());
        let place = Found { key, value: place.get_ref(), span: place.span() };
        match kind.get_ref().as_ref() {
            "file" => self.secret_file(&place),
            "env" => {
                let variable = place.text(&mut self.problems)?;
                if let Some(value) = (self.environment)(variable) {
                    return self.not_blank(&value, &place.span, &place.key);
                }
                let what = format!("the environment has no variable `{variable}`, or it is not UTF-8");
                self.problems.add(&place.span, &place.key, what, "set it, or use { file = \"..\" }");
                None
            }
            _ => {
                let cure = "write { file = \"..\" } or { env = \"..\" }";
                self.problems.add(&kind.span(), &place.key, "unknown key", cure);
                None
            }
        }
    }

    fn secret_file(&mut self, place: &Found<'_, '_>) -> Option<String> {
        let path = self.folder.join(place.text(&mut self.problems)?);
        match secret::read_regular(&path) {
            Ok(text) => {
                if secret::world_readable(&path) {
                    self.warn_world_readable(&path);
                }
                self.not_blank(&text, &place.span, &place.key)
            }
            Err(why) => {
                let what = format!("{} cannot be read: {why}", path.display());
                let cure = "name a file that this user may read";
                self.problems.add(&place.span, &place.key, what, cure);
                None
            }
        }
    }

    fn not_blank(&mut self, secret: &str, span: &Range<usize>, key: &str) -> Option<String> {
        let secret = secret.trim();
        if secret.is_empty() {
            self.problems.add(span, key, "the secret is empty", "give one");
            return None;
        }
        Some(secret.to_owned())
    }

    fn warn_world_readable(&mut self, path: &Path) {
        let own = if path == self.path { " has secrets and" } else { "" };
        self.warnings.push(format!(
            "{}{own} can be read by every user of this machine; take that away with `chmod o-r`",
            path.display()
        ));
    }
}
