//! Carts and orders with real variants: one named test per rule, random shoppers against a naive model, and random
//! interleavings of their messages.
mod checking_out;
mod house;
mod interleaved;
mod merging;
mod model;
mod rewound;
mod rules;
