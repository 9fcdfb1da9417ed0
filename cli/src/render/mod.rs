//! Messages to text for people. Pure: the width and the time are arguments, colours are always in it.

pub mod assert;
pub mod detail;
pub mod explain;
pub mod finding;
pub mod incident;
pub mod matrix;
pub mod node;
pub mod node_detail;
pub mod notification;
pub mod order;
pub mod outcome;
pub mod path;
pub mod probe;
pub mod silence;
pub mod status;
pub mod style;
pub mod table;
pub mod time;
pub mod trace;
pub mod window;
pub mod wrap;

#[cfg(test)]
mod tests;
