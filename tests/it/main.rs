//! Tests of the real program.

mod agent_log;
mod check;
mod cli;
mod environment;
mod exit_codes;
mod harness;
mod logs;
mod once;
mod package;
mod page;
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
