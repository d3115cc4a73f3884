//! The filter before the key tree: tells without a disk read that a key is not there.
//!
//! Keys are kept in blocks in the order they were logged; a block is one Bloom filter in memory and one contiguous range of rows on
//! disk. So a lookup reads only the blocks that may have the key, and retention drops whole blocks: the oldest goes once its newest
//! key is past retention. A key may therefore live longer than its retention by the span of its block, never shorter.
//!
//! A block ends when it is full or spans too much time. The next one is twice as large after a full one and fitted to the last
//! count after one that ran out of time, between [`BLOCK_KEYS_MIN`] and [`BLOCK_KEYS_MAX`]; so a busy day has few blocks to ask and
//! an idle one little memory.
//!
//! After a start the blocks on disk are known by number only and may have any key, at the price of a disk read each; they are read
//! one by one in the background, so that a start need not wait for it.
//!
//! A fresh key costs a disk read with a probability of at most [`FALSE_POSITIVES`] per block; memory is about 17.3 bits for each
//! key a block has room for, so `keys.disk_max` bounds it.
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use fastbloom::AtomicBloomFilter;
use parking_lot::RwLock;

use crate::storage::keys::KeyHash;

/// The share of absent keys that a full block takes for its own.
pub const FALSE_POSITIVES: f64 = 1.0 / 4096.0;
/// What the smallest block has room for, in keys.
pub const BLOCK_KEYS_MIN: usize = 1 << 14;
/// What the largest block has room for, in keys.
pub const BLOCK_KEYS_MAX: usize = 1 << 21;

/// The blocks of one state store. Asked by every claim of a key that is not in memory; written by the checkpoint thread alone.
#[derive(Debug)]
pub struct KeyFilter {
    /// Oldest first; numbers grow.
    blocks: RwLock<Vec<Arc<Block>>>,
    /// A block whose first key was logged this long before the next key takes no more.
    span_ms: u64,
}

#[derive(Debug)]
struct Block {
    number: u32,
    room: usize,
    first_ms: u64,
    newest_ms: AtomicU64,
    keys: AtomicUsize,
    /// Missing while the block's rows have not been read since the start.
    bloom: OnceLock<AtomicBloomFilter>,
}

impl Block {
    fn new(number: u32, room: usize, first_ms: u64) -> Block {
        let newest_ms = AtomicU64::new(first_ms);
        Block {
            number,
            room,
            first_ms,
            newest_ms,
            keys: AtomicUsize::new(0),
            bloom: bloom_for(room).into(),
        }
    }

    /// A block that is on disk and not read yet: it takes no keys, may have any, and is past no time.
    fn unread(number: u32) -> Block {
        let newest_ms = AtomicU64::new(u64::MAX);
        Block {
            number,
            room: 0,
            first_ms: 0,
            newest_ms,
            keys: AtomicUsize::new(0),
            bloom: OnceLock::new(),
        }
    }

    fn add(&self, hash: &KeyHash, logged_at_ms: u64) {
        self.bloom
            .get()
            .expect("an unread block is full")
            .insert_hash(hash.short());
        self.newest_ms.fetch_max(logged_at_ms, Ordering::Relaxed);
        self.keys.fetch_add(1, Ordering::Relaxed);
    }

    fn may_have(&self, short: u64) -> bool {
        self.bloom.get().is_none_or(|bloom| bloom.contains_hash(short))
    }

    fn is_full(&self) -> bool {
        self.keys() >= self.room
    }

    fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }
}

/// The keys are hashes already, so the filter's own hasher is never asked; its seed is fixed to need no randomness.
fn bloom_for(keys: usize) -> AtomicBloomFilter {
    AtomicBloomFilter::with_false_pos(FALSE_POSITIVES)
        .seed(&0)
        .expected_items(keys)
}

impl KeyFilter {
    /// An empty filter whose blocks span at most `span_ms` of logged time.
    pub fn new(span_ms: u64) -> KeyFilter {
        KeyFilter {
            blocks: RwLock::default(),
            span_ms,
        }
    }

    /// Adds a key, in the order of the log, and tells the number of the block that its row belongs to.
    pub fn add(&self, hash: &KeyHash, logged_at_ms: u64) -> u32 {
        let mut blocks = self.blocks.write();
        let next = match blocks.last() {
            Some(last) if last.is_full() => Some((
                last.number + 1,
                (last.room * 2).clamp(BLOCK_KEYS_MIN, BLOCK_KEYS_MAX),
            )),
            Some(last) if logged_at_ms.saturating_sub(last.first_ms) > self.span_ms => {
                Some((last.number + 1, room_for(last.keys())))
            }
            Some(_) => None,
            None => Some((1, BLOCK_KEYS_MIN)),
        };
        if let Some((number, room)) = next {
            blocks.push(Arc::new(Block::new(number, room, logged_at_ms)));
        }
        let block = blocks.last().expect("one was there or has just been pushed");
        block.add(hash, logged_at_ms);
        block.number
    }

    /// Takes note of a block that is on disk, in the order of block numbers and before any key is added.
    pub fn expect_block(&self, number: u32) {
        self.blocks.write().push(Arc::new(Block::unread(number)));
    }

    /// The numbers of the blocks that have not been read yet.
    pub fn unread(&self) -> Vec<u32> {
        let blocks = self.blocks.read();
        blocks
            .iter()
            .filter(|block| block.bloom.get().is_none())
            .map(|block| block.number)
            .collect()
    }

