//! Lists and watches: the envelopes in which objects come.

use crate::json::{Code, Decoder, Field, JsonError, Shape, Sink, shape};
use crate::metadata::Metadata;
use crate::status::Status;
use crate::text::{Collector, set};
use alloc::boxed::Box;

const TYPE: Field = Field(4);
const LIST_RESOURCE_VERSION: Field = Field(5);
const ITEM: Field = Field(6);

/// An object that can be read from a list, a watch or a response, one after another into the same place.
pub trait Object: Sink {
    /// What is kept. Must include the entries of `Status` at its top level, so that an `ERROR` event can be told.
    const SHAPE: Code;

    /// Its metadata, as far as it was read.
    fn metadata(&self) -> &Metadata;

    /// Forgets everything, in front of the next object.
    fn reset(&mut self);
}

/// What a list or a watch says of an object.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The object is there as given; it may be new or changed, or an item of a list.
    Applied,
    /// The object is gone; this was its last state.
    Deleted,
    /// Nothing changed up to the watch's new resource version.
    Bookmark,
    /// The watch cannot go on. 410 asks for a new list.
    Error(&'a Status),
}

/// Takes the objects of a list or a watch, one after another, without their type: so that all are read by the same code.
pub trait Objects: Sink {
    /// The metadata of the object that is being read.
    fn metadata(&self) -> &Metadata;
    /// Tells what came of the object that was read.
    fn tell(&mut self, event: Event<'_>);
    /// Forgets it, in front of the next object.
    fn reset(&mut self);
}

/// [`Objects`] of a type.
pub struct Each<T, F> {
    /// What each object is read into.
    pub object: T,
    /// Is told of each.
    pub on: F,
}

impl<T: Object, F: FnMut(Event<'_>, &mut T)> Objects for Each<T, F> {
    fn metadata(&self) -> &Metadata {
        self.object.metadata()
    }

    fn tell(&mut self, event: Event<'_>) {
        (self.on)(event, &mut self.object);
    }

    fn reset(&mut self) {
        self.object.reset();
    }
}

impl<T: Sink, F> Sink for Each<T, F> {
    fn enter(&mut self, field: Field) {
        self.object.enter(field);
    }

    fn leave(&mut self, field: Field) {
        self.object.leave(field);
    }

    fn key(&mut self, field: Field, key: &str) {
        self.object.key(field, key);
    }

    fn skip_entry(&mut self, field: Field) {
        self.object.skip_entry(field);
    }

    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        self.object.text(field, piece, last);
    }
}

/// Reads the body of a list or a watch.
pub struct Envelope {
    decoder: Decoder,
    state: State,
}

struct State {
    /// Whether it is a list, whose items have no event each.
    list: bool,
    collector: Collector,
    kind: EventType,
    status: Status,
    resource_version: Box<str>,
    /// Whether the list came whole; the watch has a place at any time.
    has_place: bool,
    failed: bool,
}

#[derive(Clone, Copy, Default)]
enum EventType {
    #[default]
    Unknown,
    Applied,
    Deleted,
    Bookmark,
    Error,
}

/// The shape around the object of an event.
const EVENT: Code = shape!(Shape::Object(&[
    ("type", Shape::Value(TYPE)),
    ("object", Shape::Group(ITEM, &Shape::Inner)),
]));
/// The shape around the objects of a list.
const LIST: Code = shape!(Shape::Object(&[
    (
        "metadata",
        Shape::Object(&[("resourceVersion", Shape::Value(LIST_RESOURCE_VERSION))]),
    ),
    ("items", Shape::List(&Shape::Group(ITEM, &Shape::Inner))),
]));

impl Envelope {
    /// In front of a list of objects of a shape.
    pub fn list(object: Code) -> Self {
        Self::new(Decoder::around(LIST, object), true, Box::default())
    }

    /// In front of a watch of objects of a shape, from `resource_version` on.
    pub fn watch(object: Code, resource_version: &str) -> Self {
        Self::new(Decoder::around(EVENT, object), false, resource_version.into())
    }

