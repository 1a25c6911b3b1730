//! Many bytes at once: where the runs of a string end, and digits.
//!
//! It owns the tricks; what they mean is `input`'s.

/// Bytes that are looked at together.
pub(super) const BLOCK: usize = 16;

pub(super) const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

pub(super) const POWERS_F64: [f64; 9] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];

/// One bit for each byte that ends a run of a string: quotes, backslashes, control characters.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn run_ends(block: &[u8; BLOCK]) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    #[expect(unsafe_code, reason = "sixteen bytes are a vector, whatever they hold")]
    // SAFETY: both types have 16 bytes, and every bit pattern is a value of `__m128i`.
    let bytes = unsafe { std::mem::transmute::<[u8; BLOCK], __m128i>(*block) };
    #[expect(unsafe_code, reason = "SSE2 is part of x86-64")]
    // SAFETY: SSE2 belongs to every x86-64 processor; these intrinsics touch no memory.
    let mask = unsafe {
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1F)), bytes);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control))
    };
    mask as u32
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use portable::run_ends;

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::BLOCK;

    #[inline(always)]
    pub(in super::super) fn run_ends(block: &[u8; BLOCK]) -> u32 {
        let ends = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;
        block.iter().enumerate().fold(0, |mask, (at, byte)| mask | u32::from(ends(*byte)) << at)
    }
}

/// The digits at the beginning of eight bytes: what they count, and how many they are.
#[inline(always)]
pub(super) fn digits(bytes: [u8; 8]) -> (u64, usize) {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(bytes) ^ 0x3030_3030_3030_3030;
    // Ten and more carry into the high bit of their byte; a carry beyond it lies behind the first of them.
    let others = (word.wrapping_add(0x7676_7676_7676_7676) | word) & HIGH;
    let count = others.trailing_zeros() as usize / 8;
    if count == 0 {
        return (0, 0);
    }
    (eight_digits(word << (64 - 8 * count)), count)
}

/// The number that eight digits spell, the first one in the lowest byte.
#[inline(always)]
fn eight_digits(word: u64) -> u64 {
    const PAIRS: u64 = 0x0000_00FF_0000_00FF;
    let pairs = word.wrapping_mul(10).wrapping_add(word >> 8);
    let low = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let high = ((pairs >> 16) & PAIRS).wrapping_mul(1 + (10_000 << 32));
    low.wrapping_add(high) >> 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_vector_and_the_loop_find_the_same_ends(block: [u8; BLOCK], spots: [u8; 4]) {
            let mut block = block;
            for (spot, byte) in spots.into_iter().zip([b'"', b'\\', 0x1F, 0x20]) {
                block[usize::from(spot) % BLOCK] = byte;
            }
            prop_assert_eq!(run_ends(&block), portable::run_ends(&block));
        }

        #[test]
        fn digits_are_counted_and_read(number in 0..100_000_000_u64, width in 1..=8_usize, next: [u8; 8]) {
            let text = format!("{:0width$}", number % POWERS[width]);
            let mut bytes = next;
            bytes[..width].copy_from_slice(text.as_bytes());
            let all = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let expected: u64 = std::str::from_utf8(&bytes[..all]).unwrap().parse().unwrap();
            prop_assert_eq!(digits(bytes), (expected, all));
        }
    }
}
