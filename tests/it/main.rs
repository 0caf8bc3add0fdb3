//! Tests of the real program.

mod harness;
mod steps;
mod support;

faultfs::share_server!();
