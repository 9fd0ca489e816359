//! Distributors and controllers: RMDP's decisions with sockets, a store and switches.
