//! The device API.
#![no_std]
