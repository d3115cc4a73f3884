//! Recovery, checkpoints and projections over both back ends: what lies on the disk is the house, whatever happened.
mod agents;
mod capture;
mod damage;
mod gate;
mod house;

mod repair;
mod restart;
mod seed;
