//! The diagnosis, measured: a mesh with a known fault, what its probers would report of it, and what is said about that.
//!
//! What is simulated is the network, the servers and what probers do; it is a statistical model, a second at a time. What
//! decides is the code of the products: the cells of the matrix, the diagnosis, the life cycle of incidents.
//!
//! - `world`: who is there, and what is measured how often;
//! - `rule`, `fault`, `family`: what can be broken, and what has to be said about it;
//! - `wire`: what the rules do to packets and questions;
//! - `engine`: a mesh, second by second;
//! - `view`: a picture of it;
//! - `watch`, `trial`, `command`: the real diagnosis looks at pictures, and is scored.

mod cell;
mod command;
mod engine;
mod explain;
mod family;
mod fault;
mod flows;
mod node;
mod path;
mod rule;
mod scenario;
mod sizes;
mod target;
mod trial;
mod view;
mod watch;
mod wire;
mod world;

pub use command::{DiagnosisArguments, DiagnosisReport};
pub use scenario::{ScenarioArguments, ScenarioReport};
