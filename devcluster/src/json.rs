//! Short forms for parts of a JSON document.

use serde_json::Value;

/// The text at a JSON pointer, if there is text.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// Removes a field of an object; does nothing to any other value.
pub(crate) fn remove(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
}
