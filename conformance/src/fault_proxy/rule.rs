//! Rules: which requests are hit, how often, and what happens to them.

use std::time::Duration;

use super::Received;

/// What happens to a request that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered by the proxy with this status, these header fields and a `Status` object; not forwarded.
    Status(u16, Vec<(String, String)>),
    /// Forwarded after this time.
    Delay(Duration),
    /// Forwarded; these fields are added to the head of the response.
    AddFields(Vec<(String, String)>),
    /// Forwarded; the connection is closed after this many bytes of the response. With 0 the client gets nothing.
    CutAfter(usize),
    /// Forwarded; the response is sent in chunks, and the connection is closed in place of the last chunk.
    DropLastChunk,
    /// Forwarded; after this many bytes of the response's body the connection stays open and nothing more is sent.
    SwallowAfterBytes(usize),
    /// The same once this time has passed since the request.
    SwallowAfter(Duration),
    /// Not forwarded and never answered; the connection stays open.
    Silence,
}

/// A fault and the requests that it hits. Rules are tried in the order in which they were added; the first match counts.
#[derive(Clone, Debug)]
pub struct Rule {
    method: &'static str,
    prefix: String,
    suffix: String,
    query: Vec<(String, bool)>,
    user: Option<String>,
    after: u32,
    times: Option<u32>,
    fault: Fault,
}

impl Rule {
    /// Hits every request with this method whose path, without its query, begins with `prefix`.
    #[must_use]
    pub fn new(method: &'static str, prefix: impl Into<String>, fault: Fault) -> Self {
        Self {
            method,
            prefix: prefix.into(),
            suffix: String::new(),
            query: Vec::new(),
            user: None,
            after: 0,
            times: None,
            fault,
        }
    }

    /// Hits only paths that end with `suffix`.
    #[must_use]
    pub fn ending_with(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = suffix.into();
        self
    }

    /// Hits only watches, or with `false` anything but watches.
    #[must_use]
    pub fn watches(self, watches: bool) -> Self {
        self.query("watch=1", watches)
    }

    /// Hits only requests whose query contains `text`, or with `false` those whose query does not.
    #[must_use]
    pub fn query(mut self, text: impl Into<String>, contains: bool) -> Self {
        self.query.push((text.into(), contains));
        self
    }

    /// Hits only requests of this user.
    #[must_use]
    pub fn by(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Lets this many matching requests pass first.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.after = requests;
        self
    }

    /// Hits at most this many requests. Without a limit it hits always.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn matches(&self, request: &Received) -> bool {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        request.method == self.method
            && path.starts_with(&self.prefix)
            && path.ends_with(&self.suffix)
            && self
                .query
                .iter()
                .all(|(text, contains)| query.contains(text) == *contains)
            && self.user.as_ref().is_none_or(|user| *user == request.user)
    }

    /// The fault for a request that arrives now, if the rule hits it.
    pub(super) fn strike(&mut self, request: &Received) -> Option<Fault> {
        if !self.matches(request) || self.times == Some(0) {
            return None;
        }
        if self.after > 0 {
            self.after -= 1;
            return None;
        }
        if let Some(times) = &mut self.times {
            *times -= 1;
        }
        Some(self.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn request(method: &str, target: &str) -> Received {
        Received {
            user: "system:node:a".into(),
            method: method.into(),
            target: target.into(),
            at: Instant::now(),
            status: None,
            faulted: false,
        }
    }

    #[test]
    fn rule_hits_by_method_path_query_and_count() {
        let mut rule = Rule::new("GET", "/api/v1/pods", Fault::Silence)
            .watches(true)
            .after(1)
            .times(2);
        let watch = request("GET", "/api/v1/pods?watch=1&x=y");
        assert_eq!(rule.strike(&request("GET", "/api/v1/pods?x=y")), None);
        assert_eq!(rule.strike(&request("POST", "/api/v1/pods?watch=1")), None);
        let hits: Vec<bool> = (0..4).map(|_| rule.strike(&watch).is_some()).collect();
        assert_eq!(hits, [false, true, true, false]);
        let mut status = Rule::new("PATCH", "/api/v1/namespaces/", Fault::CutAfter(0)).ending_with("/status");
        assert_eq!(
            status.strike(&request("PATCH", "/api/v1/namespaces/a/pods/b?x")),
            None
        );
        let patch = request("PATCH", "/api/v1/namespaces/a/pods/b/status?x");
        assert!(status.clone().by("system:node:b").strike(&patch).is_none());
        assert!(status.strike(&patch).is_some());
    }
}
