mod decisions;
mod diagnosis;
mod flood;
mod restart;
mod told;
mod traces;
mod world;
