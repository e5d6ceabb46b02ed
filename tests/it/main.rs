//! The tests of cashbox as one binary. [`harness`] has what they share: a file, a manual clock, and `check`.

mod attacks;
mod harness;
mod keys;
mod locks;
mod model_locks;
mod model_money;
mod money;
mod storage;
mod waiting;
