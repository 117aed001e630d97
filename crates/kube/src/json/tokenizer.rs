//! JSON (RFC 8259) as a stream of tokens, from input that arrives in pieces of any size.
//!
//! It exists because an API server sends strings of any length (an annotation of 200 KB, a ConfigMap of 1 MiB) and
//! the device must read past them with a fixed amount of memory. So a string is handed on in pieces, as it comes, and
//! nothing but a key is ever assembled here. It never allocates more than a key, never recurses and never looks at what a key means.

use crate::text::append;
use alloc::vec::Vec;
use core::fmt;

/// The longest key that is handed on whole: a label's (a prefix of 253, a slash, a name of 63).
pub const KEY_BYTES: usize = 317;

/// The deepest nesting that is followed.
pub const DEPTH: u32 = 64;

/// One token. A string value comes as any number of [`Token::Text`] and one [`Token::EndText`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// `{`
    BeginObject,
    /// `}`
    EndObject,
    /// `[`
    BeginArray,
    /// `]`
    EndArray,
    /// A key, unescaped; `None` when it is longer than [`KEY_BYTES`] or is no text.
    Key(Option<&'a str>),
    /// A piece of a string value, unescaped. A character may be split between two pieces.
    Text(&'a [u8]),
    /// The end of a string value.
    EndText,
    /// A number, `true`, `false` or `null`, as it was written.
    Literal(&'a str),
}

/// Why input is no JSON that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// A byte that may not stand where it stands.
    Unexpected(u8),
    /// More than [`DEPTH`] levels.
    TooDeep,
    /// A number of more digits than a 64-bit value needs, or a word that is no literal.
    BadLiteral,
    /// The input ended inside a value.
    Incomplete,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected(byte) => write!(f, "unexpected byte 0x{byte:02x} in JSON"),
            Self::TooDeep => write!(f, "JSON nested deeper than {DEPTH} levels"),
            Self::BadLiteral => f.write_str("a malformed number or word in JSON"),
            Self::Incomplete => f.write_str("JSON that ends in the middle of a value"),
        }
    }
}

impl core::error::Error for JsonError {}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value; or `]` where an array has just begun.
    Value { or_end: bool },
    /// A key; or `}` where an object has just begun.
    Key { or_end: bool },
    /// The colon behind a key.
    Colon,
    /// A comma, or the end of what is open; at the top level, the next document.
    AfterValue,
    /// Inside a string: of a key or of a value.
    Text { key: bool },
    /// Behind a backslash.
    Escape { key: bool },
    /// Inside `\uXXXX`: how many digits are still to come.
    Unicode { key: bool, left: u8 },
    /// Inside a number or a word.
    Literal,
}

/// The longest literal: `-9223372036854775808` and room for a fraction or an exponent.
const LITERAL_BYTES: usize = 40;