    fn new(decoder: Decoder, list: bool, resource_version: Box<str>) -> Self {
        Self {
            decoder,
            state: State {
                list,
                collector: Collector::default(),
                kind: EventType::default(),
                status: Status::default(),
                resource_version,
                has_place: !list,
                failed: false,
            },
        }
    }

    /// Reads a piece of the body and tells each whole object.
    ///
    /// # Errors
    /// The body is no JSON: it must be asked for again.
    pub fn feed(&mut self, body: &[u8], objects: &mut dyn Objects) -> Result<(), JsonError> {
        let state = &mut self.state;
        self.decoder.feed(body, &mut Passing { state, objects })
    }

    /// Whether the watch was told that it cannot go on.
    pub fn has_failed(&self) -> bool {
        self.state.failed
    }

    /// The version up to which everything was seen: where the next watch begins. A list has none before it was read
    /// whole.
    pub fn place(&self) -> Option<&str> {
        let place = &*self.state.resource_version;
        (self.state.has_place && !(self.state.list && place.is_empty())).then_some(place)
    }
}

/// The envelope's own fields are kept here, all others are the object's.
struct Passing<'a> {
    state: &'a mut State,
    objects: &'a mut dyn Objects,
}

impl Sink for Passing<'_> {
    fn enter(&mut self, field: Field) {
        if field != ITEM {
            self.objects.enter(field);
        }
    }

    fn leave(&mut self, field: Field) {
        if field != ITEM {
            self.objects.leave(field);
        } else if self.state.list {
            self.objects.tell(Event::Applied);
            self.objects.reset();
        }
    }

    fn key(&mut self, field: Field, key: &str) {
        self.objects.key(field, key);
    }

    fn skip_entry(&mut self, field: Field) {
        self.objects.skip_entry(field);
    }

    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        if field.0 >= 8 {
            return self.objects.text(field, piece, last);
        }
        let state = &mut *self.state;
        let Some(value) = state.collector.push(piece, last) else {
            return;
        };
        match field {
            TYPE => {
                state.kind = match value {
                    Some("ADDED" | "MODIFIED") => EventType::Applied,
                    Some("DELETED") => EventType::Deleted,
                    Some("BOOKMARK") => EventType::Bookmark,
                    Some("ERROR") => EventType::Error,
                    _ => EventType::Unknown, // a type that comes after our time
                };
            }
            LIST_RESOURCE_VERSION => set(&mut state.resource_version, value),
            _ => {
                state.status.value(field, value);
            }
        }
    }

    fn end(&mut self) {
        let Self { state, objects } = self;
        if state.list {
            state.has_place = true;
            return;
        }
        let kind = core::mem::take(&mut state.kind);
        let version = &objects.metadata().resource_version;
        if !matches!(kind, EventType::Error | EventType::Unknown) && !version.is_empty() {
            state.resource_version = version.clone();
        }
        match kind {
            EventType::Applied => objects.tell(Event::Applied),
            EventType::Deleted => objects.tell(Event::Deleted),
            EventType::Bookmark => objects.tell(Event::Bookmark),
            EventType::Error => {
                state.failed = true;
                objects.tell(Event::Error(&state.status));
            }
            EventType::Unknown => {}
        }
        state.status = Status::default();
        objects.reset();
    }
}

/// Reads one object from the body of a response.
pub struct Single<T> {
    decoder: Decoder,
    object: T,
}

impl<T: Object + Default> Default for Single<T> {
    fn default() -> Self {
        Self {
            decoder: Decoder::new(T::SHAPE),
            object: T::default(),
        }
    }
}

impl<T: Object> Single<T> {
    /// Reads a piece of the body.
    ///
    /// # Errors
    /// The body is no JSON.
    pub fn feed(&mut self, body: &[u8]) -> Result<(), JsonError> {
        self.decoder.feed(body, &mut self.object)
    }

    /// The object, once it was read whole.
    pub fn finish(self) -> Option<T> {
        (self.decoder.documents() > 0).then_some(self.object)
    }
}
