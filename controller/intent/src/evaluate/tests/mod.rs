//! docs/policy-semantics.md, case by case.

mod build;
mod cluster_policies;
mod filters;
mod fragments;
mod isolation;
mod ports;
mod related;
mod replies;
mod segments;
mod spoofing;
mod trace;
mod unread;
mod world;
