//! Tests of the real program.

mod check;
mod harness;
mod steps;
mod support;

faultfs::share_server!();
