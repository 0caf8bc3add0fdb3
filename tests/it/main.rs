//! Tests of the real program.

mod steps;
