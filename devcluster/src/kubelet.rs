//! How kubelets are called, and what they answer.

use std::future::Future;
use std::pin::Pin;

/// What a kubelet answered.
pub struct KubeletAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Its `Content-Type`.
    pub content_type: String,
    /// Returns the next piece of the body, `None` at its end.
    pub body: Pieces,
}

/// A future on the heap. What goes on in a cluster stays on its thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Yields a body piece by piece. A future that is dropped takes nothing with it.
pub type Pieces = Box<dyn FnMut() -> LocalFuture<Option<Vec<u8>>>>;

/// How kubelets are called, for `kubectl logs` and the node proxy.
pub trait CallKubelet {
    /// Sends `GET path` to the kubelet at `address` and `port`. The error is a sentence for a person.
    fn get(&self, address: String, port: u16, path: String) -> LocalFuture<Result<KubeletAnswer, String>>;
}
