//! RMDP on the wire: datagrams, authentication tags, transaction ids.
