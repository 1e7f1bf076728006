//! Build API.
