//! The filter before a run: tells without a disk read that a key is not in it.
//!
//! A Bloom filter of about 17.3 bits a key, built while the run is written, stored with it and read whole when the store is opened.
//!
//! ```text
//! stored: hashes u32 | words u64 ...     (little-endian)
//! ```
//!
//! The keys are hashes or random enough already, so the filter's own hasher is never asked; that the bits of a hash mean the same in
//! every build is held by a golden test.
use fastbloom::BloomFilter;

/// The share of absent keys that a run takes for its own.
pub const FALSE_POSITIVES: f64 = 1.0 / 4096.0;

/// The filter of one run.
#[derive(Debug)]
pub(super) struct RunFilter(BloomFilter);

impl RunFilter {
    /// An empty filter with room for `keys`.
    pub(super) fn with_room(keys: usize) -> RunFilter {
        RunFilter(
            BloomFilter::with_false_pos(FALSE_POSITIVES)
                .seed(&0)
                .expected_items(keys),
        )
    }

    pub(super) fn add(&mut self, key: &[u8]) {
        self.0.insert_hash(short(key));
    }

    /// False only when the key was never added.
    pub(super) fn may_have(&self, key: &[u8]) -> bool {
        self.0.contains_hash(short(key))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.num_bits() / 8
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.memory_bytes());
        out.extend_from_slice(&self.0.num_hashes().to_le_bytes());
        for word in self.0.iter() {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// Reads the stored form; `None` when the length is wrong.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<RunFilter> {
        let (hashes, words) = bytes.split_first_chunk()?;
        let (words, rest) = words.as_chunks::<8>();
        if words.is_empty() || !rest.is_empty() {
            return None;
        }
        let words = words.iter().copied().map(u64::from_le_bytes).collect();
        let filter = BloomFilter::from_vec(words).seed(&0);
        Some(RunFilter(filter.hashes(u32::from_le_bytes(*hashes))))
    }
}

/// Eight bytes of a key as an evenly distributed number. The last bytes of a reservation id are its random ones, but only 30 bits of
/// them, so both halves are mixed in.
fn short(key: &[u8]) -> u64 {
    let half = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mixed = half(key.first_chunk()).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ half(key.last_chunk());
    // The end of SplitMix64: every bit of the input reaches every bit of the output.
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys like reservation ids: a slowly growing time in front, few random bits at the end.
    fn id(number: u64) -> [u8; 16] {
        let random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 34;
        (u128::from(number / 50) << 80 | u128::from(random)).to_be_bytes()
    }

    #[test]
    fn no_key_is_missed_and_the_false_positive_rate_is_the_stated_one() {
        let mut filter = RunFilter::with_room(20_000);
        (0..20_000).for_each(|number| filter.add(&id(number)));
        let filter = RunFilter::from_bytes(&filter.to_bytes()).unwrap();
        assert!((0..20_000).all(|number| filter.may_have(&id(number))));
        let asked = 400_000;
        let wrong = (20_000..20_000 + asked).filter(|number| filter.may_have(&id(*number)));
        let rate = wrong.count() as f64 / asked as f64;
        assert!(
            rate > FALSE_POSITIVES * 0.5 && rate < FALSE_POSITIVES * 1.5,
            "{rate}"
        );
        assert!(
            filter.memory_bytes() < 20_000 * 18 / 8,
            "{}",
            filter.memory_bytes()
        );
    }

    #[test]
    fn the_bits_of_a_key_are_the_same_in_every_build() {
        let mut filter = RunFilter::with_room(4);
        filter.add(b"sixteen bytes!!!");
        let stored = filter.to_bytes();
        assert_eq!(
            blake3::hash(&stored).to_hex().as_str(),
            "37332c112872cd0a4714b2bd759e1910f3a9fb9b88ee6adede3aa774ca46f6f0",
            "{stored:02x?}"
        );
        assert!(RunFilter::from_bytes(&stored[..stored.len() - 1]).is_none());
    }
}
