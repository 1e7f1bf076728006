//! PTX simulator.
