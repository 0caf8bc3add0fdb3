//! The walk through the house.

pub mod error;
pub mod steps;
pub mod sys;
