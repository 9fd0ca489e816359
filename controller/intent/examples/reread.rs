//! What reading a cluster's policy files costs from nothing, and after single edits:
//! `cargo run --release -p outplane-intent --features testing --example reread [PODS POLICIES]`.

use std::error::Error;
use std::time::{Duration, Instant};

use outplane_intent::reader::{self, IncrementalReader};
use outplane_intent::testing::{Cluster, files, of_kind, texts};

/// Of each kind.
const EDITS: usize = 60;
const PODS_A_NAMESPACE: u32 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse());
    let pods: u32 = numbers.next().transpose()?.unwrap_or(10_000);
    let policies = numbers.next().transpose()?.unwrap_or(3_000);
    let mut cluster = Cluster::new((pods / PODS_A_NAMESPACE).max(1), pods, policies, 1);
    let mut now = texts(cluster.intent());
    let first = files(&now);
    let bytes: usize = first.iter().map(|(_, text)| text.len()).sum();
    println!("{pods} pods, {policies} policies: {} files, {} bytes", first.len(), bytes);

    let parsed = timed(9, || reader::parse(files(&now)));
    println!("{:<32} p50 {:>9.2?}", "from nothing", parsed[parsed.len() / 2]);
    let mut reader = IncrementalReader::new();
    let start = Instant::now();
    reader.read(first)?;
    println!("{:<32}     {:>9.2?}", "the first time", start.elapsed());
    let mut same = times(EDITS, |_| Ok(reread(&mut reader, &now)?.0))?;
    tell("nothing", &mut same);

    let (first, last) = (of_kind(&now, "Pod"), of_kind(&now, "NetworkPolicy"));
    let places =
        [("start", first.start), ("middle", usize::midpoint(first.start, first.end)), ("end", first.end - 1)];
    for (place, at) in places {
        let mut relabelled = times(EDITS, |turn| {
            now[at] = with_label(&now[at], turn);
            Ok(reread(&mut reader, &now)?.0)
        })?;
        tell(&format!("a pod relabelled, {place}"), &mut relabelled);
        let pod = now[at].clone();
        let (mut gone, mut back) = (Vec::new(), Vec::new());
        for _ in 0..EDITS {
            now.remove(at);
            gone.push(reread(&mut reader, &now)?.0);
            now.insert(at, pod.clone());
            back.push(reread(&mut reader, &now)?.0);
        }
        tell(&format!("a pod removed, {place}"), &mut gone);
        tell(&format!("a pod added, {place}"), &mut back);
    }
    for (place, at) in [("middle", usize::midpoint(last.start, last.end)), ("end", last.end - 1)] {
        let policy = now[at].clone();
        let (mut gone, mut back) = (Vec::new(), Vec::new());
        for _ in 0..EDITS {
            now.remove(at);
            gone.push(reread(&mut reader, &now)?.0);
            now.insert(at, policy.clone());
            back.push(reread(&mut reader, &now)?.0);
        }
        tell(&format!("a policy removed, {place}"), &mut gone);
        tell(&format!("a policy added, {place}"), &mut back);
        let other =
            policy.replacen("\"podSelector\": {", "\"podSelector\": {\"matchLabels\": {\"a\": \"b\"}, ", 1);
        let mut edited = times(EDITS, |turn| {
            now[at].clone_from(if turn % 2 == 0 { &other } else { &policy });
            Ok(reread(&mut reader, &now)?.0)
        })?;
        tell(&format!("a policy edited, {place}"), &mut edited);
    }
    // Edits as they come, which may be far apart from the ones before.
    let mut any = times(EDITS, |_| {
        cluster.edit();
        now = texts(cluster.intent());
        Ok(reread(&mut reader, &now)?.0)
    })?;
    tell("any edit", &mut any);
    Ok(())
}

fn with_label(document: &str, turn: usize) -> String {
    let at = document.find("\"labels\": {").map_or(0, |at| at + "\"labels\": {".len());
    let rest = document[at..].trim_start().strip_prefix("\"turn\": ").and_then(|rest| rest.split_once(','));
    let rest = rest.map_or(&document[at..], |(_, rest)| rest);
    format!("{}\"turn\": \"t{turn}\",{rest}", &document[..at])
}

/// What it takes, and how many objects it touches.
fn reread(reader: &mut IncrementalReader, documents: &[String]) -> Result<(Duration, usize), Box<dyn Error>> {
    let texts = files(documents);
    let start = Instant::now();
    let read = reader.read(texts)?;
    let took = start.elapsed();
    Ok((took, read.touched.pods.len() + read.touched.network_policies.len()))
}

fn timed<T>(times: usize, mut work: impl FnMut() -> T) -> Vec<Duration> {
    let mut took: Vec<_> = (0..times)
        .map(|_| {
            let start = Instant::now();
            let made = work();
            let took = start.elapsed();
            drop(made);
            took
        })
        .collect();
    took.sort_unstable();
    took
}

fn times(
    count: usize,
    each: impl FnMut(usize) -> Result<Duration, Box<dyn Error>>,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    (0..count).map(each).collect()
}

fn tell(what: &str, took: &mut [Duration]) {
    took.sort_unstable();
    let p99 = took[(took.len() * 99 / 100).min(took.len() - 1)];
    println!("{what:<32} p50 {:>9.2?}  p99 {p99:>9.2?}", took[took.len() / 2]);
}
