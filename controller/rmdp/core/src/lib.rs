//! RMDP's decisions: distributor, controller, watchdog, degradation; pure state machines.
