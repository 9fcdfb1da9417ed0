mod decisions;
mod flood;
mod restart;
mod world;