    /// Says what is in an unread block: the short hashes of all its keys and the newest logged time.
    pub fn fill(&self, number: u32, shorts: &[u64], newest_ms: u64) {
        let bloom = bloom_for(shorts.len().max(1));
        for short in shorts {
            bloom.insert_hash(*short);
        }
        let blocks = self.blocks.read();
        if let Some(block) = blocks.iter().find(|block| block.number == number) {
            block.keys.store(shorts.len(), Ordering::Relaxed);
            if block.bloom.set(bloom).is_ok() {
                block.newest_ms.store(newest_ms, Ordering::Relaxed);
            }
        }
    }

    /// The blocks that may have the key, newest first; empty for nearly every key that is not there.
    pub fn candidates(&self, hash: &KeyHash) -> Vec<u32> {
        let short = hash.short();
        let blocks = self.blocks.read();
        blocks
            .iter()
            .rev()
            .filter(|block| block.may_have(short))
            .map(|block| block.number)
            .collect()
    }

    /// Forgets the oldest blocks whose every key was logged before `older_than_ms`; their rows can be deleted from now on.
    pub fn forget_before(&self, older_than_ms: u64) {
        let mut blocks = self.blocks.write();
        let past = |block: &Arc<Block>| block.newest_ms.load(Ordering::Relaxed) < older_than_ms;
        let expired = blocks.iter().take_while(|block| past(block)).count();
        // The last block's number must not be given to a later one while its rows are being deleted.
        if expired == blocks.len() && expired > 0 {
            let last = blocks.last().map(|block| block.number).expect("not empty");
            blocks.push(Arc::new(Block::new(last + 1, BLOCK_KEYS_MIN, older_than_ms)));
        }
        blocks.drain(..expired);
    }

    /// The number of the oldest block; rows of lower numbers belong to no block.
    pub fn oldest(&self) -> Option<u32> {
        self.blocks.read().first().map(|block| block.number)
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.blocks.read().len()
    }

    /// The memory of all blocks, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let bits = |block: &Block| block.bloom.get().map_or(0, AtomicBloomFilter::num_bits);
        self.blocks
            .read()
            .iter()
            .map(|block| bits(block) / 8 + size_of::<Block>())
            .sum()
    }
}

/// The room of a block that should take about as many keys as the last one.
fn room_for(keys: usize) -> usize {
    (keys + keys / 4)
        .next_multiple_of(BLOCK_KEYS_MIN)
        .clamp(BLOCK_KEYS_MIN, BLOCK_KEYS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> KeyHash {
        KeyHash::of("default", "shop", &number.to_string())
    }

    #[test]
    fn no_key_is_missed_and_the_false_positive_rate_is_the_stated_one() {
        let filter = KeyFilter::new(u64::MAX);
        for number in 0..BLOCK_KEYS_MIN as u64 {
            assert_eq!(filter.add(&hash(number), 5), 1);
        }
        assert!((0..BLOCK_KEYS_MIN as u64).all(|number| filter.candidates(&hash(number)) == [1]));
        let asked = 400_000;
        let wrong =
            (1_000_000..1_000_000 + asked).filter(|number| !filter.candidates(&hash(*number)).is_empty());
        let rate = wrong.count() as f64 / asked as f64;
        assert!(
            rate > FALSE_POSITIVES * 0.5 && rate < FALSE_POSITIVES * 1.5,
            "{rate}"
        );
    }

    #[test]
    fn a_full_block_is_followed_by_one_of_twice_the_room_and_memory_follows_the_keys() {
        let filter = KeyFilter::new(u64::MAX);
        let keys = BLOCK_KEYS_MIN * 3;
        let blocks: Vec<u32> = (0..=keys as u64)
            .map(|number| filter.add(&hash(number), number))
            .collect();
        assert_eq!(blocks[BLOCK_KEYS_MIN - 1..=BLOCK_KEYS_MIN], [1, 2]);
        assert_eq!(blocks[keys - 1..], [2, 3]);
        // Three blocks with room for 1 + 2 + 4 times the least, 17.3 bits each.
        assert!(
            filter.memory_bytes() < BLOCK_KEYS_MIN * 7 * 18 / 8,
            "{}",
            filter.memory_bytes()
        );
    }

    #[test]
    fn a_block_ends_with_its_time_and_goes_when_its_newest_key_is_past() {
        let filter = KeyFilter::new(100);
        assert_eq!(
            [0, 100, 101, 201].map(|at| filter.add(&hash(at), at)),
            [1, 1, 2, 2]
        );
        filter.forget_before(100);
        assert_eq!(
            filter.oldest(),
            Some(1),
            "the newest key of block 1 was logged at 100"
        );
        filter.forget_before(101);
        assert_eq!(filter.oldest(), Some(2));
        assert!(filter.candidates(&hash(0)).is_empty());
        filter.forget_before(500);
        assert_eq!(filter.add(&hash(9), 501), 3, "no number is used twice");
    }

    #[test]
    fn an_unread_block_may_have_any_key_until_it_is_read() {
        let filter = KeyFilter::new(1000);
        filter.expect_block(4);
        assert_eq!(filter.add(&hash(3), 30), 5, "new keys go to a block of their own");
        assert_eq!(filter.candidates(&hash(3)), [5, 4]);
        filter.forget_before(500);
        assert_eq!(filter.oldest(), Some(4), "nobody knows how old its keys are");

        assert_eq!(filter.unread(), [4]);
        filter.fill(4, &[hash(1).short(), hash(2).short()], 20);
        assert_eq!(filter.candidates(&hash(2)), [4]);
        assert_eq!(filter.candidates(&hash(3)), [5]);
        filter.forget_before(21);
        assert_eq!((filter.oldest(), filter.unread().len()), (Some(5), 0));
    }
}
