//! What users ask for: one model of it, its reader, and its plain meaning for one packet.
//!
//! This crate stands at the start of every change. [`reader`] turns policy files into an [`model::Intent`] or says
//! everything that is wrong with them; the compiler turns the intent into the tables of switches. [`evaluate`] says
//! what the intent means for one packet without any tables: `outplane trace --intent` asks it, and tests hold the
//! compiler against it. Nothing here talks to a switch, and only [`reader::load`] touches files.

pub mod advice;
pub mod changes;
pub mod deciders;
pub mod described;
pub mod evaluate;
pub mod expectation;
pub mod frame;
pub mod loosened;
pub mod model;
pub mod packet;
pub mod reader;
#[cfg(any(feature = "testing", test))]
pub mod testing;
pub mod touched;
