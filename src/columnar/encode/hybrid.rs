//! Parquet's hybrid of runs and bit-packed groups: levels and dictionary
//! indices.
//!
//! It owns the form of the bytes and when a run pays. What the values mean,
//! and who tells their length, is the caller's.

/// Values of a bit-packed group.
const GROUP: usize = 8;

/// Bits that hold every value up to `max`; at least one, which every reader understands.
pub(super) fn bits_for(max: u32) -> usize {
    (u32::BITS - max.leading_zeros()).max(1) as usize
}

/// Appends one run of `count` equal values.
pub(super) fn run(value: u32, count: usize, width: usize, out: &mut Vec<u8>) {
    varint((count as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8)]);
}

/// Appends values of `width` bits: equal neighbours as runs, the others packed.
pub(super) fn encode<T: Copy + PartialEq + Into<u32>>(values: &[T], width: usize, out: &mut Vec<u8>) {
    // A run costs its own header and another one for what follows.
    let run_min = (64 / width).max(2 * GROUP);
    let (mut at, mut packed_from) = (0, 0);
    while at + GROUP <= values.len() {
        let first = values[at];
        if values[at..at + GROUP].iter().all(|value| *value == first) {
            let equal = GROUP + values[at + GROUP..].iter().take_while(|value| **value == first).count();
            if equal >= run_min {
                pack(&values[packed_from..at], width, out);
                run(first.into(), equal, width, out);
                at += equal;
                packed_from = at;
                continue;
            }
        }
        at += GROUP;
    }
    pack(&values[packed_from..], width, out);
}

/// Appends whole groups; the last one is filled up with zeros.
fn pack<T: Copy + Into<u32>>(values: &[T], width: usize, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    varint(((groups as u64) << 1) | 1, out);
    let end = out.len() + groups * width;
    out.reserve(groups * width + size_of::<u32>());
    let (mut bits, mut held) = (0_u64, 0);
    for &value in values {
        bits |= u64::from(value.into()) << held;
        held += width;
        if held >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            held -= 32;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes());
    out.resize(end, 0);
}

/// Seven bits a byte, the lowest first.
pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Signed numbers near zero become small unsigned ones.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The format's grammar, read the slow way.
    fn decode(bytes: &[u8], width: usize, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        let mut at = 0;
        while values.len() < count {
            let (mut header, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[at];
                at += 1;
                header |= u64::from(byte & 0x7F) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            if header & 1 == 0 {
                let length = width.div_ceil(8);
                let mut value = [0; 4];
                value[..length].copy_from_slice(&bytes[at..at + length]);
                at += length;
                values.extend(std::iter::repeat_n(u32::from_le_bytes(value), (header >> 1) as usize));
            } else {
                let bits = (header >> 1) as usize * GROUP * width;
                for first in (0..bits).step_by(width) {
                    let bit = |bit: usize| u32::from(bytes[at + bit / 8] >> (bit % 8) & 1);
                    values.push((0..width).map(|of| bit(first + of) << of).sum());
                }
                at += bits / 8;
            }
        }
        assert_eq!(at, bytes.len(), "nothing is left over");
        values.truncate(count);
        values
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            (width, runs) in (1_usize..=32).prop_flat_map(|width| {
                let value = 0..=u32::MAX >> (32 - width);
                (Just(width), proptest::collection::vec((value, 1_usize..40), 0..20))
            }),
        ) {
            let values: Vec<u32> =
                runs.into_iter().flat_map(|(value, count)| std::iter::repeat_n(value, count)).collect();
            let mut out = Vec::new();
            encode(&values, width, &mut out);
            prop_assert_eq!(decode(&out, width, values.len()), values);
        }
    }

    #[test]
    fn equal_values_are_one_run() {
        let mut out = Vec::new();
        encode(&[3_u8; 1000], 2, &mut out);
        assert_eq!(out, [0xD0, 0x0F, 3]);
        assert_eq!((bits_for(0), bits_for(1), bits_for(2), bits_for(255), bits_for(256)), (1, 1, 2, 8, 9));
    }
}
