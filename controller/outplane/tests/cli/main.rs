//! The built binary on files, pipes and the embedded switch.

mod support;
