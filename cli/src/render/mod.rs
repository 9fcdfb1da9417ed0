//! Messages to text for people. Pure: the width and the time are arguments, colours are always in it.

pub mod incident;
pub mod matrix;
pub mod node;
pub mod order;
pub mod path;
pub mod status;
pub mod style;
pub mod table;
pub mod time;

#[cfg(test)]
mod tests;
