//! What the controllers have written into the store.

use std::collections::BTreeMap;
use std::time::Duration;

use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{Object, PacketBatch};
use outplane_rmdp_node::objects::Objects;
use tokio::time::sleep;

use super::{Arguments, print, print_left_out};
use crate::exit::Exit;
use crate::options::Format;
use crate::runtime;

/// Between two looks: controllers write once a second at most.
const POLL: Duration = Duration::from_secs(1);

/// Batches that are listed at most, and read at a time.
const MOST: usize = 1_000_000;
const AT_ONCE: usize = 16;

pub(super) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.node.open()?;
    let work = runtime::read_or_interrupted(show(arguments, format, &node.objects));
    let shown = runtime::block_on(work)??;
    match shown {
        Some(result) => result.map(|()| Exit::Done),
        // Ctrl-C is how following ends, or that whoever reads has seen enough.
        None => Ok(if arguments.follow { Exit::Done } else { Exit::Interrupted }),
    }
}

async fn show(arguments: &Arguments, format: Format, objects: &Objects) -> anyhow::Result<()> {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let (keys, _) = objects.list_all(&Prefix::Packets, MOST).await?;
    let batches = read(objects, keys, &mut last).await?;
    arguments.tell_if_none(batches.iter().flat_map(|batch| &batch.lines));
    show_batches(arguments, format, batches, arguments.lines)?;
    if !arguments.follow {
        return Ok(());
    }
    loop {
        sleep(POLL).await;
        let mut keys = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = objects.list(&Prefix::Packets, after.as_deref()).await?;
            let new = page.keys.into_iter().map(|listed| listed.key);
            keys.extend(new.filter(|key| match key {
                Key::Packets(node, number) => last.get(node).is_none_or(|last| number > last),
                _ => false,
            }));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let batches = read(objects, keys, &mut last).await?;
        show_batches(arguments, format, batches, None)?;
    }
}

/// The batches at these keys; those that are swept meanwhile, or cannot be read, are left out.
async fn read(
    objects: &Objects,
    keys: Vec<Key>,
    last: &mut BTreeMap<String, u64>,
) -> anyhow::Result<Vec<PacketBatch>> {
    let mut batches = Vec::new();
    for chunk in keys.chunks(AT_ONCE) {
        let mut reads = tokio::task::JoinSet::new();
        for key in chunk {
            if let Key::Packets(node, number) = key {
                let known = last.entry(node.clone()).or_default();
                *known = (*known).max(*number);
            }
            let (objects, key) = (objects.clone(), key.clone());
            reads.spawn(async move { objects.get(&key).await });
        }
        while let Some(read) = reads.join_next().await {
            match read? {
                Ok(Some(Object::Packets(batch))) => batches.push(batch),
                Ok(_) => {}
                Err(outplane_rmdp_node::Error::Object(error)) => tracing::warn!(%error, "left out"),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(batches)
}

/// In the order of time, as far as the controllers' clocks agree.
fn show_batches(
    arguments: &Arguments,
    format: Format,
    mut batches: Vec<PacketBatch>,
    only: Option<usize>,
) -> anyhow::Result<()> {
    batches.sort_by_key(|batch| (batch.at_ms, batch.number));
    let mut lines = Vec::new();
    for PacketBatch { node, lines: of_batch, left_out, at_ms, .. } in batches {
        lines.extend(
            of_batch.into_iter().filter(|line| arguments.wants(line)).map(|line| (node.clone(), line)),
        );
        print_left_out(format, Some(&node), at_ms, left_out)?;
    }
    lines.sort_by_key(|(_, line)| line.at_ms);
    let skip = only.map_or(0, |only| lines.len().saturating_sub(only));
    for (node, line) in lines.into_iter().skip(skip) {
        print(format, Some(&node), line)?;
    }
    Ok(())
}
