//! The built binary on files, pipes and the embedded switch.

mod alerts;
mod ceph;
mod check;
mod client;
mod compile;
mod config;
mod docs;
mod expect;
mod help;
mod intent;
mod journal;
mod kills;
mod lab;
mod other;
mod pause;
mod probe;
mod recover;
mod softswitch;
mod support;
mod switch;
mod trace;
