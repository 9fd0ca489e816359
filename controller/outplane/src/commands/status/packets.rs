//! Packets that rules with `log` denied lately, and where they are.

use std::io::{self, Write};
use std::time::Duration;

use outplane_rmdp_core::io::Listed;
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::Object;
use outplane_rmdp_node::objects::Objects;
use serde::Serialize;

use crate::output::{HEAD, grouped, styled};

/// What counts as lately.
const LATELY: Duration = Duration::from_mins(1);
/// Batches that are read at most: controllers write one a second.
const MOST: usize = 16;
/// Pages that are listed at most.
const PAGES: usize = 4;

/// What was denied lately.
#[derive(Serialize)]
pub(super) struct Packets {
    /// In so many seconds.
    seconds: u64,
    /// Packets, those without a line among them.
    denied: u64,
    /// There are more: not everything was counted.
    more: bool,
}

impl Packets {
    /// By what the controllers have written: a listing, and a few of the newest batches.
    pub(super) async fn read(objects: &Objects) -> anyhow::Result<Self> {
        let (mut young, mut after, mut pages): (Vec<Key>, Option<String>, usize) = (Vec::new(), None, 0);
        loop {
            let page = objects.list(&Prefix::Packets, after.as_deref()).await?;
            let lately = page.keys.into_iter().filter(|listed| listed.age <= LATELY);
            young.extend(lately.map(|Listed { key, .. }| key));
            pages += 1;
            match page.next.filter(|_| pages < PAGES) {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let more = young.len() > MOST || pages == PAGES;
        let mut denied = 0;
        for key in young.iter().rev().take(MOST) {
            if let Some(Object::Packets(batch)) = objects.get_readable(key).await? {
                denied += batch.lines.len() as u64 + batch.left_out;
            }
        }
        Ok(Self { seconds: LATELY.as_secs(), denied, more })
    }

    /// For people.
    pub(super) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { seconds, denied, more } = self;
        writeln!(out, "\n{}", styled(HEAD, "Packets that rules with `log` denied"))?;
        let least = if *more { "at least " } else { "" };
        let which = if *denied == 0 { "" } else { ": `outplane log --follow` says which, and by which rule" };
        writeln!(out, "  {least}{} in the last {seconds} s{which}", grouped(*denied))
    }
}
