//! Translate in, translate out.
pub mod auth;
pub mod docs;
pub mod extract;
pub mod failure;
pub mod frame;
pub mod front;
pub mod health;
pub mod listener;
pub mod openapi;
pub mod operations;
mod origin;
pub mod problem;
pub mod refusal;
pub mod router;
pub(crate) mod routes;
pub mod site;
pub(crate) mod stock_file;
pub mod time;
pub mod view;

pub(crate) use routes::{orders::STATUSES as ORDER_STATUSES, reservations::STATUSES as RESERVATION_STATUSES};
