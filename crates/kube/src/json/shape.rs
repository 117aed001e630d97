//! Which parts of a document are kept: a table for each type, and the walker that follows it.
//!
//! A type says by a [`Shape`] where in the document its fields are; everything else is skipped as it streams by. One
//! walker serves all types, so that another type costs a table and not another parser.
//!
//! To decode a type, name its fields with `fields!`, write its [`Shape`] as a tree, and give [`shape!`](crate::shape!) of it to a
//! [`Decoder`]. The macro compiles the tree to bytes ([`Code`]): a tree of references takes 1.4 KB more of flash for the types of the
//! agent (docs/decisions/0005-size-tricks.md).

use alloc::vec::Vec;

use super::tokenizer::{JsonError, Token, Tokenizer};

/// Names a field to the sink that keeps it. Numbers below 32 are [`crate::metadata::Metadata`]'s and the envelope's;
/// each type numbers its own from 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(pub u8);

/// Numbers the fields of a type from 32, in the order of their names.
macro_rules! fields {
    ($($name:ident),+ $(,)?) => { $crate::json::fields!(@ 32u8; $($name),+); };
    (@ $number:expr; $name:ident $(, $rest:ident)*) => {
        const $name: $crate::json::Field = $crate::json::Field($number);
        $crate::json::fields!(@ $number + 1; $($rest),*);
    };
    (@ $number:expr;) => {};
}
pub(crate) use fields;

