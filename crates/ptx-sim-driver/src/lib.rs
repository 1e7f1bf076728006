//! `libcuda` on [`ptx_sim`]: a driver library whose one GPU is the simulator.
//!
//! A program that speaks the CUDA driver API runs on it as on a GPU: its PTX is executed on the CPU, under every check. It
//! needs no change and need not be built again:
//!
//! ```sh
//! cargo build --release -p ptx-sim-driver
//! ln -s libptx_sim_driver.so target/release/libcuda.so.1
//! LD_LIBRARY_PATH=target/release some-program                            # any program that loads libcuda
//! IRONWARP_LIBCUDA=target/release/libptx_sim_driver.so ironwarp train digits --device cuda:0
//! ```
//!
//! # What it does
//!
//! * Devices, the primary context, streams, events, memory, pinned memory, modules of PTX text, launches, stream capture
//!   and graphs, tensor maps: the functions in `calls.rs`. Any other function is absent, as in a driver too old to have
//!   it. Signatures and codes are those of the CUDA Driver API reference.
//! * Work is done as late as the API allows: when somebody waits. So memory that is used again too early, or given back
//!   too early, shows in the data. All streams are one queue, in the order of the calls, which is one of the orders that a
//!   GPU might take.
//! * A finding of the simulator is written to stderr and loses the context, as a fault does on a GPU: the code is
//!   `CUDA_ERROR_ILLEGAL_ADDRESS`, `_MISALIGNED_ADDRESS`, `_ASSERT` or `_LAUNCH_FAILED`. The GPU is reset with its primary
//!   context.
//! * Times between events are those of the simulation: they say nothing of a GPU.
//!
//! # Settings, from the environment
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `PTX_SIM_GPU` | the GPU that it says it is, by [`Gpu::named`](ptx_sim::profile::Gpu::named): `A100`, `H100` ... | `H100` |
//! | `PTX_SIM_SEED` | shuffles the order of blocks and warps | in order |
//! | `PTX_SIM_MEMORY` | MiB of device memory | 4096 |
//! | `PTX_SIM_CHECKS` | `all` or `none` | `all` |

mod calls;
mod gpu;
mod settings;
