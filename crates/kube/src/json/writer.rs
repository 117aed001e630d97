//! JSON out, straight into a string.

use alloc::string::String;
use core::fmt::{self, Display, Write as _};

/// Writes one JSON value. Objects and arrays that were begun are ended in reverse order by [`Writer::end`]; commas and
/// escapes are its business, balance is the caller's.
pub struct Writer<'a> {
    out: &'a mut String,
    /// One bit a level: 1 for an object.
    objects: u64,
    comma: bool,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut String) -> Self {
        Self {
            out,
            objects: 0,
            comma: false,
        }
    }

    fn separate(&mut self) {
        if core::mem::replace(&mut self.comma, true) {
            self.out.push(',');
        }
    }

    // What writes an entry is called from a hundred places: inlined it takes kilobytes of flash.
    #[inline(never)]
    fn key(&mut self, key: &str) {
        self.separate();
        quote(self.out, key);
        self.out.push(':');
    }

    fn begin(&mut self, object: bool) {
        self.out.push_str(if object { "{" } else { "[" });
        self.objects = self.objects << 1 | u64::from(object);
        self.comma = false;
    }

    /// Begins an object that is the whole value, or an element.
    pub fn object(&mut self) {
        self.separate();
        self.begin(true);
    }

    /// Begins an array that is the whole value, or an element.
    pub fn array(&mut self) {
        self.separate();
        self.begin(false);
    }

    /// Begins an object under `key`.
    #[inline(never)]
    pub fn object_at(&mut self, key: &str) {
        self.key(key);
        self.begin(true);
    }

    /// Begins an array under `key`.
    pub fn array_at(&mut self, key: &str) {
        self.key(key);
        self.begin(false);
    }

    /// Ends what was begun last.
    #[inline(never)]
    pub fn end(&mut self) {
        self.out.push_str(if self.objects & 1 == 1 { "}" } else { "]" });
        self.objects >>= 1;
        self.comma = true;
    }

    /// A string element.
    pub fn string(&mut self, value: &str) {
        self.separate();
        quote(self.out, value);
    }

    /// Members of an object that are JSON already, with the commas between them.
    pub fn members(&mut self, members: &str) {
        self.separate();
        self.out.push_str(members);
    }

    /// A string under `key`.
    #[inline(never)]
    pub fn string_at(&mut self, key: &str, value: &str) {
        self.key(key);
        self.comma = false;
        self.string(value);
    }

    /// Anything with a text form, as a string under `key`.
    pub fn text_at(&mut self, key: &str, value: impl Display) {
        self.display_at(key, &value);
    }

    #[inline(never)]
    fn display_at(&mut self, key: &str, value: &dyn Display) {
        self.key(key);
        self.out.push('"');
        // Writing into a string does not fail.
        let _ = write!(Escaped(self.out), "{value}");
        self.out.push('"');
    }

    /// A whole number under `key`.
    pub fn number_at(&mut self, key: &str, value: impl Into<i64>) {
        self.integer_at(key, value.into());
    }

    #[inline(never)]
    fn integer_at(&mut self, key: &str, value: i64) {
        self.key(key);
        let _ = write!(self.out, "{value}");
    }

    /// A boolean under `key`.
    pub fn bool_at(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.push_str(if value { "true" } else { "false" });
    }

    /// `null` under `key`.
    pub fn null_at(&mut self, key: &str) {
        self.key(key);
        self.out.push_str("null");
    }
}

struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    escape(out, text);
    out.push('"');
}

fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some((at, byte)) =
        (rest.bytes().enumerate()).find(|(_, b)| *b < b' ' || matches!(b, b'"' | b'\\'))
    {
        // An ASCII character: both places are between characters.
        out.push_str(rest.get(..at).unwrap_or_default());
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            _ => {
                out.push_str("\\u00");
                for nibble in [byte >> 4, byte & 15] {
                    out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
                }
            }
        }
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn nested() {
        let mut out = String::new();
        let mut w = Writer::new(&mut out);
        w.object();
        w.string_at("a", "\"\\\n\u{1}é");
        w.array_at("b");
        w.string("x");
        w.object();
        w.end();
        w.array();
        w.end();
        w.end();
        w.object_at("c");
        w.number_at("n", -5);
        w.bool_at("t", true);
        w.null_at("z");
        w.text_at("d", 7u8);
        w.end();
        w.end();
        let read: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(
            read,
            json!({"a": "\"\\\n\u{1}é", "b": ["x", {}, []], "c": {"n": -5, "t": true, "z": null, "d": "7"}})
        );
    }

    proptest! {
        #[test]
        fn any_string_comes_back(text in any::<String>()) {
            let mut out = String::new();
            let mut w = Writer::new(&mut out);
            w.array();
            w.string(&text);
            w.end();
            prop_assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON"), json!([text]));
        }
    }
}
