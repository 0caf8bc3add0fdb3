//! What is remembered of runs: their outcome, what has run once, and who may run now.

mod blank;
pub mod history;
pub mod names;
pub mod outcome;
pub mod redaction;
pub mod state;
pub mod steps;
pub mod words;

pub use outcome::Outcome;
