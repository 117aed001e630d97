//! Which parts of a document are kept: a table for each type, and the walker that follows it.
//!
//! A type says by a [`Shape`] where in the document its fields are; everything else is skipped as it streams by. One
//! walker serves all types, so that another type costs a table and not another parser.

use alloc::vec::Vec;

use super::tokenizer::{JsonError, Token, Tokenizer};

/// Names a field to the sink that keeps it. Numbers below 32 are [`crate::metadata::Metadata`]'s and the envelope's;
/// each type numbers its own from 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(pub u8);

/// What is kept of a value.
#[derive(Debug)]
pub enum Shape {
    /// A string, number or boolean.
    Value(Field),
    /// An object with keys known in advance.
    Object(&'static [(&'static str, Shape)]),
    /// An object whose keys are data and whose values are strings, numbers or booleans.
    Map(Field),
    /// Every element of an array.
    List(&'static Shape),
    /// What is inside, announced by [`Sink::enter`] and [`Sink::leave`].
    Group(Field, &'static Shape),
}

/// Takes what a shape keeps, in the order of the document.
pub trait Sink {
    /// A group begins.
    fn enter(&mut self, _field: Field) {}
    /// A group ends.
    fn leave(&mut self, _field: Field) {}
    /// The next value of a map has this key.
    fn key(&mut self, _field: Field, _key: &str) {}
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
    Object(&'static [(&'static str, Shape)]),
    Map(Field),
    List(&'static Shape),
}

/// What the next value is, as far as it is kept.
#[derive(Clone, Copy)]
enum Next {
    Skipped,
    Shaped(&'static Shape),
    /// A map's value.
    Value(Field),
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
    pub const fn new(shape: &'static Shape) -> Self {
        Self {
            tokenizer: Tokenizer::new(),
            walker: Walker {
                root: shape,
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
    root: &'static Shape,
    next: Next,
    /// At most [`FRAMES`].
    frames: Vec<(Frame, Option<Field>)>,
    /// Levels below a frame in which nothing is kept.
    skipped: u32,
}

impl Walker {
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
                    (Some((Frame::Object(fields), _)), Some(key)) => fields
                        .iter()
                        .find(|(name, _)| *name == key)
                        .map_or(Next::Skipped, |(_, shape)| Next::Shaped(shape)),
                    (Some((Frame::Map(field), _)), Some(key)) => {
                        sink.key(*field, key);
                        Next::Value(*field)
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
        let (shape, group) = match core::mem::replace(&mut self.next, Next::Skipped) {
            Next::Shaped(Shape::Group(field, inner)) => (Some(*inner), Some(*field)),
            Next::Shaped(shape) => (Some(shape), None),
            Next::Skipped | Next::Value(_) => (None, None),
        };
        let frame = match (shape, object) {
            (Some(Shape::Object(fields)), true) => Frame::Object(fields),
            (Some(Shape::Map(field)), true) => Frame::Map(*field),
            (Some(Shape::List(element)), false) => Frame::List(element),
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
            Some((Frame::List(element), _)) => Next::Shaped(element),
            Some(_) => Next::Skipped,
        };
    }

    fn value_field(&self) -> Option<Field> {
        if self.skipped > 0 {
            return None;
        }
        match self.next {
            Next::Shaped(Shape::Value(field)) => Some(*field),
            Next::Value(field) => Some(field),
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
        let mut decoder = Decoder::new(&SHAPE);
        for piece in text.as_bytes().chunks(step) {
            decoder.feed(piece, &mut trace).expect("valid");
        }
        assert!(decoder.at_boundary());
        trace.0.push(format!("documents {}", decoder.documents()));
        trace.0
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
