//! Tests of the real program.

mod harness;
mod share;
mod steps;
mod supervision;
mod support;

faultfs::share_server!();
