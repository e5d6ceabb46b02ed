mod map;
mod wire;
