//! What is remembered of runs: their outcome, what has run once, and who may run now.

pub mod history;
pub mod outcome;
pub mod state;
pub mod steps;

pub use outcome::Outcome;
