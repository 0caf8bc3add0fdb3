//! What becomes of the script's output: spool, mirror, and when it came.

pub mod excerpt;
pub mod mirror;
pub mod spool;
pub mod tail;
pub mod times;
