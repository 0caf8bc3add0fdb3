//! The harness itself: rooms and machines are what the other tests take them for.

mod machines;
mod rooms;
