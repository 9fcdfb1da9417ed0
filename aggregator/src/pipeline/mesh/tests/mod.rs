mod decisions;
mod diagnosis;
mod flood;
mod restart;
mod world;
