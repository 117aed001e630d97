//! What header fields say about framing, for requests and responses alike.

/// Whether a `Connection` field lists `option`.
pub(crate) fn has_option(connection: &[u8], option: &str) -> bool {
    let mut options = connection.split(|byte| *byte == b',');
    options.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}

/// Whether a `Transfer-Encoding` field is `chunked`, the only transfer coding that is read.
pub(crate) fn is_chunked(transfer_encoding: &[u8]) -> bool {
    transfer_encoding.eq_ignore_ascii_case(b"chunked")
}

/// Reads a `Content-Length` field: digits and nothing else. One beyond 64 bits is `u64::MAX`, which is over every limit.
#[inline(never)]
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |length: u64, digit| {
        length.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_is_refused_when_it_is_not_digits_only() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"00042"), Some(42));
        assert_eq!(content_length(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(content_length(b"99999999999999999999999"), Some(u64::MAX));
        for malformed in [&b""[..], b"+1", b"-1", b"1 ", b"0x1", b"1,1"] {
            assert_eq!(content_length(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn option_is_found_when_it_is_one_of_several() {
        assert!(has_option(b"keep-alive, Close", "close"));
        assert!(has_option(b"Upgrade", "upgrade"));
        assert!(!has_option(b"closed", "close") && !has_option(b"", "close"));
    }
}
