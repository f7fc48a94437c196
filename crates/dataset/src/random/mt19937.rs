//! PyTorch's generator of random numbers on the CPU.

use std::convert::Infallible;

use rand_core::{Rng, TryRng};
use rand_mt::Mt;
use serde::{Deserialize, Serialize};

use super::error::StateError;
use crate::error::Result;

/// Words that MT19937 makes at a time; all of them together are its state.
const BLOCK: usize = 624;

/// PyTorch's CPU generator: MT19937, seeded as `torch.manual_seed` seeds it.
///
/// As a [`rand_core::Rng`] it gives the words that torch gets: `next_u32` is one
/// word of the generator (`torch.rand` in float32 is its low 24 bits · 2⁻²⁴),
/// `next_u64` is two, the high one first.
///
/// ```
/// use dataset::TorchRng;
///
/// // torch.manual_seed(123); torch.empty((), dtype=torch.int64).random_()
/// let mut rng = TorchRng::manual_seed(123);
/// assert_eq!(rng.random_i64(), 3_624_216_819_017_203_053);
///
/// // A restored state yields the same numbers.
/// let mut restored = TorchRng::from_state(&rng.state())?;
/// assert_eq!(restored.random_i64(), rng.random_i64());
/// # Ok::<(), dataset::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TorchRng {
    /// Makes the blocks after this one.
    mt: Mt,
    block: [u32; BLOCK],
    /// Place in the block of the word that comes next.
    next: usize,
}

/// The whole state of a [`TorchRng`], to be saved and restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TorchRngState {
    block: Vec<u32>,
    next: usize,
}

impl TorchRng {
    /// The generator after `torch.manual_seed(seed)`. As in torch, only the low
    /// 32 bits of `seed` count.
    pub fn manual_seed(seed: u64) -> Self {
        let mut mt = Mt::new((seed & 0xffff_ffff) as u32);
        let block = next_block(&mut mt);
        Self { mt, block, next: 0 }
    }

    /// Draws as `Tensor.random_()` does for an int64: from 0 to 2⁶³ − 1.
    pub fn random_i64(&mut self) -> i64 {
        (self.next_u64() & i64::MAX.unsigned_abs()) as i64
    }

    /// Returns the state, from which [`TorchRng::from_state`] resumes.
    pub fn state(&self) -> TorchRngState {
        TorchRngState { block: self.block.to_vec(), next: self.next }
    }

    /// Restores a generator from its state.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) if `state` was changed since it was taken.
    pub fn from_state(state: &TorchRngState) -> Result<Self> {
        let block: [u32; BLOCK] = state
            .block
            .as_slice()
            .try_into()
            .map_err(|_| StateError::Block { expected: BLOCK, words: state.block.len() })?;
        if state.next > BLOCK {
            return Err(StateError::Next { most: BLOCK, next: state.next }.into());
        }
        // The words of a block determine the generator that made them.
        Ok(Self { mt: Mt::from(block), block, next: state.next })
    }
}

impl TryRng for TorchRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        if self.next == BLOCK {
            self.block = next_block(&mut self.mt);
            self.next = 0;
        }
        let word = self.block[self.next];
        self.next += 1;
        Ok(word)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let high = self.try_next_u32()?;
        let low = self.try_next_u32()?;
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.try_next_u32()?.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

fn next_block(mt: &mut Mt) -> [u32; BLOCK] {
    std::array::from_fn(|_| mt.next_u32())
}
