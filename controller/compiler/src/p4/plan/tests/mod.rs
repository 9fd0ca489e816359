//! A switch as a map, and what it must show at every moment of a plan.

mod cases;
mod model;
mod random;
