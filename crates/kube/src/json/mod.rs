//! JSON in and out: a tokenizer that never holds a value, tables of what is kept, a writer.

mod shape;
mod tokenizer;
mod writer;

pub use crate::shape;
pub(crate) use shape::fields;
pub use shape::{Code, Decoder, Field, Shape, Sink};
pub use tokenizer::{DEPTH, JsonError, KEY_BYTES, Token, Tokenizer};
pub use writer::Writer;
pub(crate) use writer::quote;
