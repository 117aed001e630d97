//! Lists and watches: the envelopes in which objects come.

use crate::json::{Decoder, Field, JsonError, Shape, Sink};
use crate::metadata::Metadata;
use crate::status::Status;
use crate::text::{Collector, keep};
use alloc::boxed::Box;

const TYPE: Field = Field(4);
const LIST_RESOURCE_VERSION: Field = Field(5);
const ITEM: Field = Field(6);

/// An object that can be read from a list, a watch or a response, one after another into the same place.
pub trait Object: Sink {
    /// What is kept. Must include the entries of `Status` at its top level, so that an `ERROR` event can be told.
    const SHAPE: &'static Shape;

    /// Its metadata, as far as it was read.
    fn metadata(&self) -> &Metadata;

    /// Forgets everything, in front of the next object.
    fn reset(&mut self);
}

/// An event of a watch.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a, T> {
    /// The object is there as given; it may be new or changed.
    Applied(&'a mut T),
    /// The object is gone; this was its last state.
    Deleted(&'a mut T),
    /// Nothing changed up to the watch's new resource version.
    Bookmark,
    /// The watch cannot go on. 410 asks for a new list.
    Error(&'a Status),
}

/// Reads a watch's body.
pub struct Watch<T> {
    decoder: Decoder,
    sink: WatchSink<T>,
}

struct WatchSink<T> {
    collector: Collector,
    kind: EventType,
    status: Status,
    object: T,
    resource_version: Box<str>,
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

/// The shape of a watch event around an object's.
struct WatchShape<T>(core::marker::PhantomData<T>);

impl<T: Object> WatchShape<T> {
    const SHAPE: &'static Shape = &Shape::Object(&[
        ("type", Shape::Value(TYPE)),
        ("object", Shape::Group(ITEM, T::SHAPE)),
    ]);
}

impl<T: Object> Watch<T> {
    /// Reads events into `object`, from `resource_version` on.
    pub fn new(object: T, resource_version: &str) -> Self {
        Self {
            decoder: Decoder::new(WatchShape::<T>::SHAPE),
            sink: WatchSink {
                collector: Collector::default(),
                kind: EventType::default(),
                status: Status::default(),
                object,
                resource_version: resource_version.into(),
            },
        }
    }

    /// The version up to which everything was seen: where the next watch begins.
    pub fn resource_version(&self) -> &str {
        &self.sink.resource_version
    }

    /// Reads a piece of the body and tells each whole event.
    ///
    /// # Errors
    /// The body is no JSON: the watch must be begun again.
    pub fn feed(&mut self, body: &[u8], on: &mut dyn FnMut(Event<'_, T>)) -> Result<(), JsonError> {
        self.decoder.feed(body, &mut self.sink, &mut |sink| {
            let version = &sink.object.metadata().resource_version;
            if !matches!(sink.kind, EventType::Error | EventType::Unknown) && !version.is_empty() {
                sink.resource_version = version.clone();
            }
            match sink.kind {
                EventType::Applied => on(Event::Applied(&mut sink.object)),
                EventType::Deleted => on(Event::Deleted(&mut sink.object)),
                EventType::Bookmark => on(Event::Bookmark),
                EventType::Error => on(Event::Error(&sink.status)),
                EventType::Unknown => {} // a type that comes after our time
            }
            sink.kind = EventType::Unknown;
            sink.status = Status::default();
            sink.object.reset();
        })
    }
}

impl<T: Object> Sink for WatchSink<T> {
    fn enter(&mut self, field: Field) {
        if field != ITEM {
            self.object.enter(field);
        }
    }

    fn leave(&mut self, field: Field) {
        if field != ITEM {
            self.object.leave(field);
        }
    }

    fn key(&mut self, field: Field, key: &str) {
        self.object.key(field, key);
    }

    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        if field.0 >= 8 {
            return self.object.text(field, piece, last);
        }
        let Some(value) = self.collector.push(piece, last) else {
            return;
        };
        if field == TYPE {
            self.kind = match value {
                Some("ADDED" | "MODIFIED") => EventType::Applied,
                Some("DELETED") => EventType::Deleted,
                Some("BOOKMARK") => EventType::Bookmark,
                Some("ERROR") => EventType::Error,
                _ => EventType::Unknown,
            };
        } else {
            self.status.value(field, value);
        }
    }
}

/// Reads a list's body.
pub struct List<T> {
    decoder: Decoder,
    sink: ListSink<T>,
}

struct ListSink<T> {
    collector: Collector,
    object: T,
    resource_version: Box<str>,
    ended: bool,
}

struct ListShape<T>(core::marker::PhantomData<T>);

impl<T: Object> ListShape<T> {
    const SHAPE: &'static Shape = &Shape::Object(&[
        (
            "metadata",
            Shape::Object(&[("resourceVersion", Shape::Value(LIST_RESOURCE_VERSION))]),
        ),
        ("items", Shape::List(&Shape::Group(ITEM, T::SHAPE))),
    ]);
}

