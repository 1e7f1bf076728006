//! Reports: what a search found, as one HTML page, as SVG files, and as text for a terminal.
//!
//! A [`SearchReport`] is plain data: made from a search ([`SearchReport::of`]), or filled by hand. Each
//! [`figure`] is a function from such data to a drawing made with the chart kit in [`svg`]; [`html()`] puts them on a page that
//! needs no network, [`svg_files`] writes them to a directory, [`terminal()`] tells the same in a few lines of text.
//! The same data always gives the same bytes.

pub mod figure;
mod found;
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
