//! Ironwarp.
