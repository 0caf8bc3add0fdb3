//! Tests of the real program.

mod harness;
mod package;
mod support;

faultfs::share_server!();
