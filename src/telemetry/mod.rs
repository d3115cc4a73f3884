//! Every metric with unit and help; tracing set-up.
