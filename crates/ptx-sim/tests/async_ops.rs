//! Asynchronous work: copies, mbarriers, tensor maps, and the rules for them. Every instruction is run on random data against a
//! reference under several seeds; every rule fires on every seed and is silent on its clean twin.

#[path = "async_ops/bulk.rs"]
mod bulk;
#[path = "async_ops/copies.rs"]
mod copies;
#[path = "async_ops/harness.rs"]
mod harness;
#[path = "async_ops/maps.rs"]
mod maps;
#[path = "async_ops/mbarriers.rs"]
mod mbarriers;
#[path = "async_ops/pipelines.rs"]
mod pipelines;
#[path = "async_ops/random.rs"]
mod random;
#[path = "async_ops/rules.rs"]
mod rules;
#[path = "async_ops/tensors.rs"]
mod tensors;
