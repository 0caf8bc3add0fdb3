//! Parse, call, exit code. Nothing else.
fn main() {}
