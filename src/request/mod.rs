//! What is asked: a request document parsed once into types that cannot be wrong (CONTRACT 3).

pub mod arguments;
pub mod duration;
mod instead;
#[cfg(test)]
mod oracle;
mod text;

pub use arguments::split;
pub use duration::{NotADuration, parse_duration};
