//! What policies come to before any switch is thought of: rows.
//!
//! ```text
//!   policies -> who is meant (`peers`) -> rows: stage, sets, conditions, effect (`row`, `terms`)
//! ```
//! Filter policies make them (`filter`, `traffic`), the pods' policies (`pods`), and what frames are that a switch cannot
//! read (`unread`); places in policies become priorities (`priority`), rate limits cells (`meters`). Nothing in here names
//! a table, an action or a match field: a target says what its own are ([`crate::p4::terms`]).

pub(crate) mod content;
pub(crate) mod filter;
pub(crate) mod meters;
pub(crate) mod notes;
mod openings;
pub(crate) mod peers;
pub(crate) mod pods;
pub(crate) mod priority;
mod related;
pub(crate) mod row;
pub(crate) mod slots;
pub(crate) mod terms;
mod traffic;
pub(crate) mod unit;
pub(crate) mod unread;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use outplane_intent::model::{FilterPolicy, Intent};

use meters::Limiters;
use notes::{Note, Opening, Unread};
use peers::Resolver;
use priority::{Places, TooManyRules};
use row::Rows;

/// The rows of all policies of a switch, and what becomes of frames that it cannot read.
pub(crate) fn compile(
    filters: &[(&str, &FilterPolicy)],
    scene: &Scene<'_>,
    limiters: &Limiters,
    places: &mut Places<'_>,
    findings: &mut Findings,
) -> Result<(Rows, Vec<Unread>), TooManyRules> {
    let mut resolver = Resolver::new(scene.intent);
    let mut rows = Rows::default();
    filter::compile(filters, scene, limiters, places, &mut resolver, &mut rows, findings)?;
    let denial = pods::compile(scene.intent, places, &mut resolver, &mut rows, findings)?;
    let unread = unread::compile(filters, scene, limiters, denial.as_ref(), &mut rows);
    Ok((rows, unread))
}

/// What all parts of a compilation share.
pub(crate) struct Scene<'s> {
    pub(crate) intent: &'s Intent,
    pub(crate) segments: &'s BTreeMap<String, u16>,
    pub(crate) at: Timestamp,
}

/// What compiling finds beside entries. Switches find the same things again.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) notes: BTreeSet<Note>,
    pub(crate) openings: Openings,
}

/// Each with the place at which it was found first.
#[derive(Debug, Default)]
pub(crate) struct Openings(BTreeMap<Opening, usize>);

impl Openings {
    fn extend(&mut self, openings: impl IntoIterator<Item = Opening>) {
        for opening in openings {
            let place = self.0.len();
            self.0.entry(opening).or_insert(place);
        }
    }

    pub(crate) fn in_order(self) -> Vec<Opening> {
        let mut openings: Vec<(Opening, usize)> = self.0.into_iter().collect();
        openings.sort_unstable_by_key(|(_, place)| *place);
        openings.into_iter().map(|(opening, _)| opening).collect()
    }
}
