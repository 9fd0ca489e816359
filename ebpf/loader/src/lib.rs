//! Loads the XDP program for RMDP and reads what it delivers and counts.
