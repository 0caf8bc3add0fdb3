//! Tests of the real program.

mod harness;
mod share;
mod support;

faultfs::share_server!();
