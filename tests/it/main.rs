//! Tests of the real program.

mod cli;
mod environment;
mod exit_codes;
mod harness;
mod once;
mod places;
mod records;
mod rehearsal;
mod rejections;
mod requests;
mod support;

faultfs::share_server!();
