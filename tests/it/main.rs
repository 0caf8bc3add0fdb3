//! Tests of the real program.

mod harness;
mod supervision;
mod support;

faultfs::share_server!();
