//! An S3 endpoint for one machine, with atomic and durable conditional writes.
