//! Driver for switches that speak `P4Runtime`.
