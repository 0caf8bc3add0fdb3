//! Tests of the real program.

mod harness;
mod package;
mod share;
mod steps;
mod supervision;
mod support;

faultfs::share_server!();
