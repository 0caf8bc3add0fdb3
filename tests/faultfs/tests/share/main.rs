//! The share itself: that it passes through, that it fails as told, and what hanging really means.
mod counting;
mod failing;
mod forgetting;
mod hanging;
mod passing_through;
mod remounting;
mod samba;
mod support;

faultfs::share_server!();