/// The tokenizer. It reads any number of documents one after another, as a watch sends them.
pub struct Tokenizer {
    state: State,
    depth: u32,
    /// One bit a level: 1 for an object.
    objects: u64,
    /// A key or a literal, at most [`KEY_BYTES`].
    buffer: Vec<u8>,
    overflow: bool,
    unicode: u16,
    /// The first half of a surrogate pair, or 0.
    surrogate: u16,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Tokenizer {
    /// A tokenizer in front of its first document.
    pub const fn new() -> Self {
        Self {
            state: State::Value { or_end: false },
            depth: 0,
            objects: 0,
            buffer: Vec::new(),
            overflow: false,
            unicode: 0,
            surrogate: 0,
        }
    }

    /// Reads the next piece of input and hands each token to `on`, with whether it ended a document.
    ///
    /// # Errors
    /// The input is no JSON from here on; the tokenizer must not be fed again.
    pub fn feed(&mut self, mut input: &[u8], on: &mut dyn FnMut(Token<'_>, bool)) -> Result<(), JsonError> {
        while let Some((&byte, rest)) = input.split_first() {
            match self.state {
                State::Text { key } => {
                    let run = input
                        .iter()
                        .position(|b| matches!(b, b'"' | b'\\' | 0..0x20))
                        .unwrap_or(input.len());
                    if run > 0 {
                        self.flush_surrogate(key, on);
                        self.text(key, &input[..run], on);
                        input = &input[run..];
                        continue;
                    }
                    match byte {
                        b'"' => self.end_text(key, on),
                        b'\\' => self.state = State::Escape { key },
                        _ => return Err(JsonError::Unexpected(byte)),
                    }
                }
                State::Escape { key } => self.escape(key, byte, on)?,
                State::Unicode { key, left } => self.unicode(key, left, byte, on)?,
                State::Literal => {
                    if matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'.' | b'+' | b'-' | b'E') {
                        self.buffer.push(byte);
                        if self.buffer.len() > LITERAL_BYTES {
                            return Err(JsonError::BadLiteral);
                        }
                    } else {
                        self.end_literal(on)?;
                        continue; // this byte belongs to what follows
                    }
                }
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => {}
                State::Value { or_end } => self.value(byte, or_end, on)?,
                State::Key { or_end } => match byte {
                    b'"' => {
                        self.buffer.clear();
                        self.overflow = false;
                        self.state = State::Text { key: true };
                    }
                    b'}' if or_end => self.close(byte, on)?,
                    _ => return Err(JsonError::Unexpected(byte)),
                },
                State::Colon => {
                    if byte != b':' {
                        return Err(JsonError::Unexpected(byte));
                    }
                    self.state = State::Value { or_end: false };
                }
                State::AfterValue => {
                    if self.depth == 0 {
                        self.value(byte, false, on)?;
                    } else if byte == b',' {
                        self.state = if self.in_object() {
                            State::Key { or_end: false }
                        } else {
                            State::Value { or_end: false }
                        };
                    } else {
                        self.close(byte, on)?;
                    }
                }
            }
            input = rest;
        }
        Ok(())
    }

    /// Tells that the input is over. A number at the top level ends only here.
    ///
    /// # Errors
    /// [`JsonError::Incomplete`] when it ended inside a document.
    pub fn finish(&mut self, on: &mut dyn FnMut(Token<'_>, bool)) -> Result<(), JsonError> {
        if self.state == State::Literal {
            self.end_literal(on)?;
        }
        if self.at_boundary() {
            Ok(())
        } else {
            Err(JsonError::Incomplete)
        }
    }

    /// Whether the input so far ends between two documents.
    pub fn at_boundary(&self) -> bool {
        self.depth == 0 && matches!(self.state, State::AfterValue | State::Value { .. })
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn value(
        &mut self,
        byte: u8,
        or_end: bool,
        on: &mut dyn FnMut(Token<'_>, bool),
    ) -> Result<(), JsonError> {
        match byte {
            b'{' | b'[' => {
                if self.depth == DEPTH {
                    return Err(JsonError::TooDeep);
                }
                let object = byte == b'{';
                self.depth += 1;
                self.objects = self.objects << 1 | u64::from(object);
                self.state = if object {
                    State::Key { or_end: true }
                } else {
                    State::Value { or_end: true }
                };
                on(
                    if object {
                        Token::BeginObject
                    } else {
                        Token::BeginArray
                    },
                    false,
                );
            }
            b'"' => self.state = State::Text { key: false },
            b']' if or_end => self.close(byte, on)?,
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                self.buffer.clear();
                self.buffer.push(byte);
                self.state = State::Literal;
            }
            _ => return Err(JsonError::Unexpected(byte)),
        }
        Ok(())
    }

    fn close(&mut self, byte: u8, on: &mut dyn FnMut(Token<'_>, bool)) -> Result<(), JsonError> {
        let token = match (byte, self.in_object()) {
            (b'}', true) => Token::EndObject,
            (b']', false) if self.depth > 0 => Token::EndArray,
            _ => return Err(JsonError::Unexpected(byte)),
        };
        self.depth -= 1;
        self.objects >>= 1;
        self.state = State::AfterValue;
        on(token, self.depth == 0);
        Ok(())
    }

    #[inline(never)]
    fn end_literal(&mut self, on: &mut dyn FnMut(Token<'_>, bool)) -> Result<(), JsonError> {
        let literal = core::str::from_utf8(&self.buffer).map_err(|_| JsonError::BadLiteral)?;
        if !matches!(literal, "true" | "false" | "null") && !is_number(literal.as_bytes()) {
            return Err(JsonError::BadLiteral);
        }
        self.state = State::AfterValue;
        on(Token::Literal(literal), self.depth == 0);
        Ok(())
    }

    fn end_text(&mut self, key: bool, on: &mut dyn FnMut(Token<'_>, bool)) {
        self.flush_surrogate(key, on);
        if key {
            self.state = State::Colon;
            let whole = if self.overflow {
                None
            } else {
                core::str::from_utf8(&self.buffer).ok()
            };
            on(Token::Key(whole), false);
        } else {
            self.state = State::AfterValue;
            on(Token::EndText, self.depth == 0);
        }
    }

    fn text(&mut self, key: bool, piece: &[u8], on: &mut dyn FnMut(Token<'_>, bool)) {
        if key {
            append(&mut self.buffer, piece, KEY_BYTES, &mut self.overflow);
        } else {
            on(Token::Text(piece), false);
        }
    }

    fn character(&mut self, key: bool, code: u32, on: &mut dyn FnMut(Token<'_>, bool)) {
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.text(key, character.encode_utf8(&mut [0; 4]).as_bytes(), on);
    }

    /// A first half that no second half followed stands for no character.
    fn flush_surrogate(&mut self, key: bool, on: &mut dyn FnMut(Token<'_>, bool)) {
        if core::mem::take(&mut self.surrogate) != 0 {
            self.character(key, 0xfffd, on);
        }
    }

    fn escape(&mut self, key: bool, byte: u8, on: &mut dyn FnMut(Token<'_>, bool)) -> Result<(), JsonError> {
        if byte == b'u' {
            self.unicode = 0;
            self.state = State::Unicode { key, left: 4 };
            return Ok(());
        }
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return Err(JsonError::Unexpected(byte)),
        };
        self.flush_surrogate(key, on);
        self.text(key, &[plain], on);
        self.state = State::Text { key };
        Ok(())
    }

    fn unicode(
        &mut self,
        key: bool,
        left: u8,
        byte: u8,
        on: &mut dyn FnMut(Token<'_>, bool),
    ) -> Result<(), JsonError> {
        let digit = char::from(byte).to_digit(16).ok_or(JsonError::Unexpected(byte))?;
        self.unicode = self.unicode << 4 | digit as u16;
        if left > 1 {
            self.state = State::Unicode { key, left: left - 1 };
            return Ok(());
        }
        self.state = State::Text { key };
        match self.unicode {
            0xd800..=0xdbff => {
                self.flush_surrogate(key, on);
                self.surrogate = self.unicode;
            }
            low @ 0xdc00..=0xdfff if self.surrogate != 0 => {
                let high = u32::from(core::mem::take(&mut self.surrogate));
                self.character(
                    key,
                    0x10000 + ((high & 0x3ff) << 10) + (u32::from(low) & 0x3ff),
                    on,
                );
            }
            other => {
                self.flush_surrogate(key, on);
                self.character(key, u32::from(other), on);
            }
        }
        Ok(())
    }
}

/// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`
fn is_number(mut text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> (usize, &[u8]) {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count, &text[count..])
    }
    text = text.strip_prefix(b"-").unwrap_or(text);
    let (count, rest) = digits(text);
    if count == 0 || (count > 1 && text[0] == b'0') {
        return false;
    }
    text = rest;
    if let Some(fraction) = text.strip_prefix(b".") {
        let (count, rest) = digits(fraction);
        if count == 0 {
            return false;
        }
        text = rest;
    }
    if let Some(exponent) = text.strip_prefix(b"e").or(text.strip_prefix(b"E")) {
        let exponent = exponent
            .strip_prefix(b"+")
            .or(exponent.strip_prefix(b"-"))
            .unwrap_or(exponent);
        let (count, rest) = digits(exponent);
        return count > 0 && rest.is_empty();
    }
    text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::{format, string::String, vec, vec::Vec};

    /// Builds a value from the tokens, as a tree parser would.
    fn parse(pieces: &[&[u8]]) -> Result<Vec<Value>, JsonError> {
        #[derive(Default)]
        struct Builder {
            stack: Vec<(Value, Option<String>)>,
            key: Option<String>,
            text: Vec<u8>,
            done: Vec<Value>,
        }
        impl Builder {
            fn put(&mut self, value: Value) {
                match self.stack.last_mut() {
                    Some((Value::Object(map), _)) => {
                        map.insert(self.key.take().expect("a key"), value);
                    }
                    Some((Value::Array(list), _)) => list.push(value),
                    _ => self.done.push(value),
                }
            }
        }
        let mut b = Builder::default();
        let mut tokenizer = Tokenizer::new();
        let mut on = |token: Token<'_>, ended: bool| {
            match token {
                Token::BeginObject => {
                    let key = b.key.take();
                    b.stack.push((Value::Object(Default::default()), key));
                }
                Token::BeginArray => {
                    let key = b.key.take();
                    b.stack.push((Value::Array(vec![]), key));
                }
                Token::EndObject | Token::EndArray => {
                    let (value, key) = b.stack.pop().expect("balanced");
                    b.key = key;
                    b.put(value);
                }
                Token::Key(key) => b.key = Some(key.expect("short keys").into()),
                Token::Text(piece) => b.text.extend_from_slice(piece),
                Token::EndText => {
                    let text = String::from_utf8(core::mem::take(&mut b.text)).expect("UTF-8");
                    b.put(Value::String(text));
                }
                Token::Literal(text) => b.put(serde_json::from_str(text).expect("a literal")),
            }
            assert_eq!(
                ended,
                b.stack.is_empty() && !matches!(token, Token::Text(_) | Token::Key(_))
            );
        };
        for piece in pieces {
            tokenizer.feed(piece, &mut on)?;
        }
        tokenizer.finish(&mut on)?;
        Ok(b.done)
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::String),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
                prop::collection::hash_map("\\PC{0,12}", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_document_cut_anywhere_reads_the_same(value in any_json(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.expect("serializes");
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &text.as_bytes()[w[0]..w[1]]).collect();
            prop_assert_eq!(parse(&pieces), Ok(vec![value]));
        }

        #[test]
        fn it_accepts_what_serde_json_accepts(text in "[\\[\\]{}\",:0-9eE+.\\-truefalsn\\\\ud8 ]{0,24}") {
            let ours = parse(&[text.as_bytes()]);
            let theirs = serde_json::Deserializer::from_str(&text).into_iter::<Value>().collect::<Result<Vec<_>, _>>();
            // serde_json rejects lone surrogates and numbers out of range; we replace the former and keep the latter as text.
            if theirs.is_ok() && !text.contains('\\') && !text.to_lowercase().contains('e') {
                prop_assert_eq!(ours.map_err(|e| format!("{e}")), Ok(theirs.expect("checked")));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut tokenizer = Tokenizer::new();
            let _ = tokenizer.feed(&bytes, &mut |_, _| {});
        }
    }

    #[test]
    fn escapes_and_surrogates() {
        let text = br#""\u00e9\ud83d\ude00\n\/ \ud83dx""#;
        assert_eq!(parse(&[text]), Ok(vec![Value::String("é😀\n/ \u{fffd}x".into())]));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in [
            "{]",
            "[1,]",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "01",
            "1.",
            "nul",
            "\"\u{1}\"",
            "[1 2]",
            "}",
            "tru e",
        ] {
            assert!(parse(&[bad.as_bytes()]).is_err(), "{bad}");
        }
        assert_eq!(parse(&[&[b'['; 65]]), Err(JsonError::TooDeep));
        assert_eq!(parse(&[b"{\"a\":"]), Err(JsonError::Incomplete));
    }

    #[test]
    fn a_key_too_long_is_told_as_unknown() {
        let mut keys = 0;
        let text = format!("{{\"{}\":1}}", "k".repeat(KEY_BYTES + 1));
        Tokenizer::new()
            .feed(text.as_bytes(), &mut |token, _| {
                if let Token::Key(key) = token {
                    assert_eq!(key, None);
                    keys += 1;
                }
            })
            .expect("valid");
        assert_eq!(keys, 1);
    }
}