impl<T: Object> List<T> {
    /// Reads items into `object`, one after another.
    pub fn new(object: T) -> Self {
        Self {
            decoder: Decoder::new(ListShape::<T>::SHAPE),
            sink: ListSink {
                collector: Collector::default(),
                object,
                resource_version: Box::default(),
                ended: false,
            },
        }
    }

    /// Reads a piece of the body and tells each whole item.
    ///
    /// # Errors
    /// The body is no JSON.
    pub fn feed(&mut self, body: &[u8], on: &mut dyn FnMut(&mut T)) -> Result<(), JsonError> {
        let mut sink = Telling {
            sink: &mut self.sink,
            on,
        };
        self.decoder
            .feed(body, &mut sink, &mut |telling| telling.sink.ended = true)
    }

    /// The version from which to watch, once the list was read whole; `None` before, and where there is none.
    pub fn finish(self) -> Option<(Box<str>, T)> {
        let whole = self.sink.ended && !self.sink.resource_version.is_empty();
        whole.then_some((self.sink.resource_version, self.sink.object))
    }
}

struct Telling<'a, 'b, T> {
    sink: &'a mut ListSink<T>,
    on: &'a mut (dyn FnMut(&mut T) + 'b),
}

impl<T: Object> Sink for Telling<'_, '_, T> {
    fn enter(&mut self, field: Field) {
        if field == ITEM {
            self.sink.object.reset();
        } else {
            self.sink.object.enter(field);
        }
    }

    fn leave(&mut self, field: Field) {
        if field == ITEM {
            (self.on)(&mut self.sink.object);
            self.sink.object.reset();
        } else {
            self.sink.object.leave(field);
        }
    }

    fn key(&mut self, field: Field, key: &str) {
        self.sink.object.key(field, key);
    }

    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        if field.0 >= 8 {
            self.sink.object.text(field, piece, last);
        } else if let Some(value) = self.sink.collector.push(piece, last)
            && field == LIST_RESOURCE_VERSION
        {
            self.sink.resource_version = keep(value);
        }
    }
}

/// Reads one object from the body of a response.
pub struct Single<T> {
    decoder: Decoder,
    object: T,
    ended: bool,
}

impl<T: Object + Default> Default for Single<T> {
    fn default() -> Self {
        Self {
            decoder: Decoder::new(T::SHAPE),
            object: T::default(),
            ended: false,
        }
    }
}

impl<T: Object> Single<T> {
    /// Reads a piece of the body.
    ///
    /// # Errors
    /// The body is no JSON.
    pub fn feed(&mut self, body: &[u8]) -> Result<(), JsonError> {
        let ended = &mut self.ended;
        self.decoder.feed(body, &mut self.object, &mut |_| *ended = true)
    }

    /// The object, once it was read whole.
    pub fn finish(self) -> Option<T> {
        self.ended.then_some(self.object)
    }
}