/// What is kept of a value. It is written as a tree, and [`shape!`](crate::shape!) makes its code of it while the crate is compiled.
#[derive(Debug)]
pub enum Shape {
    /// A string, number or boolean.
    Value(Field),
    /// An object with keys known in advance.
    Object(&'static [(&'static str, Shape)]),
    /// An object whose keys are data and whose values are strings, numbers or booleans.
    Map(Field),
    /// An object whose keys are data and whose values are arrays of strings, numbers or booleans.
    Lists(Field),
    /// An object whose keys are data and whose values have this shape.
    Entries(Field, &'static Shape),
    /// Every element of an array.
    List(&'static Shape),
    /// What is inside, announced by [`Sink::enter`] and [`Sink::leave`].
    Group(Field, &'static Shape),
    /// An object in its envelope: its shape the decoder has besides.
    Inner,
}

const VALUE: u8 = 0;
const OBJECT: u8 = 1;
const MAP: u8 = 2;
const LIST: u8 = 3;
const GROUP: u8 = 4;
const INNER: u8 = 5;

/// A [`Shape`] as bytes: a tag, and behind it the field, the length of an object's entries in two bytes and the entries,
/// or what is inside (of a map, the shape of its values). An entry is the length of its key, the key, and the value's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(&'static [u8]);

/// The [`Code`] of a constant [`Shape`].
#[macro_export]
macro_rules! shape {
    ($shape:expr) => {{
        const TREE: $crate::json::Shape = $shape;
        const CODE: [u8; TREE.length()] = TREE.code();
        $crate::json::Code::of(&CODE)
    }};
}

impl Shape {
    /// How many bytes its code has.
    pub const fn length(&self) -> usize {
        match self {
            Self::Inner => 1,
            Self::Value(_) => 2,
            Self::Map(_) => 4,
            Self::Lists(_) => 5,
            Self::List(inside) => 1 + inside.length(),
            Self::Group(_, inside) | Self::Entries(_, inside) => 2 + inside.length(),
            Self::Object(entries) => {
                let (mut length, mut index) = (3, 0);
                while index < entries.len() {
                    length += 1 + entries[index].0.len() + entries[index].1.length();
                    index += 1;
                }
                length
            }
        }
    }

    /// Its code, of as many bytes as [`Shape::length`] says.
    pub const fn code<const LENGTH: usize>(&self) -> [u8; LENGTH] {
        let mut code = [0; LENGTH];
        assert!(self.write(&mut code, 0) == LENGTH);
        code
    }

    const fn write(&self, code: &mut [u8], at: usize) -> usize {
        match self {
            Self::Inner => {
                code[at] = INNER;
                at + 1
            }
            Self::Value(field) => {
                code[at] = VALUE;
                code[at + 1] = field.0;
                at + 2
            }
            Self::Map(field) => {
                code[at] = MAP;
                code[at + 1] = field.0;
                Self::Value(*field).write(code, at + 2)
            }
            Self::Lists(field) => {
                code[at] = MAP;
                code[at + 1] = field.0;
                code[at + 2] = LIST;
                Self::Value(*field).write(code, at + 3)
            }
            Self::Entries(field, inside) => {
                code[at] = MAP;
                code[at + 1] = field.0;
                inside.write(code, at + 2)
            }
            Self::List(inside) => {
                code[at] = LIST;
                inside.write(code, at + 1)
            }
            Self::Group(field, inside) => {
                code[at] = GROUP;
                code[at + 1] = field.0;
                inside.write(code, at + 2)
            }
            Self::Object(entries) => {
                let length = self.length() - 3;
                assert!(length <= u16::MAX as usize, "the shape is too large");
                [code[at + 1], code[at + 2]] = (length as u16).to_le_bytes();
                code[at] = OBJECT;
                let (mut end, mut index) = (at + 3, 0);
                while index < entries.len() {
                    let key = entries[index].0.as_bytes();
                    assert!(key.len() <= u8::MAX as usize, "the key is too long");
                    code[end] = key.len() as u8;
                    end += 1;
                    let mut byte = 0;
                    while byte < key.len() {
                        code[end] = key[byte];
                        end += 1;
                        byte += 1;
                    }
                    end = entries[index].1.write(code, end);
                    index += 1;
                }
                end
            }
        }
    }
}

impl Code {
    /// What [`Shape::code`] made.
    pub const fn of(code: &'static [u8]) -> Self {
        Self(code)
    }

    /// What is behind the code of the one value in front.
    fn rest(self) -> Self {
        let mut code = self.0;
        loop {
            code = match code {
                [VALUE, _, rest @ ..] | [INNER, rest @ ..] => return Self(rest),
                [LIST, inside @ ..] | [GROUP | MAP, _, inside @ ..] => inside,
                [OBJECT, low, high, rest @ ..] => {
                    return Self(rest.get(length(*low, *high)..).unwrap_or_default());
                }
                _ => return Self(&[]),
            };
        }
    }

    /// What is kept under `key`, where this is the entries of an object.
    fn entry(mut self, key: &str) -> Option<Self> {
        while let Some((length, rest)) = self.0.split_first() {
            let (name, value) = rest.split_at_checked(usize::from(*length))?;
            if name == key.as_bytes() {
                return Some(Self(value));
            }
            self = Self(value).rest();
        }
        None
    }
}

fn length(low: u8, high: u8) -> usize {
    usize::from(u16::from_le_bytes([low, high]))
}

/// Takes what a shape keeps, in the order of the document.
pub trait Sink {
    /// A group begins.
    fn enter(&mut self, _field: Field) {}
    /// A group ends.
    fn leave(&mut self, _field: Field) {}
    /// The next value of a map has this key.
    fn key(&mut self, _field: Field, _key: &str) {}
    /// An entry of a map is skipped, because its key has more than [`KEY_BYTES`](super::tokenizer::KEY_BYTES) bytes or
    /// is not valid UTF-8.
    fn skip_entry(&mut self, _field: Field) {}
    /// A piece of a value; `last` with the last one, which may be empty. `null` is never told.
    fn text(&mut self, field: Field, piece: &[u8], last: bool);
    /// A document was read whole.
    fn end(&mut self) {}
}

/// One open object or array.
#[derive(Clone, Copy)]
enum Frame {
    /// Nothing in here is kept.
    Skip,
    Object(Code),
    /// The field of the keys, and the shape of each value.
    Map(Field, Code),
    List(Code),
}

/// What the next value is, as far as it is kept.
#[derive(Clone, Copy)]
enum Next {
    Skipped,
    Shaped(Code),
}

/// How deep kept fields may lie: a watch event around
/// `object.spec.affinity.nodeAffinity.required….nodeSelectorTerms[].matchExpressions[].values[]` needs eleven.
const FRAMES: usize = 16;

/// Reads documents of one shape from input in pieces.
pub struct Decoder {
    tokenizer: Tokenizer,
    walker: Walker,
    documents: u32,
}

impl Decoder {
    /// A decoder for any number of documents of `shape`.
    pub const fn new(shape: Code) -> Self {
        Self::around(shape, shape)
    }

    /// A decoder for documents of `shape`, in which `inner` stands for [`Shape::Inner`].
    pub const fn around(shape: Code, inner: Code) -> Self {
        Self {
            tokenizer: Tokenizer::new(),
            walker: Walker {
                root: shape,
                inner,
                next: Next::Shaped(shape),
                frames: Vec::new(),
                skipped: 0,
            },
            documents: 0,
        }
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// See [`Tokenizer::feed`].
    pub fn feed(&mut self, input: &[u8], sink: &mut dyn Sink) -> Result<(), JsonError> {
        let Self {
            tokenizer,
            walker,
            documents,
        } = self;
        tokenizer.feed(input, &mut |token, ended| {
            walker.token(token, sink);
            if ended {
                *documents = documents.wrapping_add(1);
                sink.end();
            }
        })
    }

    /// How many documents were read whole.
    pub fn documents(&self) -> u32 {
        self.documents
    }

    /// Whether the input so far ends between two documents.
    pub fn at_boundary(&self) -> bool {
        self.tokenizer.at_boundary()
    }
}

struct Walker {
    root: Code,
    inner: Code,
    next: Next,
    /// At most [`FRAMES`].
    frames: Vec<(Frame, Option<Field>)>,
    /// Levels below a frame in which nothing is kept.
    skipped: u32,
}

impl Walker {
    #[inline(never)]
    fn token(&mut self, token: Token<'_>, sink: &mut dyn Sink) {
        match token {
            Token::BeginObject | Token::BeginArray => self.begin(token == Token::BeginObject, sink),
            Token::EndObject | Token::EndArray => {
                if self.skipped > 0 {
                    self.skipped -= 1;
                } else if let Some((_, Some(group))) = self.frames.pop() {
                    sink.leave(group);
                }
                self.after_value();
            }
            Token::Key(key) if self.skipped == 0 => {
                self.next = match (self.frames.last(), key) {
                    (Some((Frame::Object(entries), _)), Some(key)) => {
                        entries.entry(key).map_or(Next::Skipped, Next::Shaped)
                    }
                    (Some((Frame::Map(field, value), _)), Some(key)) => {
                        sink.key(*field, key);
                        Next::Shaped(*value)
                    }
                    (Some((Frame::Map(field, _), _)), None) => {
                        sink.skip_entry(*field);
                        Next::Skipped
                    }
                    _ => Next::Skipped,
                };
            }
            Token::Key(_) => {}
            Token::Text(piece) => {
                if let Some(field) = self.value_field() {
                    sink.text(field, piece, false);
                }
            }
            Token::EndText => {
                if let Some(field) = self.value_field() {
                    sink.text(field, &[], true);
                }
                self.after_value();
            }
            Token::Literal(text) => {
                if let Some(field) = self.value_field().filter(|_| text != "null") {
                    sink.text(field, text.as_bytes(), true);
                }
                self.after_value();
            }
        }
    }

    fn begin(&mut self, object: bool, sink: &mut dyn Sink) {
        if self.skipped > 0 {
            self.skipped += 1;
            return;
        }
        let shape = match core::mem::replace(&mut self.next, Next::Skipped) {
            Next::Shaped(shape) => shape.0,
            Next::Skipped => &[],
        };
        let (mut shape, group) = match shape {
            [GROUP, field, inside @ ..] => (inside, Some(Field(*field))),
            shape => (shape, None),
        };
        if let [INNER, ..] = shape {
            shape = self.inner.0;
        }
        let frame = match (shape, object) {
            ([OBJECT, low, high, entries @ ..], true) => {
                Frame::Object(Code(entries.get(..length(*low, *high)).unwrap_or_default()))
            }
            ([MAP, field, value @ ..], true) => Frame::Map(Field(*field), Code(value)),
            ([LIST, element @ ..], false) => Frame::List(Code(element)),
            _ => Frame::Skip,
        };
        // A group is announced even where its inside is not what was expected: its being there may be the point.
        if let Some(group) = group {
            sink.enter(group);
        }
        match frame {
            Frame::Skip => {
                if let Some(group) = group {
                    sink.leave(group);
                }
                self.skipped = 1;
            }
            frame => {
                if self.frames.len() < FRAMES {
                    self.frames.push((frame, group));
                } else {
                    self.skipped = 1; // no shape is that deep
                }
                self.after_value();
            }
        }
    }

    /// Sets what the next value would be, now that one has ended (or an array has begun).
    fn after_value(&mut self) {
        if self.skipped > 0 {
            return;
        }
        self.next = match self.frames.last() {
            None => Next::Shaped(self.root),
            Some((Frame::List(element), _)) => Next::Shaped(*element),
            Some(_) => Next::Skipped,
        };
    }

    fn value_field(&self) -> Option<Field> {
        if self.skipped > 0 {
            return None;
        }
        match self.next {
            Next::Shaped(Code([VALUE, field, ..])) => Some(Field(*field)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, string::String, vec::Vec};

    const NAME: Field = Field(40);
    const LABELS: Field = Field(41);
    const ITEM: Field = Field(42);
    const SIZE: Field = Field(43);
    const SHAPE: Shape = Shape::Object(&[
        ("name", Shape::Value(NAME)),
        ("labels", Shape::Map(LABELS)),
        (
            "items",
            Shape::List(&Shape::Group(
                ITEM,
                &Shape::Object(&[("size", Shape::Value(SIZE))]),
            )),
        ),
    ]);

    #[derive(Default)]
    struct Trace(Vec<String>, String);
    impl Sink for Trace {
        fn enter(&mut self, field: Field) {
            self.0.push(format!("enter {}", field.0));
        }
        fn leave(&mut self, field: Field) {
            self.0.push(format!("leave {}", field.0));
        }
        fn key(&mut self, field: Field, key: &str) {
            self.0.push(format!("key {} {key}", field.0));
        }
        fn text(&mut self, field: Field, piece: &[u8], last: bool) {
            self.1
                .push_str(core::str::from_utf8(piece).expect("ASCII in this test"));
            if last {
                self.0
                    .push(format!("{} {}", field.0, core::mem::take(&mut self.1)));
            }
        }
    }

    fn trace(text: &str, step: usize) -> Vec<String> {
        let mut trace = Trace::default();
        let mut decoder = Decoder::new(shape!(SHAPE));
        for piece in text.as_bytes().chunks(step) {
            decoder.feed(piece, &mut trace).expect("valid");
        }
        assert!(decoder.at_boundary());
        trace.0.push(format!("documents {}", decoder.documents()));
        trace.0
    }

    #[test]
    fn the_inner_shape_is_found_where_it_stands() {
        const ENVELOPE: Shape = Shape::Object(&[
            (
                "before",
                Shape::List(&Shape::Group(Field(33), &Shape::Map(Field(34)))),
            ),
            ("inner", Shape::Group(ITEM, &Shape::Inner)),
            ("name", Shape::Value(SIZE)),
        ]);
        let mut trace = Trace::default();
        let mut decoder = Decoder::around(shape!(ENVELOPE), shape!(SHAPE));
        let text = br#"{"name":1,"inner":{"name":"yes","inner":{"name":"no"}},"before":[{"a":2}]}"#;
        decoder.feed(text, &mut trace).expect("valid");
        let expected = [
            "43 1", "enter 42", "40 yes", "leave 42", "enter 33", "key 34 a", "34 2", "leave 33",
        ];
        assert_eq!(trace.0, expected);
    }

    #[test]
    fn entries_are_read_when_their_values_are_objects() {
        const ENTRIES: Shape = Shape::Entries(
            LABELS,
            &Shape::Group(ITEM, &Shape::Object(&[("size", Shape::Value(SIZE))])),
        );
        const SHAPE: Shape = Shape::Object(&[("all", ENTRIES), ("name", Shape::Value(NAME))]);
        let mut trace = Trace::default();
        let mut decoder = Decoder::new(shape!(SHAPE));
        let text = br#"{"all":{"a":{"size":1,"x":{"size":9}},"b":3,"c":{}},"name":"n"}"#;
        decoder.feed(text, &mut trace).expect("valid");
        let expected = [
            "key 41 a", "enter 42", "43 1", "leave 42", "key 41 b", "key 41 c", "enter 42", "leave 42",
            "40 n",
        ];
        assert_eq!(trace.0, expected);
    }

    #[test]
    fn it_keeps_what_the_shape_names_and_skips_the_rest() {
        let text = r#"{"x":{"name":"no","items":[1,{"size":2}]},"name":"yes","labels":{"a":"1","b":{"c":"2"},"d":3},
            "items":[{"size":1,"name":"no"},7,{"deep":[[{"size":9}]],"size":null},{}]}
            {"items":{"size":5},"name":["no"]}"#;
        let expected = [
            "40 yes",
            "key 41 a",
            "41 1",
            "key 41 b",
            "key 41 d",
            "41 3",
            "enter 42",
            "43 1",
            "leave 42",
            "enter 42",
            "leave 42",
            "enter 42",
            "leave 42",
            "documents 2",
        ];
        for step in [1, 3, 1000] {
            assert_eq!(trace(text, step), expected, "in pieces of {step}");
        }
    }
}
