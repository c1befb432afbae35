//! Parquet's hybrid of run lengths and packed bits, in which the indexes of dictionary pages and definition levels are
//! written: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>.

/// Values that are packed at a time. A run of fewer is not worth a header.
const GROUP: usize = 8;

/// The bit width of indexes below a number, at least one.
pub(super) fn width(values: usize) -> u8 {
    let bits = usize::BITS - values.saturating_sub(1).leading_zeros();
    u8::try_from(bits.max(1)).expect("a number has at most 64 bits")
}

/// Appends values of so many bits, at most 32.
pub(super) fn encode(values: &[u32], width: u8, bytes: &mut Vec<u8>) {
    let (mut packed, mut at) = (0, 0);
    while at < values.len() {
        let value = values[at];
        let run = values[at..].iter().take_while(|next| **next == value).count();
        if run < GROUP {
            at = values.len().min(at + GROUP);
            continue;
        }
        pack(&values[packed..at], width, bytes);
        repeat(value, run, width, bytes);
        at += run;
        packed = at;
    }
    pack(&values[packed..], width, bytes);
}

/// Appends a run of one value.
pub(super) fn repeat(value: u32, times: usize, width: u8, bytes: &mut Vec<u8>) {
    variable_length(times << 1, bytes);
    bytes.extend_from_slice(&value.to_le_bytes()[..usize::from(width).div_ceil(8)]);
}

/// Appends whole groups of values; the last one is filled up with zeros.
fn pack(values: &[u32], width: u8, bytes: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    variable_length(groups << 1 | 1, bytes);
    let filling = std::iter::repeat_n(0, groups * GROUP - values.len());
    let (mut word, mut bits) = (0_u64, 0);
    for value in values.iter().copied().chain(filling) {
        word |= u64::from(value) << bits;
        bits += u32::from(width);
        if bits >= u32::BITS {
            bytes.extend_from_slice(&word.to_le_bytes()[..4]);
            word >>= u32::BITS;
            bits -= u32::BITS;
        }
    }
    bytes.extend_from_slice(&word.to_le_bytes()[..bits as usize / 8]);
}

/// Appends a number, seven bits at a time, the lowest first.
fn variable_length(mut number: usize, bytes: &mut Vec<u8>) {
    while number > 0x7f {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: what the bytes stand for.
    fn decoded(bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let (mut values, mut rest) = (Vec::new(), bytes);
        while values.len() < count {
            let length = rest.iter().position(|byte| byte & 0x80 == 0).expect("a header ends") + 1;
            let header = rest[..length].iter().rev().fold(0, |header, byte| header << 7 | usize::from(byte & 0x7f));
            rest = &rest[length..];
            let times = header >> 1;
            if header & 1 == 0 {
                let size = usize::from(width).div_ceil(8);
                let value = rest[..size].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
                values.extend(std::iter::repeat_n(value, times));
                rest = &rest[size..];
            } else {
                let bit = |at: usize| u32::from(rest[at / 8] >> (at % 8) & 1);
                let bits = usize::from(width);
                let value = |nth: usize| (0..bits).fold(0, |value, at| value | bit(nth * bits + at) << at);
                values.extend((0..times * GROUP).map(value));
                rest = &rest[times * bits..];
            }
        }
        assert!(rest.is_empty() && values[count..].iter().all(|value| *value == 0), "what follows is filling");
        values.truncate(count);
        values
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            runs in proptest::collection::vec((proptest::prelude::any::<u32>(), 1..40_usize), 0..60),
            bits in 1..=32_u8,
        ) {
            let below = u32::try_from((1_u64 << bits) - 1).unwrap();
            let one = |(value, times): (u32, usize)| std::iter::repeat_n(value & below, times % 13 * times % 40 + 1);
            let values: Vec<u32> = runs.into_iter().flat_map(one).collect();
            let mut bytes = Vec::new();
            encode(&values, bits, &mut bytes);
            proptest::prop_assert_eq!(decoded(&bytes, bits, values.len()), values);
        }
    }

    #[test]
    fn a_long_run_takes_a_few_bytes() {
        let mut bytes = Vec::new();
        encode(&[5; 100_000], 3, &mut bytes);
        assert_eq!(bytes, [0xc0, 0x9a, 0x0c, 5]);
    }

    #[test]
    fn widths() {
        assert_eq!([0, 1, 2, 3, 4, 5, 256, 257].map(width), [1, 1, 1, 2, 2, 3, 8, 9]);
    }
}
