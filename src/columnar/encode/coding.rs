//! How the values of a chunk are encoded, and for how long that is kept.

/// A dictionary that grows past this is given up, and the values follow in another form. Others keep as
/// much: readers are faster on indices than on values, and so is the compressor.
pub(super) const DICTIONARY_BYTES_MAX: usize = 1 << 20;

/// How the values of a chunk are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coding {
    /// Values are interned until it is decided.
    Undecided,
    Dictionary,
    Delta,
    Plain,
}

/// When an encoding is chosen, and for how long.
#[derive(Default)]
pub(super) struct Trial {
    /// Enough values were seen to keep the choice.
    pub(super) is_resolved: bool,
    pub(super) chunks: u32,
}

impl Trial {
    /// Values that are looked at.
    pub(super) const VALUES: usize = 8192;
    /// Data changes: after so many chunks it is looked at again.
    pub(super) const CHUNKS: u32 = 64;

    pub(super) fn note(&mut self, values: usize) {
        self.is_resolved = values >= Trial::VALUES / 2;
    }

    pub(super) fn next_chunk(&mut self, coding: Coding) -> Coding {
        self.chunks += 1;
        let stays = self.is_resolved && !self.chunks.is_multiple_of(Trial::CHUNKS);
        if stays { coding } else { Coding::Undecided }
    }
}
