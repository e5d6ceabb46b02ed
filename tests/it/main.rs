//! The tests of cashbox as one binary. [`harness`] has what those of the store share: a file, a manual clock, `check`;
//! [`server`] what those of the real program share.

mod attacks;
mod cli;
mod crash;
mod doubt;
mod harness;
mod http_batch;
mod http_coupons;
mod http_keys;
mod http_lists;
mod http_lock_money;
mod http_locks;
mod http_money;
mod http_openapi;
mod http_roles;
mod http_wallet;
mod keys;
mod locks;
mod map;
mod model_locks;
mod model_money;
mod money;
mod readme;
mod server;
mod storage;
mod waiting;
mod wire;
