//! The only unsafe code: system calls behind safe names.

pub mod detached;
pub mod detached_mount;
