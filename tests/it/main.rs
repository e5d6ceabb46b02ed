mod cli;
mod map;
mod wire;
