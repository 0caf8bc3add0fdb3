//! The share fails, and nobody waits and no byte is lost (CONTRACT 6 and 6.1).

pub mod bench;
mod hanging;
mod leftovers;
mod limits;
mod many;
mod memory;
mod pace;
mod passthrough;
mod planted;
mod rights;
mod smb;
mod soak;
mod spool;
mod table;
