//! The tests of cashbox as one binary. [`harness`] has what they share: a file and a manual clock;
//! [`statement`] has `check`.

mod attacks;
mod dice;
mod harness;
mod keys;
mod locks;
mod locks_money;
mod model_locks;
mod model_money;
mod money;
mod statement;
mod storage;
mod waiting;
