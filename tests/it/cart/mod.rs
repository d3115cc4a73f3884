//! Carts with real variants: one named test per rule, and random shoppers against a naive model.
mod checking_out;
mod house;
mod merging;
mod model;
mod rules;
