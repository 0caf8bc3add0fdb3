//! Tests of the real program.

mod check;
mod cli;
mod environment;
mod exit_codes;
mod harness;
mod logs;
mod once;
mod package;
mod places;
mod records;
mod rehearsal;
mod rejections;
mod requests;
mod share;
mod steps;
mod supervision;
mod support;
mod terminal;

faultfs::share_server!();
