//! The store of tasks, claims and results: any S3 with honest conditional writes.
