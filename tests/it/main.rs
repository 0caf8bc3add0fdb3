//! Tests of the real program.

mod harness;
mod support;
