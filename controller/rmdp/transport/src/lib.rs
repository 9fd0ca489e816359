//! Sends RMDP datagrams, and receives the first copy of each.
