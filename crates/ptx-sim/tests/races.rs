//! Races in shared and global memory: a clean and a racy program for every form of synchronisation, and random programs
//! against a happens-before checker that knows nothing of the simulator's.

#[path = "races/forms.rs"]
mod forms;
#[path = "races/random.rs"]
mod random;
#[path = "races/rig.rs"]
mod rig;
