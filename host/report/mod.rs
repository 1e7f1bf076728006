//! Reports: what a search found, as one HTML page, as SVG files, and as text for a terminal.
//!
//! The command fills a [`SearchReport`](search::SearchReport), plain data that nothing here computes from a device. Each
//! [`figure`] is a function from such data to a drawing made with the chart kit in [`svg`]; [`html`] puts them on a page that
//! needs no network, [`svg_files`] writes them to a directory, [`terminal`] tells the same in a few lines of text.
//! The same data always gives the same bytes.

pub mod figure;
pub mod html;
pub mod search;
pub mod stats;
pub mod svg;
pub mod svg_files;
pub mod terminal;
mod words;

pub use html::{html, write_html};
pub use search::SearchReport;
pub use svg_files::write_svg_files;
pub use terminal::terminal;
