//! What becomes of the script's output: spool, mirror, pass-through, and when it came.

pub mod excerpt;
pub mod mirror;
pub mod passthrough;
pub mod spool;
pub mod sync;
pub mod tail;
pub mod times;
