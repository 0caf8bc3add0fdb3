//! The only door to the kernel that needs `unsafe`: system calls behind names.
//!
//! Everything here is safe to call; what a caller must keep to is in the types or in the docstring.

pub mod aside;
pub mod bell;
pub mod channel;
pub mod descriptors;
pub mod detached_mount;
pub mod fork;
pub mod inflow;
pub mod pidfd;
pub mod signals;
pub mod users;
pub mod wait;
