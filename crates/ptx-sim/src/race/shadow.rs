//! Shadow memory: per cell the last write and the reads since, in pages made at the first touch.
//!
//! A cell stands for 4, 2 or 1 bytes, the same within a page of 1 KiB: pages begin with words and are refined when a
//! narrower access comes. A cell has 8 bytes, so shadow has at most 8 bytes per byte touched.

use super::Place;

/// Bytes of memory in a page.
pub(super) const PAGE: usize = 1024;
/// Most pages kept for the next block.
const SPARE: usize = 4096;

/// Cells of 1 KiB. States are those of [`Table`](super::table::Table).
#[derive(Debug)]
pub(super) struct Page {
    /// Log2 of the bytes of a cell.
    pub grain: u8,
    /// Something was published through words of this page.
    pub synced: bool,
    pub write: Vec<u32>,
    pub read: Vec<u32>,
}

impl Page {
    fn new() -> Self {
        Page { grain: 2, synced: false, write: vec![0; PAGE / 4], read: vec![0; PAGE / 4] }
    }

    #[cold]
    fn split(&mut self, grain: u8) {
        let times = 1 << (self.grain - grain);
        let repeat = |v: &[u32]| v.iter().flat_map(|&s| std::iter::repeat_n(s, times)).collect();
        self.write = repeat(&self.write);
        self.read = repeat(&self.read);
        self.grain = grain;
    }

    fn bytes(&self) -> usize {
        4 * (self.write.len() + self.read.len())
    }
}

/// The pages of one place.
#[derive(Debug, Default)]
pub(super) struct Pages {
    list: Vec<Option<Box<Page>>>,
    /// Others than the warps of the block touched its shared memory.
    pub mixed: bool,
}

/// Pages of every place.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    shared: Vec<Pages>,
    global: Vec<Pages>,
    #[expect(clippy::vec_box, reason = "boxes go back into the lists of places")]
    spare: Vec<Box<Page>>,
    /// Most bytes held at once since the launch began.
    peak: usize,
    held: usize,
}

impl Shadow {
    pub(super) fn clear(&mut self) {
        for i in 0..self.shared.len() {
            self.forget(Place::Shared(i as u32));
        }
        for i in 0..self.global.len() {
            self.forget(Place::Global(i as u32));
        }
        (self.peak, self.held) = (0, 0);
    }

    /// Forgets what was done in a place.
    pub(super) fn forget(&mut self, place: Place) {
        let Shadow { shared, global, spare, held, .. } = self;
        let pages = match place {
            Place::Shared(b) => shared.get_mut(b as usize),
            Place::Global(a) => global.get_mut(a as usize),
        };
        let Some(pages) = pages else { return };
        pages.mixed = false;
        for page in pages.list.drain(..).flatten() {
            *held -= page.bytes();
            if page.grain == 2 && spare.len() < SPARE {
                spare.push(page);
            }
        }
    }

    #[inline]
    pub(super) fn place(&mut self, place: Place) -> &mut Pages {
        let (list, i) = match place {
            Place::Shared(b) => (&mut self.shared, b as usize),
            Place::Global(a) => (&mut self.global, a as usize),
        };
        if i >= list.len() {
            list.resize_with(i + 1, Pages::default);
        }
        &mut list[i]
    }

    /// The page of bytes `from..to`, with cells small enough for them and of at most `1 << grain` bytes.
    #[inline]
    pub(super) fn page(&mut self, place: Place, from: usize, to: usize, grain: u8) -> &mut Page {
        let i = from / PAGE;
        let Shadow { shared, global, spare, held, peak } = self;
        let (list, at) = match place {
            Place::Shared(b) => (shared, b as usize),
            Place::Global(a) => (global, a as usize),
        };
        if at >= list.len() {
            list.resize_with(at + 1, Pages::default);
        }
        let list = &mut list[at].list;
        if i >= list.len() {
            list.resize_with(i + 1, || None);
        }
        let page = list[i].get_or_insert_with(|| {
            let page = match spare.pop() {
                Some(mut p) => {
                    p.write.fill(0);
                    p.read.fill(0);
                    p.synced = false;
                    p
                }
                None => Box::new(Page::new()),
            };
            *held += page.bytes();
            *peak = (*peak).max(*held);
            page
        });
        let need = ((from | to).trailing_zeros() as u8).min(grain);
        if need < page.grain {
            *held -= page.bytes();
            page.split(need);
            *held += page.bytes();
            *peak = (*peak).max(*held);
        }
        page
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// The states of a place, write and read, with the first byte of their cell.
    pub(super) fn states(&self, place: Place) -> impl Iterator<Item = (usize, u32)> {
        let pages = match place {
            Place::Shared(b) => self.shared.get(b as usize),
            Place::Global(a) => self.global.get(a as usize),
        };
        let pages = pages.into_iter().flat_map(|p| p.list.iter().enumerate());
        pages.filter_map(|(i, page)| Some((i * PAGE, page.as_ref()?))).flat_map(|(start, page)| {
            let cells = page.write.iter().zip(&page.read).enumerate();
            cells.flat_map(move |(c, (w, r))| [*w, *r].map(|s| (start + (c << page.grain), s)))
        })
    }

    pub(super) fn peak(&self) -> usize {
        self.peak
    }

    /// Every state there is but 0, once per run of equal ones.
    pub(super) fn cells(&mut self, mut f: impl FnMut(&mut u32)) {
        for pages in self.shared.iter_mut().chain(&mut self.global) {
            for page in pages.list.iter_mut().flatten() {
                for cells in [&mut page.write, &mut page.read] {
                    // Neighbours nearly always hold the same.
                    let (mut before, mut after) = (0, 0);
                    for c in cells.iter_mut() {
                        if *c != before {
                            before = *c;
                            f(c);
                            after = *c;
                        } else {
                            *c = after;
                        }
                    }
                }
            }
        }
    }
}
