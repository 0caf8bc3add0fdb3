//! What becomes of the script's output: spool, mirror, pass-through.

pub mod mirror;
pub mod passthrough;
pub mod spool;
pub mod sync;
mod tail;
