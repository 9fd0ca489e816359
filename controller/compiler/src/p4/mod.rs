//! Rows on a switch that runs `outplane.p4`: classes, entries, cells of its meter.

pub(crate) mod meters;
pub(crate) mod rows;
pub(crate) mod spaces;
pub(crate) mod terms;
