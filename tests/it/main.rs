//! Tests of the real program.

faultfs::share_server!();
