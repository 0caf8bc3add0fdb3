//! Tests of the real program.

mod harness;
mod support;

faultfs::share_server!();
