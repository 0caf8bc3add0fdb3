//! The Debian package: what is generated for it, and its life on machines that boot.

mod generated;
